//! TLS and client certificates, made by `quipu cert` and shown to a server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use quipu_server::security::{Credentials, Role};
use quipu_server::server::{Tls, TlsError, TlsFiles};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};

use super::support::{Answer, PATIENCE, Verdict, World, ask_on, create};

fn cert(args: &[&str], dir: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    let made = command.arg("cert").args(args).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        certificate: dir.join("server.pem"),
        key: dir.join("server-key.pem"),
        client_authority: Some(dir.join("ca.pem")),
        client_revocations: None,
    }
}

/// A server with TLS, an administrator's token, and the client certificate `orders`.
async fn world() -> (World, super::support::Token, Tls) {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_owned();
    cert(&["init", "."], &dir);
    cert(&["client", "orders"], &dir);
    cert(&["client", "stranger"], &dir);
    let tls = Tls::load(files(&dir)).unwrap();
    let mut credentials = Credentials::default();
    let admin = create(&mut credentials, "admin", Role::Admin);
    credentials.add_principal("orders", Some(Role::Operator)).unwrap();
    credentials.add_certificate("orders", "cn:orders").unwrap();
    let world = World::with_tls(&credentials, directory, Some(tls.clone())).await;
    (world, admin, tls)
}

async fn connect(
    world: &World,
    client: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let dir = world.directory.path();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain =
                vec![CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}-key.pem"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(world.address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

async fn ask(world: &World, client: Option<&str>, headers: &[(&str, &str)]) -> Answer {
    let stream = connect(world, client, &VERSIONS).await.unwrap();
    let host = format!("localhost:{}", world.address().port());
    ask_on(stream, &host, "GET /metrics", headers).await
}

#[tokio::test]
async fn a_token_is_shown_through_tls_and_nothing_goes_in_plaintext() {
    let (world, admin, _) = world().await;
    let header = format!("Bearer {}", admin.text.reveal());

    assert_eq!(ask(&world, None, &[("authorization", &header)]).await.status(), 200);
    assert_eq!(ask(&world, None, &[]).await.verdict(), Verdict::Unauthenticated);
    let plaintext = world.ask("GET /health/live", &[]).await;
    assert!(!plaintext.0.contains("live"), "{plaintext:?}");
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let (world, ..) = world().await;

    for (offered, spoken) in
        [(&version::TLS13, ProtocolVersion::TLSv1_3), (&version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        let stream = connect(&world, None, &[offered]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
    }
}

#[tokio::test]
async fn a_client_certificate_stands_for_its_principal() {
    let (world, ..) = world().await;

    let known = ask(&world, Some("orders"), &[]).await;
    assert_eq!(known.status(), 200, "{known:?}");
    let stranger = ask(&world, Some("stranger"), &[]).await;
    assert_eq!(stranger.verdict(), Verdict::Unauthenticated);
    let foreign = ask(&world, Some("orders"), &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.verdict(), Verdict::Forbidden, "a browser shows certificates by itself");

    world.service.authority().replace(Credentials::default());
    assert_eq!(ask(&world, Some("orders"), &[]).await.verdict(), Verdict::Unauthenticated);
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused_in_the_handshake() {
    let (world, ..) = world().await;
    let dir = world.directory.path();
    fs::create_dir(dir.join("other")).unwrap();
    cert(&["init", "other"], dir);
    cert(&["client", "orders", "--dir", "other"], dir);
    for file in ["orders.pem", "orders-key.pem"] {
        fs::copy(dir.join("other").join(file), dir.join(file.replace("orders", "forged"))).unwrap();
    }

    // A client of TLS 1.3 learns of it when it reads.
    if let Ok(stream) = connect(&world, Some("forged"), &VERSIONS).await {
        let answer = ask_on(stream, "localhost", "GET /health/live", &[]).await;
        assert_eq!(answer.0, "", "nothing is answered");
    }
}

#[tokio::test]
async fn new_certificates_are_used_after_a_reload_and_wrong_ones_are_not() {
    let (world, admin, tls) = world().await;
    let dir = world.directory.path();
    let header = format!("Bearer {}", admin.text.reveal());
    let shown = async || {
        let stream = connect(&world, None, &VERSIONS).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = shown().await;

    let kept = fs::read(dir.join("server.pem")).unwrap();
    fs::write(dir.join("server.pem"), "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::NoCertificate { .. })));
    assert_eq!(shown().await, first, "what was read before goes on");
    fs::write(dir.join("server.pem"), &kept).unwrap();
    fs::copy(dir.join("orders-key.pem"), dir.join("server-key.pem")).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Certificate { .. })), "the key is another's");
    assert_eq!(ask(&world, None, &[("authorization", &header)]).await.status(), 200);

    for file in ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"] {
        fs::remove_file(dir.join(file)).unwrap();
    }
    cert(&["init", "."], dir);
    tls.reload().unwrap();
    assert_ne!(shown().await, first);
}

#[test]
fn a_key_that_everybody_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    cert(&["init", "."], directory.path());
    let key = directory.path().join("server-key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();

    let error = Tls::load(files(directory.path())).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn new_certificates_are_found_by_themselves() {
    let (world, ..) = world().await;
    let dir = world.directory.path();
    let first = fs::read(dir.join("server.pem")).unwrap();
    for file in ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"] {
        fs::remove_file(dir.join(file)).unwrap();
    }

    cert(&["init", "."], dir);

    assert_ne!(fs::read(dir.join("server.pem")).unwrap(), first);
    let begin = Instant::now();
    // A client that trusts the new authority alone is let in once the server shows its certificate.
    while connect(&world, None, &VERSIONS).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "the old certificate is still shown");
    }
}

/// The authority's list of what it has revoked: the certificate of this client.
fn revoke(dir: &Path, client: &str) {
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("ca-key.pem")).unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "quipu authority");
    authority.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let issuer = rcgen::Issuer::new(authority, key);
    let certificate = CertificateDer::from_pem_file(dir.join(format!("{client}.pem"))).unwrap();
    let revoked = rcgen::RevokedCertParams {
        serial_number: serial_of(&certificate),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2126, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    fs::write(dir.join("crl.pem"), list.signed_by(&issuer).unwrap().pem().unwrap()).unwrap();
}

/// The serial number of a certificate: the first number in it, after the version in brackets.
fn serial_of(certificate: &[u8]) -> rcgen::SerialNumber {
    let version = [0xA0, 3, 2, 1, 2];
    let at = certificate.windows(5).position(|own| own == version).unwrap() + 5;
    assert_eq!(certificate[at], 2, "a number");
    let size = usize::from(certificate[at + 1]);
    rcgen::SerialNumber::from(certificate[at + 2..at + 2 + size].to_vec())
}

#[tokio::test]
async fn a_revoked_client_certificate_is_refused_in_the_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_owned();
    cert(&["init", "."], &dir);
    cert(&["client", "orders"], &dir);
    cert(&["client", "stranger"], &dir);
    revoke(&dir, "stranger");
    let files = TlsFiles { client_revocations: Some(dir.join("crl.pem")), ..files(&dir) };
    let tls = Tls::load(files).unwrap();
    let world = World::with_tls(&Credentials::default(), directory, Some(tls.clone())).await;
    let is_let_in = async |client| match connect(&world, Some(client), &VERSIONS).await {
        Ok(stream) => {
            let host = format!("localhost:{}", world.address().port());
            ask_on(stream, &host, "GET /health/live", &[]).await.0.contains("live")
        }
        Err(_) => false,
    };

    assert!(is_let_in("orders").await && !is_let_in("stranger").await);
    revoke(&dir, "orders");
    tls.reload().unwrap();
    assert!(!is_let_in("orders").await, "the list was read again");
    fs::write(dir.join("crl.pem"), "").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::File { .. })), "an empty list is a mistake");
    assert!(!is_let_in("orders").await, "what was read before goes on");
}
