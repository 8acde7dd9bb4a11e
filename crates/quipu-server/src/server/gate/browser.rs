//! Requests that a browser makes for a page that is not ours.
//!
//! Any page on the web may let a browser send requests to this machine, and may give its own name
//! the address of this machine. Both show: in `Origin`, and in `Host`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;

use super::Refusal;
use crate::server::Peer;

/// Refuses what comes for another origin; and on an address of this machine alone what was meant
/// for another host.
pub(super) fn check(request: &Request, peer: Option<&Peer>) -> Result<(), Refusal> {
    let host = host(request);
    if peer.is_none_or(|peer| peer.local.ip().to_canonical().is_loopback()) {
        let is_own = host.as_ref().is_some_and(|host| is_loopback(host.host()));
        if !is_own {
            return Err(Refusal::ForeignHost);
        }
    }
    match request.headers().get(ORIGIN) {
        None => Ok(()),
        Some(origin) => {
            let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
            let origin = origin.and_then(|(_, rest)| rest.parse::<Authority>().ok());
            match (origin, host) {
                (Some(origin), Some(host)) if origin == host => Ok(()),
                _ => Err(Refusal::ForeignOrigin),
            }
        }
    }
}

/// The host that the request is for: in HTTP/2 it is part of the address.
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    request.headers().get(HOST)?.to_str().ok()?.parse().ok()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(host: Option<&str>, origin: Option<&str>) -> Result<(), Refusal> {
        let mut request = Request::builder().uri("/");
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        check(&request.body(axum::body::Body::empty()).unwrap(), None)
    }

    #[test]
    fn a_request_for_this_machine_passes() {
        for host in ["localhost", "LOCALHOST:2118", "127.0.0.1:2118", "127.1.2.3", "[::1]:2118"] {
            assert!(answer(Some(host), None).is_ok(), "{host}");
        }
        assert!(answer(Some("localhost:1"), Some("http://localhost:1")).is_ok());
    }

    #[test]
    fn a_name_that_was_bent_to_this_machine_does_not() {
        let hosts =
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"];
        for host in hosts {
            assert!(matches!(answer(Some(host), None), Err(Refusal::ForeignHost)), "{host}");
        }
        assert!(matches!(answer(None, None), Err(Refusal::ForeignHost)));
    }

    #[test]
    fn a_request_for_anothers_page_does_not() {
        for origin in ["http://evil.example", "null", "http://localhost:2", "http://localhost", ""]
        {
            let answer = answer(Some("localhost:1"), Some(origin));
            assert!(matches!(answer, Err(Refusal::ForeignOrigin)), "{origin}");
        }
    }
}
