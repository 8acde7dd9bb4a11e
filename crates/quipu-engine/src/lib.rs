//! The embedded event store: a stand-in that keeps everything in memory and in one plain file.

#![allow(missing_docs, clippy::pedantic, clippy::allow_attributes, clippy::allow_attributes_without_reason, missing_debug_implementations, clippy::unwrap_used, dead_code)]

use std::fs::{File, OpenOptions as FileOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quipu_core::decide::{self, Decision, LogState, StreamFacts};
use quipu_core::*;

pub struct OpenOptions { create: bool, read_only: bool, name: String, rights: Rights }
impl OpenOptions {
    pub fn new() -> Self { Self { create: false, read_only: false, name: String::new(), rights: Rights::Application } }
    pub fn create(mut self, yes: bool) -> Self { self.create = yes; self }
    pub fn read_only(mut self, yes: bool) -> Self { self.read_only = yes; self }
    pub fn segment_size(self, _: u64) -> Self { self }
    pub fn name(mut self, name: &str) -> Self { self.name = name.into(); self }
    pub fn rights(mut self, rights: Rights) -> Self { self.rights = rights; self }
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Engine, OpenError> { Engine::open(dir.as_ref(), self) }
}

#[derive(Debug, thiserror::Error)]
#[error("{} is damaged at offset {offset}: {reason}", file.display())]
pub struct Corrupt { pub file: PathBuf, pub offset: u64, pub reason: String }

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    #[error(transparent)] Corrupt(#[from] Corrupt),
    #[error("could not {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: std::io::Error },
}
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("there is no directory {}", directory.display())] Missing { directory: PathBuf },
    #[error("{} is not a store", directory.display())] NotAStore { directory: PathBuf },
    #[error("{} is open for writing already, by {holder}", directory.display())] InUse { directory: PathBuf, holder: String },
    #[error("{} has format {found}, this version knows {known} and earlier", directory.display())] NewerFormat { directory: PathBuf, found: u32, known: u32 },
    #[error("the store could not be opened")] Disk(#[from] DiskError),
}
#[derive(Debug, thiserror::Error)] #[error("stub")] pub struct CloseError;
#[derive(Debug, thiserror::Error)] #[error("stub")] pub struct ScavengeError;
#[derive(Debug, thiserror::Error)] #[error("{0}")] pub struct BackupError(String);
#[derive(Debug, thiserror::Error)] #[error("{0}")] pub struct RestoreError(String);
#[derive(Debug, thiserror::Error)] #[non_exhaustive] pub enum VerifyError { #[error(transparent)] Open(#[from] OpenError) }
#[derive(Clone, Copy, Debug)] pub struct Progress { pub done: u64, pub total: u64, pub unit: &'static str }
#[derive(Debug)] pub struct Damage { pub file: PathBuf, pub offset: u64, pub reason: String }
impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{} at {}: {}", self.file.display(), self.offset, self.reason) }
}
#[derive(Debug, Default)] pub struct Verified { pub event_count: u64 }
#[derive(Debug, Default)] pub struct Scavenged { pub event_count: u64 }
#[derive(Debug, Default)] pub struct BackedUp { pub event_count: u64 }
#[derive(Debug, Default)] pub struct Restored { pub event_count: u64 }
#[derive(Debug, Default)] pub struct Rebuilt { pub event_count: u64 }
#[derive(Debug, Default)] pub struct Recovery { pub event_count: u64 }
#[derive(Debug, Default)] pub struct Stats { pub event_count: u64, pub stream_count: u64, pub last: Position, pub segment_count: u64, pub log_size: u64, pub index_size: u64, pub spare_size: u64, pub run_count: u64 }

struct Inner { events: Vec<RecordedEvent>, by_stream: std::collections::HashMap<StreamName, Vec<usize>>, ids: std::collections::HashMap<(StreamName, EventId), usize>, file: File, offset: u64 }
impl Inner {
    fn add(&mut self, r: RecordedEvent) { let i = self.events.len(); self.by_stream.entry(r.stream.clone()).or_default().push(i); self.ids.insert((r.stream.clone(), r.id), i); self.events.push(r); }
    fn of(&self, s: &StreamName) -> impl DoubleEndedIterator<Item = &RecordedEvent> { self.by_stream.get(s).map_or(&[][..], |v| v).iter().map(|i| &self.events[*i]) }
}
#[derive(Clone)] pub struct Engine { inner: Arc<Mutex<Inner>>, rights: Rights, read_only: bool, _lock: Option<Arc<File>>, recovery: Arc<Recovery>, path: PathBuf }

const FILE: &str = "stub.log";
fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DiskError { let path = path.to_owned(); move |source| DiskError::Io { operation, path, source } }

impl Engine {
    fn open(dir: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let path = dir.join(FILE);
        match std::fs::read_dir(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if !options.create { return Err(OpenError::Missing { directory: dir.into() }); }
                std::fs::create_dir_all(dir).map_err(io_error("create", dir))?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Err(OpenError::NotAStore { directory: dir.into() }),
            Err(e) => return Err(io_error("list", dir)(e).into()),
            Ok(mut list) => if !path.exists() && (!options.create || list.next().is_some()) { return Err(OpenError::NotAStore { directory: dir.into() }); }
        }
        let lock = if options.read_only { None } else {
            let lock = FileOptions::new().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(io_error("open", dir))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { directory: dir.into(), holder: "another process".into() }),
                Err(TryLockError::Error(e)) => return Err(io_error("lock", dir)(e).into()),
            }
            Some(Arc::new(lock))
        };
        let file = FileOptions::new().read(true).append(!options.read_only).create(options.create).open(&path).map_err(io_error("open", &path))?;
        let mut inner = Inner { events: vec![], by_stream: Default::default(), ids: Default::default(), file, offset: 0 };
        inner.refresh();
        Ok(Self { recovery: Arc::new(Recovery { event_count: inner.events.len() as u64 }), inner: Arc::new(Mutex::new(inner)), rights: options.rights, read_only: options.read_only, _lock: lock, path })
    }
    pub fn with_rights(&self, rights: Rights) -> Self { Self { rights, ..self.clone() } }
    pub fn recovery(&self) -> &Recovery { &self.recovery }
    pub fn stats(&self) -> Result<Stats, StorageError> {
        let inner = self.look();
        let streams: std::collections::HashSet<_> = inner.events.iter().map(|e| e.stream.clone()).collect();
        Ok(Stats { event_count: inner.events.len() as u64, stream_count: streams.len() as u64, last: Position::new(inner.events.len() as u64), segment_count: 1, log_size: inner.offset, ..Stats::default() })
    }
    pub fn close(&self) -> Result<(), CloseError> { Ok(()) }
    pub fn scavenge(&self, _: &mut dyn FnMut(Progress)) -> Result<Scavenged, ScavengeError> { Ok(Scavenged::default()) }
    pub fn backup(&self, dest: &Path, _: &mut dyn FnMut(Progress)) -> Result<BackedUp, BackupError> {
        if dest.exists() { return Err(BackupError(format!("{} exists", dest.display()))); }
        std::fs::create_dir(dest).unwrap();
        std::fs::copy(&self.path, dest.join(FILE)).unwrap();
        Ok(BackedUp { event_count: self.look().events.len() as u64 })
    }
    fn look(&self) -> std::sync::MutexGuard<'_, Inner> { let mut inner = self.inner.lock().unwrap(); if self.read_only { inner.refresh(); } inner }
    fn do_change(&self, change: Change) -> Result<Appended, AppendError> {
        if self.read_only { return Err(AppendError::ReadOnly); }
        let now = Timestamp::now();
        decide::validate(&change, self.rights, now).map_err(AppendError::Invalid)?;
        let mut inner = self.inner.lock().unwrap();
        let plan = match decide::decide(&mut *inner, change).unwrap() {
            Decision::Answer(a) => return Ok(a), Decision::Refuse(e) => return Err(e), Decision::Write(p) => p,
        };
        let mut next: Vec<Revision> = plan.streams.iter().map(|s| s.1).collect();
        let mut appended = Appended::default();
        let mut out = vec![];
        for (i, (s, e)) in plan.events.into_iter().enumerate() {
            let last = inner.events.last().map_or(Timestamp::from_micros(i64::MIN), |e| e.recorded_at);
            let mut at = e.recorded_at.unwrap_or(now);
            if at < last { if e.recorded_at.is_some() { appended.clamped_count += 1; } at = last; }
            let r = RecordedEvent { id: e.id, stream: plan.streams[s].0.clone(), event_type: e.event_type, tags: e.tags, content_type: e.content_type, data: EventData::Present(e.data), metadata: e.metadata, recorded_at: at, position: Position::new(inner.events.len() as u64 + 1), revision: next[s] };
            next[s] = next[s].next();
            if plan.own.contains(&i) {
                appended.first.get_or_insert(r.position);
                appended.last = Some(r.position);
                match appended.streams.iter_mut().find(|a| a.stream == r.stream) {
                    Some(a) => { a.position = r.position; a.revision = r.revision; }
                    None => appended.streams.push(AppendedStream { stream: r.stream.clone(), position: r.position, revision: r.revision }),
                }
            }
            encode(&mut out, &r);
            inner.add(r);
        }
        inner.file.write_all(&out).unwrap();
        inner.offset += out.len() as u64;
        Ok(appended)
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) { out.extend((bytes.len() as u32).to_le_bytes()); out.extend(bytes); }
fn encode(out: &mut Vec<u8>, e: &RecordedEvent) {
    let mut b = vec![];
    b.extend(e.id.as_bytes()); b.extend(e.recorded_at.as_micros().to_le_bytes()); b.extend(e.revision.get().to_le_bytes());
    put(&mut b, e.stream.as_str().as_bytes()); put(&mut b, e.event_type.as_str().as_bytes()); put(&mut b, e.content_type.as_str().as_bytes());
    put(&mut b, e.data.present().unwrap()); put(&mut b, &e.metadata);
    for t in &e.tags { put(&mut b, t.as_str().as_bytes()); }
    put(out, &b);
}
fn take<'a>(b: &mut &'a [u8], n: usize) -> &'a [u8] { let (x, r) = b.split_at(n); *b = r; x }
fn part<'a>(b: &mut &'a [u8]) -> &'a [u8] { let n = u32::from_le_bytes(take(b, 4).try_into().unwrap()); take(b, n as usize) }
fn text(b: &[u8]) -> &str { std::str::from_utf8(b).unwrap() }
impl Inner {
    fn refresh(&mut self) {
        let mut bytes = vec![];
        self.file.seek(SeekFrom::Start(self.offset)).unwrap();
        self.file.read_to_end(&mut bytes).unwrap();
        let mut rest = &bytes[..];
        while rest.len() >= 4 {
            let n = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            if rest.len() < 4 + n { break; }
            let mut b = &rest[4..4 + n];
            rest = &rest[4 + n..];
            self.offset += 4 + n as u64;
            let id = EventId::from_bytes(take(&mut b, 16).try_into().unwrap());
            let recorded_at = Timestamp::from_micros(i64::from_le_bytes(take(&mut b, 8).try_into().unwrap()));
            let revision = Revision::new(u64::from_le_bytes(take(&mut b, 8).try_into().unwrap()));
            let stream = StreamName::new(text(part(&mut b))).unwrap();
            let event_type = EventType::new(text(part(&mut b))).unwrap();
            let content_type = ContentType::new(text(part(&mut b))).unwrap();
            let data = EventData::Present(Bytes::copy_from_slice(part(&mut b)));
            let metadata = Bytes::copy_from_slice(part(&mut b));
            let mut tags = Tags::EMPTY;
            while !b.is_empty() { tags.insert(Tag::new(text(part(&mut b))).unwrap()); }
            let position = Position::new(self.events.len() as u64 + 1);
            self.add(RecordedEvent { id, stream, event_type, tags, content_type, data, metadata, recorded_at, position, revision });
        }
    }
    fn facts(&self, stream: &StreamName) -> StreamFacts {
        let last = self.of(stream).next_back();
        let m = stream.metadata_stream();
        let metadata = self.of(&m).rev().find(|e| e.event_type == METADATA_TYPE).map(|e| StreamMetadata::parse(e.data.present().unwrap()));
        StreamFacts { last: last.map(|e| e.revision), tombstoned: last.is_some_and(|e| e.event_type == TOMBSTONE_TYPE), metadata }
    }
    fn shown(&self, stream: &StreamName, upto: usize) -> (StreamState, Vec<&RecordedEvent>) {
        let facts = self.facts(stream);
        let state = facts.state();
        let (StreamState::Live { last }, ret) = (state, facts.metadata.clone().unwrap_or_default()) else { return (state, vec![]) };
        let ret = if stream.is_metadata() { Retention::of_metadata_stream(last) } else { Retention::new(&ret, last, Timestamp::now()) };
        (state, self.of(stream).filter(|e| e.position.get() as usize <= upto && ret.shows(e.revision, e.recorded_at)).collect())
    }
    fn upto(&self, as_of: Option<AsOf>) -> Result<usize, ReadError> {
        let frontier = Position::new(self.events.len() as u64);
        match as_of {
            None => Ok(self.events.len()),
            Some(AsOf::Position(p)) if p > frontier => Err(ReadError::AsOfInFuture { frontier }),
            Some(AsOf::Position(p)) => Ok(p.get() as usize),
            Some(AsOf::Time(t)) if t > Timestamp::now() => Err(ReadError::AsOfInFuture { frontier }),
            Some(AsOf::Time(t)) => Ok(self.events.partition_point(|e| e.recorded_at <= t)),
        }
    }
}
impl LogState for Inner {
    type Error = std::convert::Infallible;
    fn frontier(&self) -> Position { Position::new(self.events.len() as u64) }
    fn stream(&mut self, s: &StreamName) -> Result<StreamFacts, Self::Error> { Ok(self.facts(s)) }
    fn id_at(&mut self, s: &StreamName, r: Revision) -> Result<Option<(EventId, Position)>, Self::Error> { Ok(self.of(s).find(|e| e.revision == r).map(|e| (e.id, e.position))) }
    fn find_id(&mut self, s: &StreamName, id: EventId) -> Result<Option<(Position, Revision)>, Self::Error> { Ok(self.ids.get(&(s.clone(), id)).map(|i| &self.events[*i]).map(|e| (e.position, e.revision))) }
    fn first_match(&mut self, q: &Query, after: Position) -> Result<Option<Position>, Self::Error> { Ok(self.events.iter().find(|e| e.position > after && q.matches_recorded(e)).map(|e| e.position)) }
}
struct List(std::vec::IntoIter<RecordedEvent>);
impl Batches for List {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        let v: Vec<_> = self.0.by_ref().take(256).collect();
        Box::pin(async move { Ok((!v.is_empty()).then(|| v.iter().collect())) })
    }
}
fn ordered(mut v: Vec<RecordedEvent>, d: Direction, limit: Option<u64>) -> Box<dyn Batches> {
    if d == Direction::Backward { v.reverse(); }
    v.truncate(limit.map_or(usize::MAX, |l| l as usize));
    Box::new(List(v.into_iter()))
}
struct Sub { engine: Engine, what: Subscribe, place: usize, caught_up: bool }
impl Subscription for Sub {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(async move {
            loop {
                {
                    let inner = self.engine.look();
                    let end = inner.events.len().min(self.place + 256);
                    let batch: EventBatch = inner.events[self.place..end].iter().filter(|e| match &self.what {
                        Subscribe::Stream { stream, from } => e.stream == *stream && match from { SubscribeFrom::After(r) => e.revision > *r, _ => true },
                        Subscribe::All { query, .. } => query.matches_recorded(e),
                    }).collect();
                    self.place = end;
                    if !batch.is_empty() { return Ok(Delivery::Events(batch)); }
                    if end == inner.events.len() && !self.caught_up { self.caught_up = true; return Ok(Delivery::CaughtUp); }
                    if end != inner.events.len() { continue; }
                }
                let event = Arc::new(event_listener::Event::new());
                let listener = event.listen();
                std::thread::spawn(move || { std::thread::sleep(Duration::from_millis(10)); event.notify(1); });
                listener.await;
            }
        })
    }
}
impl EventStore for Engine {
    fn identity(&self) -> LogIdentity { LogIdentity { log: LogId::from_uuid(uuid::Uuid::nil()), incarnation: Incarnation::FIRST, name: "stub".into() } }
    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> { Box::pin(async move { self.do_change(change) }) }
    fn read_stream(&self, r: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(async move {
            let inner = self.look();
            let upto = inner.upto(r.as_of)?;
            let (state, events) = inner.shown(&r.stream, upto);
            let v = events.into_iter().filter(|e| r.from.is_none_or(|f| if r.direction == Direction::Forward { e.revision >= f } else { e.revision <= f })).cloned().collect();
            Ok(StreamRead { state, batches: ordered(v, r.direction, r.limit) })
        })
    }
    fn read_all(&self, r: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(async move {
            let inner = self.look();
            let upto = inner.upto(r.as_of)?;
            let v = inner.events[..upto].iter().filter(|e| r.query.matches_recorded(e) && r.from.is_none_or(|f| if r.direction == Direction::Forward { e.position >= f } else { e.position <= f })).cloned().collect();
            Ok(LogRead { frontier: Position::new(upto as u64), batches: ordered(v, r.direction, r.limit) })
        })
    }
    fn read_index(&self, _: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> { Box::pin(async { Err(ReadError::Closed) }) }
    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> { Box::pin(async { Ok(Position::new(self.look().events.len() as u64)) }) }
    fn position_at(&self, t: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> { Box::pin(async move { Ok(Position::new(self.look().upto(Some(AsOf::Time(t)))? as u64)) }) }
    fn wait_visible(&self, _: Position) -> BoxFuture<'_, Result<(), ReadError>> { Box::pin(async { Ok(()) }) }
    fn list_streams(&self, l: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(async move {
            let mut v: Vec<_> = self.look().events.iter().filter(|e| e.revision == Revision::FIRST && e.stream.as_str().starts_with(&l.prefix) && l.after.as_ref().is_none_or(|a| e.stream > *a) && l.category.as_ref().is_none_or(|c| e.stream.category() == c)).map(|e| e.stream.clone()).collect();
            v.sort();
            v.truncate(l.limit);
            Ok(v)
        })
    }
    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        Box::pin(async move {
            let inner = self.look();
            let (state, events) = inner.shown(&stream, inner.events.len());
            let facts = inner.facts(&stream);
            let metadata_revision = inner.facts(&stream.metadata_stream()).last;
            Ok(StreamInfo { state, first: events.first().map(|e| e.revision), metadata: facts.metadata.unwrap_or_default(), metadata_revision, count: events.len() as u64, size: events.iter().map(|e| (e.data.present().unwrap().len() + e.metadata.len()) as u64).sum(), stream: stream.clone() })
        })
    }
    fn subscribe(&self, subscribe: Subscribe) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let end = self.look().events.len();
            let place = match &subscribe {
                Subscribe::Stream { from: SubscribeFrom::End, .. } | Subscribe::All { from: SubscribeFrom::End, .. } => end,
                Subscribe::All { from: SubscribeFrom::After(p), .. } if p.get() as usize > end => return Err(SubscribeError::BeyondEnd { after: *p, frontier: Position::new(end as u64) }),
                Subscribe::All { from: SubscribeFrom::After(p), .. } => p.get() as usize,
                _ => 0,
            };
            Ok(Box::new(Sub { engine: self.clone(), what: subscribe, place, caught_up: false }) as Box<dyn Subscription>)
        })
    }
    fn snapshots(&self) -> &dyn Snapshots { panic!("stand-in") }
    fn checkpoints(&self) -> &dyn Checkpoints { panic!("stand-in") }
    fn leases(&self) -> &dyn Leases { panic!("stand-in") }
    fn registry(&self) -> &dyn Registry { panic!("stand-in") }
}

pub fn restore(source: &Path, dest: &Path, _: &mut dyn FnMut(Progress)) -> Result<Restored, RestoreError> {
    if !source.join(FILE).exists() { return Err(RestoreError(format!("{} is not a backup", source.display()))); }
    if dest.exists() { return Err(RestoreError(format!("{} exists", dest.display()))); }
    std::fs::create_dir(dest).unwrap();
    std::fs::copy(source.join(FILE), dest.join(FILE)).unwrap();
    Ok(Restored::default())
}
pub fn verify(dir: &Path, _: &mut dyn FnMut(Damage), _: &mut dyn FnMut(Progress)) -> Result<Verified, VerifyError> {
    let e = OpenOptions::new().read_only(true).open(dir)?;
    Ok(Verified { event_count: e.recovery.event_count })
}
pub fn rebuild_index(dir: &Path, _: &mut dyn FnMut(Progress)) -> Result<Rebuilt, OpenError> {
    let e = OpenOptions::new().open(dir)?;
    Ok(Rebuilt { event_count: e.recovery.event_count })
}
