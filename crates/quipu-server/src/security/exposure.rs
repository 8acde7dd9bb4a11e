//! Which addresses may be listened on without protection: those that only this machine reaches.

use std::net::SocketAddr;
use std::path::Path;

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the rule decides each of them")]
pub enum Listen<'a> {
    /// On a TCP port.
    Tcp(SocketAddr),
    /// On a Unix socket: the file system says who may connect.
    Unix(&'a Path),
}

/// Whether others can listen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Transport {
    /// They can.
    Plaintext,
    /// They cannot.
    Tls,
}

/// Whether callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Authentication {
    /// They do not.
    Open,
    /// They do.
    Required,
}

/// How a server is reached that may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever starts a server decides each of them")]
pub enum Exposure {
    /// From this machine alone.
    Local,
    /// From others, with TLS and authentication.
    Protected,
    /// From others, without one of both, since somebody insisted. Warn loudly.
    Dangerous,
}

/// Why a server must not start like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExposureError {
    /// Other machines reach the address, and something is missing that protects it.
    #[error(
        "{address} is reached from other machines, and there is {missing}; listen on 127.0.0.1, or \
         give --tls-cert and --tls-key (`quipu cert init`) and make a token (`quipu token create`)"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// The address that somebody insisted on is another one.
    #[error(
        "--dangerously-allow-plaintext-on={allowed} does not name {address}, the address to listen on"
    )]
    OtherAddress {
        /// The address that was insisted on.
        allowed: SocketAddr,
        /// The address to listen on.
        address: SocketAddr,
    },
}

/// Decides whether a server may listen like this.
///
/// Loopback addresses and Unix sockets need no protection. Every other address needs TLS and
/// authentication, unless `dangerous` names that very address.
///
/// # Errors
///
/// [`ExposureError`] says what is missing.
pub fn check_exposure(
    listen: Listen<'_>,
    transport: Transport,
    authentication: Authentication,
    dangerous: Option<SocketAddr>,
) -> Result<Exposure, ExposureError> {
    let Listen::Tcp(address) = listen else { return Ok(Exposure::Local) };
    if address.ip().to_canonical().is_loopback() {
        return Ok(Exposure::Local);
    }
    let missing = match (transport, authentication) {
        (Transport::Tls, Authentication::Required) => return Ok(Exposure::Protected),
        (Transport::Tls, Authentication::Open) => "no authentication",
        (Transport::Plaintext, Authentication::Required) => "no TLS",
        (Transport::Plaintext, Authentication::Open) => "neither TLS nor authentication",
    };
    match dangerous {
        Some(allowed) if allowed == address => Ok(Exposure::Dangerous),
        Some(allowed) => Err(ExposureError::OtherAddress { allowed, address }),
        None => Err(ExposureError::Unprotected { address, missing }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSPORTS: [Transport; 2] = [Transport::Plaintext, Transport::Tls];
    const AUTHENTICATIONS: [Authentication; 2] = [Authentication::Open, Authentication::Required];

    fn check(
        address: &str,
        transport: Transport,
        authentication: Authentication,
        dangerous: Option<&str>,
    ) -> Result<Exposure, ExposureError> {
        let listen = Listen::Tcp(address.parse().unwrap());
        let dangerous = dangerous.map(|text| text.parse().unwrap());
        check_exposure(listen, transport, authentication, dangerous)
    }

    #[test]
    fn what_only_this_machine_reaches_needs_no_protection() {
        for transport in TRANSPORTS {
            for authentication in AUTHENTICATIONS {
                for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
                    let answer = check(address, transport, authentication, None);
                    assert_eq!(answer, Ok(Exposure::Local), "{address}");
                }
                let socket = Listen::Unix(Path::new("/run/quipu.sock"));
                let answer = check_exposure(socket, transport, authentication, None);
                assert_eq!(answer, Ok(Exposure::Local));
            }
        }
    }

    #[test]
    fn what_others_reach_needs_tls_and_authentication() {
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let tls = check(address, Transport::Tls, Authentication::Required, None);
            assert_eq!(tls, Ok(Exposure::Protected), "{address}");
            for (transport, authentication, missing) in [
                (Transport::Tls, Authentication::Open, "no authentication"),
                (Transport::Plaintext, Authentication::Required, "no TLS"),
                (Transport::Plaintext, Authentication::Open, "neither TLS nor authentication"),
            ] {
                let refused = check(address, transport, authentication, None).unwrap_err();
                let address = address.parse().unwrap();
                assert_eq!(refused, ExposureError::Unprotected { address, missing });
            }
        }
    }

    #[test]
    fn whoever_insists_names_the_very_address() {
        let open = |dangerous| {
            check("0.0.0.0:1", Transport::Plaintext, Authentication::Open, Some(dangerous))
        };

        assert_eq!(open("0.0.0.0:1"), Ok(Exposure::Dangerous));
        assert!(matches!(open("0.0.0.0:2"), Err(ExposureError::OtherAddress { .. })));
        assert!(matches!(open("127.0.0.1:1"), Err(ExposureError::OtherAddress { .. })));
    }
}
