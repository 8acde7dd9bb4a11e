//! What goes on record, and what never does.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use http::uri::PathAndQuery;
use quipu_core::{EventStore, Query, ReadAll};
use quipu_kurrent::proto::event_store::client::users;
use quipu_server::config::Limits;
use quipu_server::security::{Access, Authority, Credentials, Role, Secret};
use quipu_server::server::Server;
use quipu_server::service::Service;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;
use tracing_subscriber::fmt::MakeWriter;

use super::support::{Answer, World, append, ask_on, create};

#[tokio::test]
async fn changes_of_the_credentials_are_on_record() {
    let mut credentials = Credentials::default();
    let admin = create(&mut credentials, "admin", Role::Admin);
    let world = World::with(&credentials).await;

    let loaded = world.audit("CredentialsLoaded").await;
    assert_eq!(loaded["principals"][0]["name"], "admin");
    world.edit(|own| {
        own.create_token("orders", Some(Role::Writer), &[], None).unwrap();
    });
    assert_eq!(world.audit("PrincipalAdded").await["principal"], "orders");
    world.edit(|own| own.revoke_token(&admin.id).unwrap());
    assert_eq!(world.audit("TokenRevoked").await["token"], admin.id.as_str());
    world.edit(|own| own.remove_principal("orders").unwrap());
    assert_eq!(world.audit("PrincipalRemoved").await["principal"], "orders");
    std::fs::write(&world.credentials, "{").unwrap();
    assert!(world.audit("CredentialsRefused").await["reason"].is_string());
}

#[tokio::test]
async fn users_that_a_client_of_kurrentdb_makes_are_on_record_with_who_made_them() {
    let mut credentials = Credentials::default();
    let admin = create(&mut credentials, "admin", Role::Admin);
    let world = World::with(&credentials).await;
    let uri = format!("http://{}", world.address());
    let mut grpc = Grpc::new(Endpoint::from_shared(uri).unwrap().connect().await.unwrap());
    grpc.ready().await.unwrap();
    let options = users::create_req::Options {
        login_name: "eva".to_owned(),
        password: "correct horse battery".to_owned(),
        full_name: "Eva".to_owned(),
        groups: vec!["$ops".to_owned()],
    };
    let mut request = Request::new(users::CreateReq { options: Some(options) });
    let token = format!("Bearer {}", admin.text.reveal());
    request.metadata_mut().insert("authorization", token.parse().unwrap());

    let path = PathAndQuery::from_static("/event_store.client.users.Users/Create");
    let codec = ProstCodec::<_, users::CreateResp>::default();
    grpc.unary(request, path, codec).await.unwrap();

    let added = world.audit("PrincipalAdded").await;
    assert_eq!((&added["principal"], &added["by"]), (&"eva".into(), &"admin".into()));
}

#[tokio::test]
async fn refused_logins_are_counted_and_written_down_when_the_server_stops() {
    let mut credentials = Credentials::default();
    create(&mut credentials, "admin", Role::Admin);
    let world = World::with(&credentials).await;
    for _ in 0..3 {
        world.ask("GET /metrics", &[("authorization", "Bearer qp_a_b")]).await;
    }
    let World { server, store, .. } = world;

    server.stop().await;

    let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    let events = quipu_core::collect(read.batches).await.unwrap();
    let event = events.iter().find(|event| event.event_type == "LoginsRefused").unwrap();
    let data: serde_json::Value = serde_json::from_slice(event.data.present().unwrap()).unwrap();
    assert_eq!(data, serde_json::json!({ "peer": "127.0.0.1", "count": 3 }));
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that a server said while secrets were shown to it: answers, logs, debug texts, and
/// the bytes of its data directory. And the secrets.
async fn say_everything() -> (String, Vec<String>) {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(logs.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let options = quipu_engine::OpenOptions::new().create(true).rights(quipu_core::Rights::System);
    let engine = Arc::new(options.open(&data).unwrap());
    let mut credentials = Credentials::default();
    let admin = create(&mut credentials, "admin", Role::Admin);
    let later = create(&mut credentials, "later", Role::Admin);
    let password = Secret::new("canary horse battery");
    credentials.add_user("ada", Role::Operator, &password).unwrap();
    let file = directory.path().join("auth.json");
    credentials.save(&file).unwrap();
    let authority = Authority::load(&file).unwrap();
    let service =
        Service::secured(engine.clone(), engine.clone(), Limits::default(), authority.clone());
    let server =
        Server::start(service.clone(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();

    let mut said = String::new();
    let bearer = format!("Bearer {}", admin.text.reveal());
    let session = ask(&server, "POST /session", &basic(password.reveal())).await.json();
    let session = session["token"].as_str().unwrap().to_owned();
    for header in [&bearer, &format!("{bearer}x"), &basic("canary wrong battery"), &bearer[..40]] {
        for operation in ["GET /metrics", "/quipu.v1.Store/Identify"] {
            said += &ask(&server, operation, header).await.0;
        }
    }
    said += &ask(&server, "POST /session", &basic("canary wrong battery")).await.0;
    said += &ask(&server, "GET /metrics", &format!("Bearer {session}")).await.0;
    let access = Access::of_token(&service, &admin.text).unwrap();
    access.store().append(append("order-1")).await.unwrap();
    let shown = format!("{access:?} {service:?} {server:?} {credentials:?} {authority:?}");
    said += &shown;
    credentials.revoke_token(&later.id).unwrap();
    credentials.save(&file).unwrap();
    server.stop().await;
    drop((access, service, engine));
    said += &String::from_utf8_lossy(&logs.0.lock().unwrap());
    said += &text_of_files(data);

    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let hash = kept["principals"][0]["tokens"][0]["hash"].as_str().unwrap();
    let secret = |text: &str| text.rsplit('_').next().unwrap().to_owned();
    let canaries = [
        secret(admin.text.reveal()),
        secret(later.text.reveal()),
        secret(&session),
        "horse battery".to_owned(),
        "wrong battery".to_owned(),
        basic(password.reveal())[6..].to_owned(),
        hash.to_owned(),
        "$argon2id$".to_owned(),
    ];
    (said, canaries.into())
}

async fn ask(server: &Server, operation: &str, header: &str) -> Answer {
    let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    ask_on(stream, &server.address().to_string(), operation, &[("authorization", header)]).await
}

fn basic(password: &str) -> String {
    let text = format!("ada:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

fn text_of_files(directory: PathBuf) -> String {
    let mut text = String::new();
    let mut files = vec![directory];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            text += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    text
}

#[tokio::test]
async fn secrets_are_in_no_event_log_metric_or_error() {
    let (said, canaries) = say_everything().await;

    assert!(said.contains("TokenRevoked"), "the audit was looked through");
    assert!(said.contains("operation=\"GET /metrics\""), "the logs were looked through");
    assert!(said.contains("quipu_connections_total"), "the metrics were looked through");
    for canary in canaries {
        let around = said.split_once(&canary).map(|(before, _)| {
            before.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect::<String>()
        });
        assert_eq!(around, None, "{canary} after this");
    }
}
