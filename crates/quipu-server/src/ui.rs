//! The page at `/`: what is shown to people. It is a client of the HTTP interface like any other.
//!
//! Its files are in `ui/`, as they are sent: modules, a style sheet, nothing that is built; and the
//! programs that the first steps show, which `tests/it/first_steps.rs` compiles. Each is answered with
//! a policy that lets the page load and ask for nothing but what this server has.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::{Path, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::http::{Kind, Problem};

/// No script and no style but the files of this server; no frame around it; no form that leaves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// Of its bytes, so that a browser asks for each version once.
    tag: LazyLock<HeaderValue>,
}

macro_rules! files {
    ($($name:literal: $kind:expr),* $(,)?) => {
        [$({
            const BYTES: &[u8] = include_bytes!(concat!("../ui/", $name));
            File { name: $name, kind: $kind, bytes: BYTES, tag: LazyLock::new(|| tag_of(BYTES)) }
        }),*]
    };
}

static FILES: [File; 32] = files![
    "address.js": JS,
    "api.js": JS,
    "append.rs": TEXT,
    "chain.js": JS,
    "consumers.js": JS,
    "detail.js": JS,
    "dom.js": JS,
    "events.js": JS,
    "fold.js": JS,
    "format.js": JS,
    "icon.svg": SVG,
    "index.html": HTML,
    "json.js": JS,
    "layout.js": JS,
    "list.js": JS,
    "main.js": JS,
    "map.js": JS,
    "metrics.js": JS,
    "names.js": JS,
    "overview.js": JS,
    "past.js": JS,
    "query.js": JS,
    "read.rs": TEXT,
    "samples.js": JS,
    "saved.js": JS,
    "shapes.js": JS,
    "start.js": JS,
    "stream.js": JS,
    "streams.js": JS,
    "style.css": CSS,
    "subscribe.rs": TEXT,
    "time.js": JS,
];

fn tag_of(bytes: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(bytes);
    let mut tag = String::from("\"");
    for byte in hash.iter().take(12) {
        write!(tag, "{byte:02x}").expect("writing to a text does not fail");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).expect("digits in quotes are a header")
}

/// The page.
pub(crate) async fn page(headers: HeaderMap) -> Response {
    respond("index.html", &headers)
}

/// A file that the page consists of.
pub(crate) async fn file(Path(name): Path<String>, request: Request) -> Response {
    respond(&name, request.headers())
}

fn respond(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Problem::new(Kind::NotFound, "the page has no such file").into_response();
    };
    let asked = headers.get(IF_NONE_MATCH);
    let mut response = if asked.is_some_and(|tag| *tag == *file.tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, file.kind)], file.bytes).into_response()
    };
    let all = response.headers_mut();
    all.insert(ETAG, file.tag.clone());
    // Kept, but asked for each time: another version of the server has other files.
    all.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    all.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    all.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    all.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ui");
        let names = std::fs::read_dir(directory).unwrap();
        let there: BTreeSet<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();

        let served = FILES.iter().map(|file| file.name.to_owned()).collect();

        assert_eq!(there, served);
    }

    #[test]
    fn all_files_together_are_small() {
        let size: usize = FILES.iter().map(|file| file.bytes.len()).sum();

        assert!(size < 300 << 10, "{size} bytes");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for file in FILES.iter().filter(|file| file.kind != SVG) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            // The name of SVG is no address that anybody asks.
            let text = text.replace("http://www.w3.org/2000/svg", "");

            assert!(!text.contains("https://") && !text.contains("src=\"http"), "{}", file.name);
            assert!(!text.contains("innerHTML"), "{} writes markup", file.name);
            assert!(!text.contains(" style=\""), "{} has inline styles", file.name);
        }
    }
}
