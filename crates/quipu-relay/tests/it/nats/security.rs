//! Encrypted and authenticated connections, and what is said where they are refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use quipu_core::{Append, ComponentState, EventStore, MemoryStore, NewEvent, StreamName};
use quipu_relay::{NatsSecurity, NatsSink, NatsStreams, Relay};
use quipu_testing::nats::Nats;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::PATIENCE;

/// Writes a certificate for 127.0.0.1, its key, and the certificate of who signed it.
fn write_certificates(directory: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
    fs::write(directory.join("cert.pem"), own.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

/// A server that wants a user, and where asked to, encryption and certificates.
fn guarded(directory: &Path, tls: &str) -> Option<Nats> {
    let path = |name: &str| directory.join(name).display().to_string();
    let tls = if tls.is_empty() {
        String::new()
    } else {
        format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", {tls} }}",
            path("cert.pem"),
            path("key.pem"),
            path("ca.pem")
        )
    };
    Nats::start(&format!(
        "{tls}\n\
         authorization {{ users: [\n\
           {{ user: alice, password: secret }}\n\
           {{ user: bob, password: secret, permissions: {{ publish: [\"$JS.API.>\"] }} }}\n\
         ] }}"
    ))
}

fn sink(server: &Nats, security: NatsSecurity) -> Arc<NatsSink> {
    let sink = NatsSink::new(&server.url(), "ORDERS", "orders.{category}").unwrap();
    Arc::new(sink.streams(NatsStreams::default().create()).security(security))
}

async fn one_event() -> Arc<dyn EventStore> {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let event = NewEvent::json("Counted", "1").unwrap();
    store.append(Append::new().event(StreamName::new("a-1").unwrap(), event)).await.unwrap();
    store
}

async fn publishes(server: &Nats, security: NatsSecurity) {
    let store = one_event().await;
    let last = store.frontier().await.unwrap();
    let mut running = Relay::new(store, "trusted", sink(server, security)).spawn();
    let waited = tokio::time::timeout(PATIENCE, running.wait_for(last)).await;
    waited.unwrap_or_else(|_| panic!("{:?}", running.status())).unwrap();
    running.stop().await.unwrap();
}

/// Why a relay does not go on.
async fn refusal(server: &Nats, security: NatsSecurity) -> String {
    let mut running = Relay::new(one_event().await, "refused", sink(server, security)).spawn();
    let is_told = |state| state == ComponentState::Retrying;
    let status = running.wait_until(|it| is_told(it.state)).await.unwrap();
    status.last_error.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_publishes_over_tls_and_as_a_user() {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let path = |name: &str| directory.path().join(name);
    let alice = || NatsSecurity::default().user("alice", "secret");
    let Some(plain) = guarded(directory.path(), "") else { return };
    publishes(&plain, alice()).await;

    let encrypted = guarded(directory.path(), "verify: true").unwrap();
    let shown = alice().ca(path("ca.pem")).identity(path("cert.pem"), path("key.pem"));
    publishes(&encrypted, shown).await;
    let cause = refusal(&encrypted, alice().tls()).await;
    assert!(cause.contains("ertificate"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_user_is_told_why_and_no_password() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = guarded(directory.path(), "") else { return };
    let wrong = NatsSecurity::default().user("alice", "hunter2");

    let shown = format!("{wrong:?} {:?}", sink(&server, wrong.clone()));
    let cause = refusal(&server, wrong).await;
    assert!(cause.contains("authorization violation"), "{cause}");
    assert!(!cause.contains("hunter2") && !shown.contains("hunter2"), "{cause} {shown}");

    // He may make the stream, and publish nothing to it.
    let cause = refusal(&server, NatsSecurity::default().user("bob", "secret")).await;
    assert!(cause.contains("Permissions Violation"), "{cause}");
}
