//! What writer, readers and maintenance share.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use quipu_core::{LogId, Revision};

use crate::activity::Tallies;
use crate::error::DiskError;
use crate::follower::Follower;
use crate::format::manifest::Floor;
use crate::format::record::Record;
use crate::index::{IdKey, Index, Key, KeyHasher, Reader};
use crate::io::{File, Io};
use crate::layout::Layout;
use crate::manifest::ManifestFile;
use crate::segment::{Segment, Segments};
use crate::walk::Place;
use crate::watermark::Watermark;

/// A store that is open.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) io: Arc<dyn Io>,
    pub(crate) layout: Layout,
    pub(crate) id: LogId,
    pub(crate) hasher: KeyHasher,
    pub(crate) index: Index,
    pub(crate) watermark: Watermark,
    pub(crate) health: Health,
    /// What the writer counts as it goes.
    pub(crate) tallies: Tallies,
    /// Where the writer is: all before is durable. `None` until there is a segment to write to.
    /// Held only to copy or to replace it.
    tip: Mutex<Option<(Arc<Segment>, Place)>>,
    /// Guards the manifest's files. Taken before `segments`, never while holding it.
    manifest: Mutex<ManifestFile>,
    /// Guards the names in the segments' directory that are not the writer's: tables, and segments
    /// that take the place of others. Taken before `manifest`; the writer never waits for it.
    segment_files: Mutex<()>,
    /// Held by the one who scavenges.
    pub(crate) scavenging: Mutex<()>,
    /// Held by the one who puts runs of the index in the place of others.
    pub(crate) replacing_runs: Mutex<()>,
    /// The segments that have durable events. Held only to copy or replace the list.
    segments: RwLock<Segments>,
    /// The file that tells other processes how far the log is durable.
    pub(crate) watermark_file: Option<Arc<dyn File>>,
    /// Where the store is open for reading only: what keeps up with the writer.
    pub(crate) follower: Option<Follower>,
}

impl Log {
    pub(crate) fn new(
        io: Arc<dyn Io>,
        layout: Layout,
        manifest: ManifestFile,
        index: Index,
        segments: Segments,
        watermark_file: Option<Arc<dyn File>>,
    ) -> Self {
        let hasher = KeyHasher::new(manifest.get().hash_seed);
        Self {
            io,
            layout,
            id: manifest.get().log,
            hasher,
            index,
            watermark: Watermark::default(),
            health: Health::default(),
            tallies: Tallies::default(),
            tip: Mutex::default(),
            manifest: Mutex::new(manifest),
            segment_files: Mutex::new(()),
            scavenging: Mutex::new(()),
            replacing_runs: Mutex::new(()),
            segments: RwLock::new(segments),
            watermark_file,
            follower: None,
        }
    }

    /// How far readers see now. In a store that is open for reading only, what the writer made
    /// durable before this call is part of it.
    pub(crate) fn frontier(&self) -> u64 {
        if let Some(follower) = &self.follower {
            // What cannot be followed is not shown; what was shown before is still whole.
            let _stays_behind = follower.follow(self);
        }
        self.watermark.get()
    }

    /// A reader of the index up to a position that is durable.
    ///
    /// The writer answers before it indexes, since whoever is answered has other things to do
    /// first. Who is quicker waits here, for less than a sync takes.
    pub(crate) fn index_reader(&self, upto: u64) -> Reader {
        let mut looked = 0_u32;
        while self.index.next_position() <= upto {
            assert!(!self.health.has_failed(), "a writer that answers goes on to index");
            looked += 1;
            if looked.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        self.index.reader(upto)
    }

    /// Stops the store for good: no more changes, and whoever waits for some is told so.
    pub(crate) fn fail(&self) {
        self.health.fail();
        self.watermark.close();
    }

    /// The segments as they are now.
    pub(crate) fn segments(&self) -> Segments {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a segment, or puts it in place of the one with its number.
    pub(crate) fn install_segment(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        *segments = segments.with(segment);
    }

    /// Says where the writer is now. All before is durable.
    pub(crate) fn set_tip(&self, segment: &Arc<Segment>, place: Place) {
        let tip = Some((Arc::clone(segment), place));
        *self.tip.lock().unwrap_or_else(PoisonError::into_inner) = tip;
    }

    /// How far the log is whole now, for the manifest; nothing where nobody has written.
    pub(crate) fn floor(&self) -> Option<Floor> {
        let tip = self.tip.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tip.map(|(segment, place)| segment.floor(&self.layout, &place))
    }

    /// Writes down how far the log is whole, so that damage is told from a torn batch, and so that
    /// opening need not look at what is before.
    pub(crate) fn write_floor(&self) -> Result<(), DiskError> {
        let Some(floor) = self.floor().filter(|_| !self.health.has_failed()) else { return Ok(()) };
        let mut manifest = self.manifest();
        if floor <= manifest.get().floor {
            return Ok(());
        }
        manifest.change(|manifest| manifest.raise_floor(floor))
    }

    pub(crate) fn manifest(&self) -> MutexGuard<'_, ManifestFile> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from putting files in place of a segment's, or beside it.
    pub(crate) fn segment_files(&self) -> MutexGuard<'_, ()> {
        self.segment_files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what [`segment_files`](Self::segment_files) does, unless somebody else does so.
    pub(crate) fn try_segment_files(&self) -> Option<MutexGuard<'_, ()>> {
        match self.segment_files.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Looks at the record of a durable position.
    pub(crate) fn with_record<T>(
        &self,
        position: u64,
        look: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, DiskError> {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .with_record(position, look)
    }
}

/// Adds the keys that an event is indexed under, and answers that of its id.
pub(crate) fn keys_of(hasher: KeyHasher, record: &Record<'_>, keys: &mut Vec<Key>) -> IdKey {
    if record.is_stub() {
        return crate::format::commitment::Stub::decode(record).map_or(IdKey::new(0), |stub| {
            keys.extend(stub.keys.into_iter().map(Key::new));
            IdKey::new(stub.id_key)
        });
    }
    let stream = record.stream();
    hasher.event_keys(
        keys,
        stream,
        Revision::new(record.revision()),
        record.event_type(),
        record.tags(),
    );
    hasher.id(stream, record.id())
}

/// Whether the store still takes changes.
#[derive(Debug, Default)]
pub(crate) struct Health(AtomicU8);

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const FAILED: u8 = 2;

impl Health {
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == OPEN
    }

    /// Whether a write or a sync failed. Only reopening, which reads what the disk has, helps.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.load(Ordering::Acquire) == FAILED
    }

    pub(crate) fn fail(&self) {
        self.0.store(FAILED, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        // A store that failed stays failed.
        let _was = self.0.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
    }
}
