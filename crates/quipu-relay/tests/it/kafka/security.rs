//! Encrypted and authenticated connections, and what is said where they are refused.

use std::sync::Arc;

use quipu_core::{Append, ComponentState, EventStore, MemoryStore, NewEvent, StreamName};
use quipu_relay::{KafkaSecurity, KafkaSink, KafkaTls, KafkaTopics, Relay, SaslMechanism};
use quipu_testing::kafka::{Cluster, ClusterOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::read_committed;

/// A broker with every way in, and the certificate of who signed its own.
fn guarded() -> Option<(Cluster, String)> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let own = own.unwrap().signed_by(&key, &issuer).unwrap();
    // One line of the configuration, with its ends written out.
    let line = |pem: String| pem.trim().replace('\n', "\\n");
    let jaas = "org.apache.kafka.common.security";
    let plain = format!("{jaas}.plain.PlainLoginModule required user_alice=\"secret\";");
    let scram = format!("{jaas}.scram.ScramLoginModule required;");
    let options = ClusterOptions::default()
        .listener("TLS", "SSL")
        .listener("SCRAM", "SASL_PLAINTEXT")
        .listener("BOTH", "SASL_SSL")
        .setting("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")
        .setting("listener.name.scram.plain.sasl.jaas.config", &plain)
        .setting("listener.name.both.plain.sasl.jaas.config", &plain)
        .setting("listener.name.scram.scram-sha-256.sasl.jaas.config", &scram)
        .setting("listener.name.scram.scram-sha-512.sasl.jaas.config", &scram)
        .setting("listener.name.both.scram-sha-256.sasl.jaas.config", &scram)
        .setting("listener.name.both.scram-sha-512.sasl.jaas.config", &scram)
        .setting("ssl.keystore.type", "PEM")
        .setting("ssl.keystore.certificate.chain", &line(own.pem()))
        .setting("ssl.keystore.key", &line(key.serialize_pem()))
        .user("SCRAM-SHA-256", "alice", "secret")
        .user("SCRAM-SHA-512", "alice", "secret");
    Some((Cluster::start(1, &options)?, issuer.pem()))
}

fn sink(servers: &str, topic: &str, security: KafkaSecurity) -> Arc<KafkaSink> {
    let sink = KafkaSink::new(servers, topic).unwrap();
    Arc::new(sink.topics(KafkaTopics::default().create()).security(security))
}

async fn one_event() -> Arc<dyn EventStore> {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let event = NewEvent::json("Counted", "1").unwrap();
    store.append(Append::new().event(StreamName::new("a-1").unwrap(), event)).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_publishes_over_tls_and_as_a_user() {
    let Some((cluster, ca)) = guarded() else { return };
    let tls = || KafkaTls::new().ca(&ca);
    let user = |mechanism| KafkaSecurity::default().sasl(mechanism, "alice", "secret");
    let ways = [
        ("tls", "TLS", KafkaSecurity::default().tls(tls())),
        ("scram-256", "SCRAM", user(SaslMechanism::ScramSha256)),
        ("scram-512", "SCRAM", user(SaslMechanism::ScramSha512)),
        ("plain-tls", "BOTH", user(SaslMechanism::Plain).tls(tls())),
        ("scram-tls", "BOTH", user(SaslMechanism::ScramSha512).tls(tls())),
    ];
    for (topic, listener, security) in ways {
        let sink = sink(&cluster.servers_of(listener), topic, security);
        let store = one_event().await;
        let last = store.frontier().await.unwrap();
        let mut running = Relay::new(store, topic, sink).spawn();
        running.wait_for(last).await.unwrap();
        running.stop().await.unwrap();
        let records = read_committed(&cluster.servers(), topic).await;
        assert_eq!(records.len(), 1, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_says_why_and_no_password() {
    let Some((cluster, ca)) = guarded() else { return };
    let wrong = KafkaSecurity::default().sasl(SaslMechanism::ScramSha256, "alice", "hunter2");
    let ways = [
        ("SCRAM", wrong.clone(), "uthentication"),
        ("TLS", KafkaSecurity::default().tls(KafkaTls::new()), "ertificate"),
        ("BOTH", wrong.tls(KafkaTls::new().ca(&ca)), "uthentication"),
    ];
    for (listener, security, expected) in ways {
        let sink = sink(&cluster.servers_of(listener), "orders", security);
        let shown = format!("{sink:?}");
        let mut running = Relay::new(one_event().await, "refused", sink).spawn();
        let is_told = |state| state == ComponentState::Retrying;
        let status = running.wait_until(|it| is_told(it.state)).await.unwrap();
        let cause = status.last_error.unwrap();
        assert!(cause.contains(expected), "{listener}: {cause}");
        assert!(!cause.contains("hunter2") && !shown.contains("hunter2"), "{cause} {shown}");
    }
}
