//! Opening a store: from a directory to a log with its writer.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{Lives, LogId, LogIdentity, Position, StreamName};
use uuid::Uuid;

use crate::beside::{self, Beside, BesideOptions};
use crate::engine::Recovery;
use crate::error::DiskError;
use crate::follower::Follower;
use crate::format::FORMAT_VERSION;
use crate::format::manifest::{Floor, Manifest};
use crate::index::{Entries, Index, Key, Origin, Run, RunHeader};
use crate::io::{Io, Lock};
use crate::layout::Layout;
use crate::log::{Log, keys_of};
use crate::maintenance::seal_with;
use crate::manifest::{self, ManifestFile};
use crate::options::{OpenError, OpenOptions, SEGMENT_SIZE_MAX};
use crate::progress::Progress;
use crate::recovery::{self, Access};
use crate::segment::{Segment, create_or_open};
use crate::space::Space;
use crate::watermark::Touched;
use crate::writer::{Tip, Writer};

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) log: Arc<Log>,
    pub(crate) identity: LogIdentity,
    pub(crate) recovery: Recovery,
    /// `None` where the store is open for reading only.
    pub(crate) writer: Option<Writer>,
    pub(crate) space: Arc<Space>,
    pub(crate) beside: Beside,
    pub(crate) lock: Option<Box<dyn Lock>>,
}

/// What to do with the index that is there.
pub(crate) enum Indexing<'a> {
    /// Use it; a run that is not there fails the opening: a writer may have merged it into another.
    Strict,
    /// Use it, as far as it is whole.
    Kept,
    /// Make all of it again, and tell how far that is.
    Anew(&'a mut dyn FnMut(Progress)),
}

/// How often opening for reading is tried while a writer changes the files.
const READ_TRIES: u32 = 8;
/// How long to wait before the first of those tries is repeated; twice as long for each after it.
const READ_PATIENCE: Duration = Duration::from_millis(2);

/// Opens the store in a directory.
pub(crate) fn open(directory: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    if !options.read_only || options.inline {
        return open_as(directory, options, Indexing::Kept);
    }
    // A writer may be making the store, beginning a segment or replacing runs at this moment. What
    // looks wrong then looks right a little later, from a fresh manifest.
    for attempt in 0..READ_TRIES - 1 {
        match open_as(directory, options, Indexing::Strict) {
            Err(error) if may_pass(&options.io, directory, &error) => {
                std::thread::park_timeout(READ_PATIENCE * 2_u32.pow(attempt));
            }
            done => return done,
        }
    }
    open_as(directory, options, Indexing::Kept)
}

/// Whether an error may be the work of a writer that is busy at this moment.
fn may_pass(io: &Arc<dyn Io>, directory: &Path, error: &OpenError) -> bool {
    match error {
        OpenError::Disk(DiskError::Corrupt(_)) => true,
        OpenError::Disk(DiskError::Io { source, .. }) => {
            matches!(source.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
        }
        // A store in the making has a lock file before it has a manifest.
        OpenError::NotAStore { .. } => io
            .list(directory)
            .is_ok_and(|names| !names.is_empty() && names.iter().all(|name| is_own_name(name))),
        OpenError::Missing { .. } | OpenError::InUse { .. } | OpenError::NewerFormat { .. } => {
            false
        }
    }
}

/// Opens the store in a directory, and does with its index what is asked.
pub(crate) fn open_as(
    directory: &Path,
    options: &OpenOptions,
    indexing: Indexing<'_>,
) -> Result<Opened, OpenError> {
    let io = Arc::clone(&options.io);
    let layout = Layout::new(directory);
    let access = if options.read_only { Access::Read } else { Access::Write };
    let names = list_root(&io, directory, options)?;
    let is_store = names.iter().any(|name| name.starts_with("manifest-"));
    // Only what a creation that a crash cut off leaves behind may be there.
    let is_fresh = names.iter().all(|name| is_own_name(name));
    let may_create = options.create && access == Access::Write && is_fresh;
    if !(is_store || may_create) {
        return Err(OpenError::NotAStore { directory: directory.to_owned() });
    }
    let lock = match access {
        Access::Write => Some(take_lock(&io, &layout)?),
        Access::Read => None,
    };
    let manifest = match ManifestFile::read(&io, &layout, access)? {
        manifest::Found::Manifest(manifest) => {
            ManifestFile::new(Arc::clone(&io), layout.clone(), manifest)
        }
        manifest::Found::Newer(found) => {
            let (directory, known) = (directory.to_owned(), FORMAT_VERSION);
            return Err(OpenError::NewerFormat { directory, found, known });
        }
        manifest::Found::Nothing => create(&io, &layout, options)?,
    };
    let parts = Parts { io, layout, manifest, access, lock };
    open_log(parts, options, indexing)
}

/// The names in the store's directory, which is made if it may be.
fn list_root(
    io: &Arc<dyn Io>,
    directory: &Path,
    options: &OpenOptions,
) -> Result<Vec<String>, OpenError> {
    match io.list(directory) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !options.create || options.read_only {
                return Err(OpenError::Missing { directory: directory.to_owned() });
            }
            io.create_dir(directory).map_err(DiskError::io("create", directory))?;
            Ok(Vec::new())
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(OpenError::NotAStore { directory: directory.to_owned() })
        }
        Err(error) => Err(DiskError::io("list", directory)(error).into()),
    }
}

fn is_own_name(name: &str) -> bool {
    ["lock", "manifest.new", "segments", "index", "beside", "watermark"].contains(&name)
}

fn take_lock(io: &Arc<dyn Io>, layout: &Layout) -> Result<Box<dyn Lock>, OpenError> {
    let path = layout.lock();
    match io.lock(&path) {
        Ok(lock) => {
            // Who holds the lock is for people; that it is held is what counts.
            let _unnamed = lock.describe(&format!("process {}", std::process::id()));
            Ok(lock)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let holder = read_holder(io, &path).unwrap_or_else(|| "another process".to_owned());
            Err(OpenError::InUse { directory: layout.root().to_owned(), holder })
        }
        Err(error) => Err(DiskError::io("lock", &path)(error).into()),
    }
}

fn read_holder(io: &Arc<dyn Io>, path: &Path) -> Option<String> {
    let file = io.open(path).ok()?;
    let size = usize::try_from(file.size().ok()?).ok()?.min(256);
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn create(
    io: &Arc<dyn Io>,
    layout: &Layout,
    options: &OpenOptions,
) -> Result<ManifestFile, DiskError> {
    // The root is among them: a process that made it may have died before its name was durable.
    for directory in [layout.root().to_owned(), layout.segments(), layout.index()] {
        io.create_dir(&directory).map_err(DiskError::io("create", &directory))?;
    }
    let mut seed = [0; 8];
    io.randomize(&mut seed);
    let log = LogId::from_uuid(random_uuid(&**io));
    let manifest = Manifest {
        generation: 0,
        log,
        name: options.name.clone(),
        lives: Lives::first(log),
        hash_seed: u64::from_le_bytes(seed),
        segment_size: options.segment_size.unwrap_or(SEGMENT_SIZE_MAX),
        floor: Floor::default(),
        rewritten: Vec::new(),
        runs: Vec::new(),
    };
    let mut file = ManifestFile::new(Arc::clone(io), layout.clone(), manifest);
    // The manifest comes last: without one the directory is not a store yet.
    file.change(|_| {})?;
    Ok(file)
}

/// What is known before the log is looked at.
struct Parts {
    io: Arc<dyn Io>,
    layout: Layout,
    manifest: ManifestFile,
    access: Access,
    lock: Option<Box<dyn Lock>>,
}

fn open_log(
    parts: Parts,
    options: &OpenOptions,
    indexing: Indexing<'_>,
) -> Result<Opened, OpenError> {
    let Parts { io, layout, mut manifest, access, lock } = parts;
    let found = recovery::find_log(&io, &layout, manifest.get(), access)?;
    let last = found.tip.place.position - 1;
    let is_strict = matches!(indexing, Indexing::Strict);
    let mut still = |_| {};
    let progress = match indexing {
        Indexing::Kept | Indexing::Strict => &mut still,
        Indexing::Anew(progress) => {
            // The manifest comes first: from here on a crash leaves files that opening removes.
            manifest.change(|manifest| manifest.runs.clear())?;
            progress
        }
    };
    let (index, lost_run_count) =
        open_index(&io, &layout, &mut manifest, options, last, is_strict)?;
    let watermark_file = match access {
        Access::Write => Some(create_or_open(&*io, &layout.watermark())?),
        Access::Read => None,
    };
    let segment_size = options.segment_size.unwrap_or(manifest.get().segment_size);
    let tip = found.tip;
    if access == Access::Write {
        manifest.mend()?;
        keep_floor(&mut manifest, &layout, &tip, segment_size)?;
    }
    let identity = LogIdentity {
        log: manifest.get().log,
        incarnation: manifest.get().lives.current(),
        name: manifest.get().name.clone(),
    };
    let mut log =
        Log::new(Arc::clone(&io), layout.clone(), manifest, index, found.segments, watermark_file);
    log.watermark.raise(last, Touched::Any);
    let indexed_count = index_rest(&log, last, access, progress)?;
    let recovery = Recovery {
        event_count: last,
        checked_count: found.checked_count,
        indexed_count,
        torn_size: found.torn_size,
        lost_run_count,
    };
    let tip = match access {
        Access::Write => Some(tip),
        Access::Read => {
            log.follower = Some(Follower::new(tip));
            None
        }
    };
    let log = Arc::new(log);
    let beside = open_beside(&log, access);
    let space = Space::new(Arc::clone(&io), layout, segment_size, options.inline);
    let Some(tip) = tip else {
        let space = Arc::new(space);
        return Ok(Opened { log, identity, recovery, writer: None, space, beside, lock });
    };
    if let Some(segment) = &tip.segment {
        let size = segment.file.size().map_err(DiskError::io("read", &segment.path))?;
        space.adopt(segment, size);
    }
    let space = Arc::new(space);
    let writer = Some(Writer::new(Arc::clone(&log), Arc::clone(&space), segment_size, tip));
    Ok(Opened { log, identity, recovery, writer, space, beside, lock })
}

/// Writes down where the log ends, so that damage before it is told from a torn batch.
fn keep_floor(
    manifest: &mut ManifestFile,
    layout: &Layout,
    tip: &Tip,
    segment_size: u64,
) -> Result<(), DiskError> {
    let floor = match &tip.segment {
        Some(segment) => segment.floor(layout, &tip.place),
        None => Floor::default(),
    };
    if floor == manifest.get().floor && segment_size == manifest.get().segment_size {
        return Ok(());
    }
    manifest.change(|manifest| {
        manifest.floor = floor;
        manifest.segment_size = segment_size;
    })
}

fn open_beside(log: &Arc<Log>, access: Access) -> Beside {
    let (id, lives) = {
        let manifest = log.manifest();
        (manifest.get().log, manifest.get().lives.clone())
    };
    let frontier = {
        let log = Arc::clone(log);
        Arc::new(move || Position::new(log.frontier()))
    };
    Beside::open(BesideOptions {
        io: Arc::clone(&log.io),
        dir: log.layout.beside(),
        access: match access {
            Access::Write => beside::Access::Writable,
            Access::Read => beside::Access::ReadOnly,
        },
        log: id,
        lives,
        frontier,
    })
}

/// Opens the runs of the index. Those that are damaged or missing, and all behind them, are lost:
/// the log has all they said.
fn open_index(
    io: &Arc<dyn Io>,
    layout: &Layout,
    manifest: &mut ManifestFile,
    options: &OpenOptions,
    last: u64,
    is_strict: bool,
) -> Result<(Index, u64), DiskError> {
    let own = manifest.get();
    let origin = Origin { log: own.log, seed: own.hash_seed };
    let directory = layout.index();
    let mut runs = Vec::new();
    for name in own.runs.iter().take_while(|name| name.last <= last) {
        match Run::open(&**io, &directory, RunHeader { origin, name: *name }) {
            Ok(run) => runs.push(Arc::new(run)),
            Err(error) if is_strict => return Err(error.into()),
            Err(_lost) => break,
        }
    }
    let lost = own.runs.len() - runs.len();
    if !options.read_only {
        if lost > 0 {
            let kept = runs.iter().map(|run| run.name()).collect();
            manifest.change(|manifest| manifest.runs = kept)?;
        }
        remove_strays(io, &directory, &runs)?;
    }
    Ok((Index::new(origin, options.run_count, 1, runs)?, lost as u64))
}

/// Removes files that are no run of the index: the remains of a merge, of a crash, or lost runs.
fn remove_strays(io: &Arc<dyn Io>, directory: &Path, runs: &[Arc<Run>]) -> Result<(), DiskError> {
    for name in io.list(directory).map_err(DiskError::io("list", directory))? {
        let path = directory.join(&name);
        if !runs.iter().any(|run| run.path() == path) {
            io.remove(&path).map_err(DiskError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Events that are indexed together at the start.
const INDEXED_AT_ONCE: usize = 1_024;

/// Indexes the events that are in no run. How many there were.
fn index_rest(
    log: &Log,
    last: u64,
    access: Access,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, DiskError> {
    let segments = log.segments();
    let first = log.index.next_position();
    let count = (last + 1).saturating_sub(first);
    let survivors = find_survivors(log, first, last)?;
    let name_at = |position| name_at(log, &survivors, position);
    let mut entries = Entries::default();
    for position in first..=last {
        segments.with_record(position, |record| {
            entries.push(|keys| keys_of(log.hasher, &record, keys));
        })?;
        if entries.count() < INDEXED_AT_ONCE && position < last {
            continue;
        }
        log.index.push(entries.all());
        entries.clear();
        if access == Access::Write {
            while log.index.frozen_count() > 0 && seal_with(log, name_at)? {}
            progress(Progress::new(position + 1 - first, count, "events"));
        }
    }
    while log.index.join() {}
    progress(Progress::new(count, count, "events"));
    Ok(count)
}

/// For each stream whose first event was scavenged, by the hash of its name: the position of an
/// event that still has the name. The index cannot tell yet, since it is being made.
pub(crate) fn find_survivors(
    log: &Log,
    first: u64,
    last: u64,
) -> Result<HashMap<Key, u64>, DiskError> {
    let segments = log.segments();
    let mut survivors = HashMap::new();
    let is_rewritten = |segment: &Arc<Segment>| segment.header.generation > 0;
    let Some(begin) = segments.iter().filter(|own| is_rewritten(own)).map(|own| own.first()).min()
    else {
        return Ok(survivors);
    };
    let mut keys = Vec::new();
    for position in first.max(begin)..=last {
        keys.clear();
        segments.with_record(position, |record| {
            keys_of(log.hasher, &record, &mut keys);
            let Some(stream) = keys.first() else { return };
            if record.is_stub() && record.revision() == 0 {
                survivors.insert(*stream, position);
            } else if !record.is_stub()
                && let Some(survivor) = survivors.get_mut(stream)
            {
                *survivor = position;
            }
        })?;
    }
    Ok(survivors)
}

/// The name of the stream that begins at a position, if one does.
pub(crate) fn name_at(
    log: &Log,
    survivors: &HashMap<Key, u64>,
    position: u64,
) -> Result<Option<StreamName>, DiskError> {
    let mut keys = Vec::new();
    let place = log.with_record(position, |record| {
        if record.is_stub() && record.revision() == 0 {
            keys_of(log.hasher, &record, &mut keys);
            return keys.first().and_then(|stream| survivors.get(stream)).copied();
        }
        (record.revision() == 0).then_some(position)
    })?;
    let Some(place) = place else { return Ok(None) };
    log.with_record(place, |record| StreamName::new(record.stream()).ok())
}

/// A UUID from the disk's own chance, so that simulations repeat.
fn random_uuid(io: &dyn Io) -> Uuid {
    let mut bytes = [0; 16];
    io.randomize(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
