//! Snapshots: when to keep a model's state, and the task that does so.
//!
//! A snapshot is a cache. It is made of a state that was read, so of events that are durable, and
//! written after the fact by a task that drops what it cannot take; losing one costs a replay.
//!
//! # Layout
//!
//! The data of a snapshot is the revision of an aggregate's last event in 8 bytes, little-endian
//! (all bits set: not an aggregate), and then the state as the model encodes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use event_listener::Event;
use futures_lite::future::block_on;
use quipu_core::{EventStore, Position, Query, Revision, Snapshot};

use crate::command::digest;
use crate::model::SnapshotJob;

/// The most snapshots that are being written at one time; more are dropped.
const WRITES_MAX: usize = 2;
/// The bytes before the state.
const HEADER_SIZE: usize = 8;

/// When to keep a snapshot of a model, and how many. Derives make it of `snapshot(...)`.
///
/// ```
/// use quipu::SnapshotPolicy;
///
/// let policy = SnapshotPolicy::never().every(200).retain(5).version(3);
/// assert_ne!(policy, SnapshotPolicy::never());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    every: Option<u64>,
    slower_than: Option<Duration>,
    retain: usize,
    version: u64,
}

impl SnapshotPolicy {
    /// No snapshots.
    pub const fn never() -> Self {
        Self { every: None, slower_than: None, retain: 1, version: 1 }
    }

    /// One whenever so many events were replayed.
    #[must_use]
    pub const fn every(mut self, count: u64) -> Self {
        self.every = Some(count);
        self
    }

    /// One whenever a replay took longer.
    #[must_use]
    pub const fn when_slower_than(mut self, duration: Duration) -> Self {
        self.slower_than = Some(duration);
        self
    }

    /// How many are kept, 1 by default. More of them serve reads as of an earlier moment.
    #[must_use]
    pub const fn retain(mut self, count: usize) -> Self {
        self.retain = if count == 0 { 1 } else { count };
        self
    }

    /// Which version the state is of. Raise it when the same events come to give another state:
    /// snapshots of other versions are not used.
    #[must_use]
    pub const fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn retained_count(&self) -> usize {
        self.retain
    }

    pub(crate) fn is_never(&self) -> bool {
        self.every.is_none() && self.slower_than.is_none()
    }

    /// Whether a replay of `count` events that took `duration` calls for a snapshot.
    pub(crate) fn is_due(&self, count: u64, duration: Duration) -> bool {
        let by_count = self.every.is_some_and(|every| count >= every);
        let by_duration = self.slower_than.is_some_and(|limit| duration > limit);
        count > 0 && (by_count || by_duration)
    }

    /// The key of a model's snapshots: its name and version, which events it reads, and the life of
    /// the log, since another life may hold other events at the same places.
    pub(crate) fn key(&self, name: &str, query: &Query, store: &dyn EventStore) -> String {
        let life = store.identity().incarnation;
        let query = digest(format!("{query:?}").as_bytes());
        format!("{name}/{}/{life}/{query}", self.version)
    }
}

/// A state that is to be kept.
pub(crate) struct Keep {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) revision: Option<Revision>,
    pub(crate) retain: usize,
    pub(crate) job: SnapshotJob,
}

/// What a snapshot holds.
pub(crate) struct Kept<'a> {
    pub(crate) revision: Option<Revision>,
    pub(crate) state: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Takes the data of a snapshot apart; none where it is too short to be one.
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        let (header, state) = data.split_first_chunk::<HEADER_SIZE>()?;
        let revision = u64::from_le_bytes(*header);
        Some(Self { revision: (revision != u64::MAX).then_some(Revision::new(revision)), state })
    }
}

fn encode(revision: Option<Revision>, state: &[u8]) -> Bytes {
    let mut data = Vec::with_capacity(HEADER_SIZE + state.len());
    data.extend_from_slice(&revision.map_or(u64::MAX, Revision::get).to_le_bytes());
    data.extend_from_slice(state);
    data.into()
}

/// Writes snapshots in the background.
#[derive(Debug, Default)]
pub(crate) struct SnapshotWriter {
    /// How many are being written.
    busy: AtomicUsize,
    /// Told whenever one is done.
    done: Event,
}

impl SnapshotWriter {
    /// Writes a snapshot soon, or not at all if there is too much to do.
    pub(crate) fn submit(self: &Arc<Self>, store: &Arc<dyn EventStore>, keep: Keep) {
        let free = |busy: usize| (busy < WRITES_MAX).then_some(busy + 1);
        if self.busy.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_err() {
            return;
        }
        let guard = Busy(Arc::clone(self));
        let store = Arc::clone(store);
        let write = move || {
            // Whatever fails, the events are there: the next replay is longer, and no more.
            let _kept = block_on(write(&*store, keep));
            drop(guard);
        };
        // A store may need the runtime that its caller has; without one a thread does.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_no_runtime) => drop(std::thread::spawn(write)),
        }
    }

    /// Waits until nothing is being written.
    pub(crate) async fn settle(&self) {
        loop {
            let done = self.done.listen();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            done.await;
        }
    }
}

/// Counts as one write for as long as it is there, also if the write panics.
struct Busy(Arc<SnapshotWriter>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
        self.0.done.notify(usize::MAX);
    }
}

async fn write(store: &dyn EventStore, keep: Keep) -> Option<()> {
    let state = (keep.job)()?;
    let snapshot = Snapshot { position: keep.position, data: encode(keep.revision, &state) };
    store.snapshots().put(&keep.key, snapshot).await.ok()?;
    store.snapshots().prune(&keep.key, keep.retain).await.ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_by_count_or_by_duration() {
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(30));
        let by_count = SnapshotPolicy::never().every(10);
        let by_duration = SnapshotPolicy::never().when_slower_than(Duration::from_millis(20));

        assert!(!SnapshotPolicy::never().is_due(1_000, long));
        assert!(by_count.is_due(10, short) && !by_count.is_due(9, long));
        assert!(by_duration.is_due(1, long) && !by_duration.is_due(1_000, short));
        assert!(!by_duration.is_due(0, long), "there is nothing new to keep");
    }

    #[test]
    fn the_data_of_a_snapshot_comes_apart_as_it_was_put_together() {
        for revision in [None, Some(Revision::FIRST), Some(Revision::new(1 << 40))] {
            let data = encode(revision, b"state");

            let kept = Kept::parse(&data).unwrap();

            assert_eq!((kept.revision, kept.state), (revision, &b"state"[..]));
        }
        assert!(Kept::parse(b"1234567").is_none());
    }

    /// A task that has enough to do drops what more comes, and takes some again later.
    #[test]
    fn a_busy_writer_drops_snapshots() {
        let store: Arc<dyn EventStore> = Arc::new(quipu_core::MemoryStore::new());
        let writer = Arc::new(SnapshotWriter::default());
        let keep = |key: &str, job: SnapshotJob| Keep {
            key: key.to_owned(),
            position: Position::FIRST,
            revision: None,
            retain: 1,
            job,
        };
        let gate = Arc::new(std::sync::Barrier::new(WRITES_MAX + 1));
        for index in 0..WRITES_MAX {
            let gate = Arc::clone(&gate);
            let job = Box::new(move || {
                gate.wait();
                Some(Vec::new())
            });
            writer.submit(&store, keep(&format!("busy {index}"), job));
        }

        writer.submit(&store, keep("dropped", Box::new(|| Some(Vec::new()))));
        gate.wait();
        block_on(writer.settle());
        writer.submit(&store, keep("later", Box::new(|| Some(Vec::new()))));
        block_on(writer.settle());

        let is_kept = |key| block_on(store.snapshots().get(key, Position::MAX)).unwrap().is_some();
        assert!(is_kept("busy 0") && is_kept("busy 1") && is_kept("later"));
        assert!(!is_kept("dropped"));
    }
}
