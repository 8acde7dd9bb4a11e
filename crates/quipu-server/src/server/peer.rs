//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;

/// What is known of a connection, in the extensions of each of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The other end.
    pub(crate) address: SocketAddr,
    /// This end.
    pub(crate) local: SocketAddr,
    /// The names in the client certificate that the handshake has checked: `dns:`, `uri:`, `cn:`.
    pub(crate) certificate: Option<Arc<[String]>>,
}

/// The most names of one certificate that are looked at.
const NAME_COUNT_MAX: usize = 32;

/// The names that a certificate has, as the credentials file writes them.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Arc<[String]> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Arc::from([]) };
    let dns = parsed.valid_dns_names().map(|name| format!("dns:{}", name.to_ascii_lowercase()));
    let uris = parsed.valid_uri_names().map(|name| format!("uri:{name}"));
    let common = common_name(parsed.subject()).map(|name| format!("cn:{name}"));
    dns.chain(uris).chain(common).take(NAME_COUNT_MAX).collect()
}

/// The common name in a subject: a sequence of sets of pairs, in DER.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OBJECT_ID: u8 = 0x06;
    const TEXTS: [u8; 3] = [0x0C, 0x13, 0x16];
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
    while !subject.is_empty() {
        let (SET, mut pairs, rest) = element(subject)? else { return None };
        subject = rest;
        while !pairs.is_empty() {
            let (SEQUENCE, pair, rest) = element(pairs)? else { return None };
            pairs = rest;
            let (OBJECT_ID, kind, value) = element(pair)? else { return None };
            if kind == COMMON_NAME {
                let (tag, text, _) = element(value)?;
                return TEXTS.contains(&tag).then(|| std::str::from_utf8(text).ok())?;
            }
        }
    }
    None
}

/// The first element: its tag, what is in it, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (size, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81 => {
            let (size, rest) = rest.split_first()?;
            (usize::from(*size), rest)
        }
        0x82 => {
            let (&[high, low], rest) = rest.split_first_chunk::<2>()?;
            (usize::from(high) << 8 | usize::from(low), rest)
        }
        _ => return None,
    };
    let (inner, rest) = rest.split_at_checked(size)?;
    Some((tag, inner, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: Option<&str>, hosts: &[&str]) -> CertificateDer<'static> {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Orders");
        if let Some(name) = name {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_goes_by_its_names() {
        let names = names_of(&certificate(Some("orders"), &["Orders.example", "b.example"]));

        assert_eq!(*names, ["dns:orders.example", "dns:b.example", "cn:orders"]);
        assert_eq!(*names_of(&certificate(None, &["a.example"])), ["dns:a.example"]);
        assert_eq!(
            *names_of(&certificate(Some(&"x".repeat(200)), &[])),
            [format!("cn:{}", "x".repeat(200))]
        );
    }

    #[test]
    fn bytes_that_are_no_subject_have_no_name() {
        let mut subject =
            vec![0x31, 12, 0x30, 10, 0x06, 3, 0x55, 0x04, 0x03, 0x0C, 3, b'a', b'b', b'c'];
        assert_eq!(common_name(&subject), Some("abc"));

        for index in 0..subject.len() {
            assert_eq!(common_name(&subject[..index]), None, "cut at {index}");
            for value in [0, 1, 0x7F, 0x80, 0x81, 0x82, 0xFF] {
                let kept = std::mem::replace(&mut subject[index], value);
                let name = common_name(&subject).unwrap_or_default().to_owned();
                assert!(name.len() <= 3, "{name:?}");
                subject[index] = kept;
            }
        }
        assert!(names_of(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])).is_empty());
    }
}
