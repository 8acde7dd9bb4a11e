//! Work on the store over the network: statistics, verification, backups, scavenging, its index.

use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quipu_core::{
    Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, ReadStream, StreamName,
};
use quipu_engine::{BackupError, Engine, OpenOptions, ScavengeError, VerifyError};
use quipu_server::config::Limits;
use quipu_server::security::{Authority, Credentials, Role};
use quipu_server::server::Server;
use quipu_server::service::Service;
use quipu_wire::proto::Damage;
use quipu_wire::status::TaskError;
use quipu_wire::{Client, ClientOptions, Refused};
use tempfile::TempDir;

struct World {
    server: Server,
    engine: Engine,
    directory: TempDir,
}

impl World {
    /// A server of a store with small segments, and a directory for backups.
    async fn new(authority: Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions::new().create(true).segment_size(64 << 10).run_count(16);
        let engine = options.open(directory.path().join("log")).unwrap();
        let service = Service::of_engine(&engine, Limits::default(), authority);
        service.set_backup_directory(directory.path().join("backups"));
        std::fs::create_dir(directory.path().join("backups")).unwrap();
        let server = Server::start(service, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        Self { server, engine, directory }
    }

    async fn client(&self, token: Option<String>) -> Client {
        let uri = format!("http://{}", self.server.address());
        let options = ClientOptions { token, ..ClientOptions::default() };
        Client::connect(&uri, options).await.unwrap()
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.directory.path().join("backups").join(name)
    }

    /// Appends so many events of some size to one stream.
    async fn fill(&self, count: usize) {
        let name = StreamName::new("order-1").unwrap();
        for _ in 0..count {
            let data = format!("{:?}", "7".repeat(4_000));
            let event = NewEvent::json("Placed", data).unwrap();
            let append = Append::to_stream(name.clone(), ExpectedRevision::Any, [event]);
            self.engine.append(append).await.unwrap();
        }
    }
}

fn unheard<T>() -> impl FnMut(T) + Send {
    |_| {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_verifies_copies_and_scavenges_the_store() {
    let world = World::new(Authority::open()).await;
    world.fill(100).await;
    let client = world.client(None).await;
    let stream = StreamName::new("order-1").unwrap();

    let stats = client.stats().await.unwrap();
    assert_eq!((stats.event_count, stats.stream_count, stats.last), (100, 1, 100));
    assert!(stats.segment_count > 3 && stats.log_size > 400_000, "{stats:?}");

    let mut progress = Vec::new();
    let made = client.backup("monday.1", &mut |own| progress.push(own)).await.unwrap();
    assert_eq!((made.frontier, made.segment_count), (100, stats.segment_count));
    assert_eq!(made.directory, world.backup("monday.1").display().to_string());
    assert!(!progress.is_empty() && progress.iter().all(|own| own.done <= own.total));
    let whole = quipu_engine::verify(&world.backup("monday.1"), &mut unheard(), &mut |_| {});
    assert_eq!(whole.unwrap().damage_count, 0);

    client.delete(stream.clone(), ExpectedRevision::Any).await.unwrap();
    let scavenged = client.scavenge(None, &mut unheard()).await.unwrap();
    assert!(scavenged.segment_count > 0 && scavenged.freed_size > 300_000, "{scavenged:?}");
    assert!(client.read_stream(ReadStream::new(stream)).await.is_ok());

    let mut damages: Vec<Damage> = Vec::new();
    let verified = client.verify(&mut |own| damages.push(own), &mut unheard()).await.unwrap();
    assert_eq!((verified.event_count, verified.damage_count), (101, 0), "{damages:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_is_made_anew_while_the_server_serves() {
    let world = World::new(Authority::open()).await;
    world.fill(100).await;
    let client = world.client(None).await;
    // Runs are written behind the writer's back: six of sixteen events each.
    let begun = Instant::now();
    while client.stats().await.unwrap().run_count < 6 {
        assert!(begun.elapsed() < Duration::from_mins(1), "no runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let runs = std::fs::read_dir(world.directory.path().join("log/index")).unwrap();
    let run = runs.map(|entry| entry.unwrap().path()).min().unwrap();
    let whole = std::fs::read(&run).unwrap();
    let file = std::fs::File::options().write(true).open(&run).unwrap();
    // In place: the server has the file open.
    file.write_all_at(&[!whole[300]], 300).unwrap();
    let verified = client.verify(&mut unheard(), &mut unheard()).await.unwrap();
    assert!(verified.damage_count > 0, "{verified:?}");

    let mut progress = Vec::new();
    let rebuilt = client.rebuild_index(&mut |own| progress.push(own)).await.unwrap();

    assert_eq!((rebuilt.event_count, rebuilt.run_count), (96, 6));
    assert!(progress.iter().all(|own| own.done <= own.total && own.unit == "events"));
    let verified = client.verify(&mut unheard(), &mut unheard()).await.unwrap();
    assert_eq!(verified.damage_count, 0);
    assert_eq!(std::fs::read(&run).unwrap(), whole, "a run has the bytes that its events give it");
    world.fill(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_told_with_its_place() {
    let world = World::new(Authority::open()).await;
    world.fill(60).await;
    let segments = world.directory.path().join("log/segments");
    let files = std::fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path());
    let first = files.filter(|path| path.extension().is_some_and(|it| it == "log")).min().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[9_000] ^= 1;
    std::fs::write(&first, bytes).unwrap();

    let mut damages: Vec<Damage> = Vec::new();
    let client = world.client(None).await;
    let verified = client.verify(&mut |own| damages.push(own), &mut unheard()).await.unwrap();

    assert!(verified.damage_count > 0 && verified.damage_count == damages.len() as u64);
    assert_eq!(damages[0].file, first.display().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_has_a_name_that_leads_nowhere_else() {
    let world = World::new(Authority::open()).await;
    let client = world.client(None).await;
    let long = "x".repeat(65);
    let names = [
        "", ".", "..", "../out", "a/b", "/etc", "a\\b", ".hidden", "a b", "a\0b", "%2e%2e", "é",
        &long,
    ];

    for name in names {
        let refused = client.backup(name, &mut unheard()).await;
        assert!(matches!(refused, Err(TaskError::InvalidName { .. })), "{name:?}: {refused:?}");
    }
    assert_eq!(std::fs::read_dir(world.backup("")).unwrap().count(), 0);
    client.backup("a", &mut unheard()).await.unwrap();
    let again = client.backup("a", &mut unheard()).await;
    assert!(matches!(again, Err(TaskError::Exists { name }) if name == "a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_cannot_do_it_says() {
    let store = MemoryStore::new();
    let system = std::sync::Arc::new(store.system());
    let service = Service::new(std::sync::Arc::new(store), system, Limits::default());
    let server = Server::start(service, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let uri = format!("http://{}", server.address());
    let client = Client::connect(&uri, ClientOptions::default()).await.unwrap();

    let refused = client.stats().await.unwrap_err();

    assert_eq!(refused.to_string(), "the server's store is not a directory of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_ends_when_its_caller_goes_and_the_next_can_begin() {
    let world = World::new(Authority::open()).await;
    world.fill(400).await;
    let client = world.client(None).await;

    // The call is dropped with its first message.
    let (sender, told) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let mut watch = move |_| {
        let _told_before = sender.take().map(|sender| sender.send(()));
    };
    tokio::select! {
        _done = client.backup("gone", &mut watch) => {}
        _ = told => {}
    }

    let begin = Instant::now();
    loop {
        match client.backup("kept", &mut unheard()).await {
            Ok(_) => break,
            Err(TaskError::Busy) => assert!(begin.elapsed() < Duration::from_mins(1)),
            Err(other) => panic!("{other:?}"),
        }
        tokio::task::yield_now().await;
    }
    if world.backup("gone").exists() {
        // It was quicker than its end: then it is whole.
        let whole = quipu_engine::verify(&world.backup("gone"), &mut unheard(), &mut |_| {});
        assert_eq!(whole.unwrap().damage_count, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_watched_by_somebody_who_wants_no_more_is_cancelled() {
    let world = World::new(Authority::open()).await;
    world.fill(60).await;
    let mut enough = |_| ControlFlow::Break(());

    let made = world.engine.backup(world.backup("cancelled"), &mut enough);
    let scavenged = world.engine.scavenge(&mut enough);
    let verified = quipu_engine::verify(world.engine.directory(), &mut unheard(), &mut enough);

    assert!(matches!(made, Err(BackupError::Cancelled)));
    assert!(matches!(scavenged, Err(ScavengeError::Cancelled)));
    assert!(matches!(verified, Err(VerifyError::Cancelled)));
    world.engine.scavenge(&mut |_| {}).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_for_operators_and_go_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    let mut credentials = Credentials::default();
    let create = |credentials: &mut Credentials, role: Role| {
        let (_, text) = credentials.create_token(role.as_str(), Some(role), &[], None).unwrap();
        Some(text.reveal().to_owned())
    };
    let operator = create(&mut credentials, Role::Operator);
    let writer = create(&mut credentials, Role::Writer);
    credentials.save(&file).unwrap();
    let world = World::new(Authority::load(&file).unwrap()).await;
    world.fill(3).await;

    let refused = world.client(writer).await.backup("mine", &mut unheard()).await.unwrap_err();
    let TaskError::Storage(cause) = refused else { panic!("{refused:?}") };
    assert!(matches!(cause.downcast_ref(), Some(Refused::Forbidden { .. })));
    world.client(operator).await.backup("ours", &mut unheard()).await.unwrap();

    let audit = ReadStream::new(StreamName::new("$audit").unwrap());
    let events = world.engine.read_stream(audit).await.unwrap().batches;
    let events = quipu_core::collect(events).await.unwrap();
    let begun: Vec<serde_json::Value> = events
        .iter()
        .filter(|event| event.event_type == "TaskBegun")
        .map(|event| serde_json::from_slice(event.data.present().unwrap()).unwrap())
        .collect();
    assert_eq!(begun, [serde_json::json!({ "principal": "operator", "task": "backup" })]);
}
