//! Programs of others that tests run: `.ci/install` puts them into a folder of their own.

use std::path::PathBuf;

/// Where a program of `.ci/install/{name}` is; `None`, and a line that says so, where it is not
/// installed. Where services are required, that is a failure.
pub(crate) fn find(name: &str, file: &str) -> Option<PathBuf> {
    let path = folder().join(name).join(file);
    if path.exists() {
        return Some(path);
    }
    missing(&format!("{name} is not installed: run .ci/install/{name}"));
    None
}

/// Says that a test cannot run for want of something, or fails where nothing may be missing.
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
pub(crate) fn missing(what: &str) {
    let is_required = std::env::var("QUIPU_REQUIRE_SERVICES").is_ok_and(|it| it == "1");
    assert!(!is_required, "{what}");
    eprintln!("SKIPPED: {what}");
}

fn folder() -> PathBuf {
    let named = std::env::var_os("QUIPU_TOOLS").map(PathBuf::from);
    let cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("quipu-tools")
    };
    named.unwrap_or_else(cache)
}
