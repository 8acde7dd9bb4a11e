//! Small stores on a simulated disk, for tests of what is done to whole stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_lite::future::block_on;
use quipu_core::{
    Append, Direction, EventId, EventStore, ExpectedRevision, IndexRead, ListStreams, NewEvent,
    Query, ReadAll, ReadIndex, ReadStream, RecordedEvent, StreamName, StreamState, Term, collect,
};
use quipu_engine::io::sim::SimDisk;
use quipu_engine::{Damage, Engine, OpenError, OpenOptions, Verified, VerifyError, verify_with};

pub(crate) const ROOT: &str = "/store";

pub(crate) fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// An event whose id follows from its number, so that a retry is one.
pub(crate) fn event(number: u32, size: usize) -> NewEvent {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    NewEvent::json("OrderPlaced", format!("{{\"n\":\"{}\"}}", "x".repeat(size)))
        .unwrap()
        .with_tag(&format!("order:{}", number % 5))
        .unwrap()
        .with_id(EventId::from_bytes(id))
}

pub(crate) fn open(disk: &SimDisk) -> Result<Engine, OpenError> {
    OpenOptions::new()
        .create(true)
        .segment_size(16 << 10)
        .run_count(16)
        .inline(true)
        .io(Arc::new(disk.clone()))
        .open(ROOT)
}

pub(crate) fn append(engine: &Engine, name: &str, number: u32, size: usize) {
    let append = Append::to_stream(stream(name), ExpectedRevision::Any, [event(number, size)]);
    block_on(engine.append(append)).unwrap();
}

pub(crate) fn set_metadata(engine: &Engine, name: &str, json: &'static str) {
    let set = engine.set_metadata(stream(name), ExpectedRevision::Any, json.into());
    block_on(set).unwrap();
}

pub(crate) fn read_log(engine: &Engine, query: &str) -> Vec<RecordedEvent> {
    let query = if query.is_empty() { Query::all() } else { query.parse().unwrap() };
    block_on(async {
        collect(engine.read_all(ReadAll::new(query)).await.unwrap().batches).await.unwrap()
    })
}

/// What opening the store and reading all of it in every way answers; `None` where it says that
/// something is damaged.
pub(crate) fn try_read(disk: &SimDisk) -> Option<Vec<Vec<RecordedEvent>>> {
    let engine = open(disk).ok()?;
    let reads = [
        ReadAll::new(Query::all()),
        ReadAll::new(Query::all()).backward(),
        ReadAll::new("tag:order:3".parse().unwrap()),
        ReadAll::new("type:OrderPlaced".parse().unwrap()),
    ];
    block_on(async {
        let mut answers = Vec::new();
        for read in reads {
            answers.push(collect(engine.read_all(read).await.ok()?.batches).await.ok()?);
        }
        for name in names_of(&engine)? {
            let read = engine.read_stream(ReadStream::new(name)).await.ok()?;
            answers.push(collect(read.batches).await.ok()?);
        }
        Some(answers)
    })
}

fn names_of(engine: &Engine) -> Option<Vec<StreamName>> {
    let list = ListStreams { limit: 1_000, ..ListStreams::default() };
    block_on(engine.list_streams(list)).ok()
}

pub(crate) fn list(engine: &Engine) -> Vec<String> {
    names_of(engine).unwrap().into_iter().map(|name| name.as_str().to_owned()).collect()
}

pub(crate) fn read_stream(engine: &Engine, name: &str) -> (StreamState, Vec<RecordedEvent>) {
    block_on(async {
        let read = engine.read_stream(ReadStream::new(stream(name))).await.unwrap();
        (read.state, collect(read.batches).await.unwrap())
    })
}

pub(crate) fn read_type(engine: &Engine, name: &str) -> IndexRead {
    let term = Term::Type(quipu_core::EventType::new(name).unwrap());
    let read = ReadIndex { term, from: None, direction: Direction::Forward, limit: 1_000 };
    block_on(engine.read_index(read)).unwrap()
}

/// Verifies the store of a disk: the answer, and all damage.
pub(crate) fn verify(disk: &SimDisk) -> (Verified, Vec<Damage>) {
    try_verify(disk).unwrap()
}

pub(crate) fn try_verify(disk: &SimDisk) -> Result<(Verified, Vec<Damage>), VerifyError> {
    let mut damage = Vec::new();
    let io = Arc::new(disk.clone());
    let verified = verify_with(io, Path::new(ROOT), &mut |found| damage.push(found), &mut |_| {})?;
    assert_eq!(verified.damage_count, damage.len() as u64);
    Ok((verified, damage))
}

/// The files of the store whose path has this part.
pub(crate) fn files(disk: &SimDisk, part: &str) -> Vec<PathBuf> {
    let all = disk.files().into_iter();
    all.filter(|path| path.starts_with(ROOT) && path.to_string_lossy().contains(part)).collect()
}
