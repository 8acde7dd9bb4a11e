//! Stores as earlier versions wrote them: they open, and today's encoder writes the same bytes.
//!
//! Each store is a directory below `tests/golden`, see the `README.md` there. To write those of a
//! new format version: `QUIPU_GOLDEN=write cargo test -p quipu-engine --test it golden`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use quipu_core::{
    Append, Change, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Query,
    ReadAll, StreamName, Timestamp, collect,
};
use quipu_engine::io::Io;
use quipu_engine::io::sim::SimDisk;
use quipu_engine::{Engine, OpenOptions, ScavengeOptions, restore_with};

/// What earlier versions wrote, in order; the last is what today's writes.
const VERSIONS: [&str; 2] = ["v1", "v1.1"];
/// 2026-01-01 00:00 UTC, in microseconds.
const BEGIN: i64 = 1_767_225_600_000_000;

/// A store's files, by their path in it.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes a store.
type Write = fn() -> Files;

/// Every golden store: its name, and what writes it.
const STORES: [(&str, Write); 5] = [
    ("clean", clean),
    ("unclean", unclean),
    ("many", many),
    ("scavenged", scavenged),
    ("restored", restored),
];

struct Author {
    disk: SimDisk,
    engine: Engine,
    count: u32,
}

impl Author {
    fn new(run_count: u32) -> Self {
        let disk = SimDisk::new(20_260_101);
        disk.set_now(Timestamp::from_micros(BEGIN));
        // How often somebody looks at the clock must not show in the bytes.
        disk.set_clock_step(Duration::ZERO);
        let engine = OpenOptions::new()
            .create(true)
            .name("golden")
            .segment_size(16 << 10)
            .run_count(run_count)
            .inline(true)
            .io(Arc::new(disk.clone()))
            .open("/store")
            .unwrap();
        Self { disk, engine, count: 0 }
    }

    fn id(&mut self) -> EventId {
        self.count += 1;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[15] = 0x5A;
        EventId::from_bytes(bytes)
    }

    fn event(&mut self, event_type: &str, data: &str) -> NewEvent {
        NewEvent::json(event_type, data.to_owned()).unwrap().with_id(self.id())
    }

    fn change(&self, change: Change) {
        self.disk.advance(Duration::from_secs(1));
        block_on(self.engine.change(change)).unwrap();
    }

    fn append(&self, name: &str, events: impl IntoIterator<Item = NewEvent>) {
        let append = Append::to_stream(stream(name), ExpectedRevision::Any, events);
        self.change(Change::Append(append));
    }

    /// One of everything that a record can have.
    fn write_samples(&mut self) {
        let first = self.event("OrderPlaced", "{\"total\":12}");
        let second = self.event("OrderPaid", "{}").with_tag("order:1").unwrap();
        self.append("order-1", [first, second.with_tag("customer:ü").unwrap()]);
        let mut picture = self.event("PictureTaken", "");
        picture.content_type = ContentType::new("image/png").unwrap();
        picture.data = vec![0x89, b'P', b'N', b'G', 0, 255].into();
        picture.event_type = EventType::new("PictureTaken").unwrap();
        let picture = picture.with_metadata("{\"$actor\":\"ada\"}");
        let given = self.event("OrderImported", "{\"from\":\"elsewhere\"}");
        let given =
            NewEvent { recorded_at: Some(Timestamp::from_micros(BEGIN + 3_500_000)), ..given };
        self.disk.advance(Duration::from_secs(2));
        self.append("import", [given]);
        let both = Append::to_stream(stream("picture-1"), ExpectedRevision::NoStream, [picture])
            .event(stream("order-2"), self.event("OrderPlaced", "{\"total\":7}"))
            .expect(stream("order-2"), ExpectedRevision::NoStream);
        self.change(Change::Append(both));
        let id = self.id();
        self.change(Change::SetMetadata {
            stream: stream("order-1"),
            expected: ExpectedRevision::NoStream,
            id,
            metadata: "{\"$maxCount\":1,\"owner\":\"ada\"}".into(),
        });
        let id = self.id();
        let (name, expected) = (stream("order-2"), ExpectedRevision::Any);
        self.change(Change::Delete { stream: name, expected, id });
        let last = self.event("CartFilled", "{}");
        self.append("cart-1", [last]);
        let id = self.id();
        let (name, expected) = (stream("cart-1"), ExpectedRevision::Any);
        self.change(Change::Tombstone { stream: name, expected, id });
    }

    fn files(&self, root: &str) -> Files {
        let root = Path::new(root);
        let own = |path: &PathBuf| {
            let name = path.strip_prefix(root).ok()?.to_str()?.to_owned();
            // The lock names a process; what is beside the log is another library's format.
            (name != "lock" && !name.starts_with("beside")).then_some(name)
        };
        let contents = |path: &Path| self.disk.contents(path).unwrap();
        self.disk.files().iter().filter_map(|path| Some((own(path)?, contents(path)))).collect()
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// Everything a record can have, closed as it should be.
fn clean() -> Files {
    let mut author = Author::new(64);
    author.write_samples();
    author.engine.close().unwrap();
    author.files("/store")
}

/// The same, but the process died in the middle of a batch: the floor is old, and of the last
/// batch only its head and some of its bytes reached the disk.
fn unclean() -> Files {
    let mut author = Author::new(64);
    author.write_samples();
    let segment = Path::new("/store/segments/00000001.log");
    let before = author.disk.contents(segment).unwrap();
    let event = author.event("OrderPlaced", "{\"total\":1}");
    let mut files = author.files("/store");
    author.append("order-9", [event]);
    let after = author.disk.contents(segment).unwrap();
    let begin = before.iter().zip(&after).position(|(old, new)| old != new).unwrap();
    let torn = files.get_mut("segments/00000001.log").unwrap();
    torn[begin..begin + 100].copy_from_slice(&after[begin..begin + 100]);
    files
}

/// Several segments with their tables, and runs of two levels.
fn many() -> Files {
    let author = fill();
    author.engine.close().unwrap();
    author.files("/store")
}

fn fill() -> Author {
    let mut author = Author::new(16);
    for number in 0..200 {
        let event = author
            .event(
                "OrderPlaced",
                &format!("{{\"number\":{number},\"note\":\"{}\"}}", "x".repeat(40)),
            )
            .with_tag(&format!("kind:{}", number % 7))
            .unwrap();
        author.append(&format!("order-{}", number % 23), [event]);
    }
    author
}

/// Segments in their second generation, with stubs in place of what metadata hides.
fn scavenged() -> Files {
    let mut author = fill();
    for number in 0..12 {
        let id = author.id();
        author.change(Change::SetMetadata {
            stream: stream(&format!("order-{number}")),
            expected: ExpectedRevision::NoStream,
            id,
            metadata: "{\"$maxCount\":1}".into(),
        });
    }
    let options = ScavengeOptions::new().threshold_percent(0);
    let scavenged = author.engine.scavenge_with(options, &mut |_| {}).unwrap();
    assert!(scavenged.segment_count > 1 && scavenged.event_count > 50, "{scavenged:?}");
    author.engine.close().unwrap();
    author.files("/store")
}

/// A log in its second life.
fn restored() -> Files {
    let author = fill();
    author.engine.backup("/backup", &mut |_| {}).unwrap();
    let io = Arc::new(author.disk.clone());
    restore_with(io, "/backup", "/restored", &mut |_| {}).unwrap();
    author.files("/restored")
}

fn directory_of(version: &str, store: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version).join(store)
}

fn today() -> &'static str {
    VERSIONS[VERSIONS.len() - 1]
}

/// Every golden store of every version.
fn all_stores() -> impl Iterator<Item = (&'static str, &'static str)> {
    VERSIONS.into_iter().flat_map(|version| STORES.map(|(store, _)| (version, store)))
}

/// Puts a store's files where a store is.
fn materialize(files: &Files) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.set_now(Timestamp::from_micros(BEGIN + 1_000_000_000));
    for (name, bytes) in files {
        let path = Path::new("/store").join(name);
        let directory = path.parent().unwrap();
        disk.create_dir(directory).unwrap();
        let file = disk.create(&path).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(directory).unwrap();
    }
    for name in ["segments", "index"] {
        disk.create_dir(&Path::new("/store").join(name)).unwrap();
    }
    disk
}

/// What a store holds, in words.
fn describe(engine: &Engine) -> String {
    let identity = engine.identity();
    let mut text = format!(
        "log {} incarnation {} name {:?}\n",
        identity.log,
        identity.incarnation.get(),
        identity.name
    );
    let events = block_on(async {
        let all = engine.read_all(ReadAll::new(Query::all())).await.unwrap();
        collect(all.batches).await.unwrap()
    });
    for event in events {
        let tags: Vec<_> = event.tags.iter().collect();
        let data = event.data.present();
        let data = data.map_or_else(|| "erased".to_owned(), |data| format!("{data:?}"));
        writeln!(
            text,
            "{} {}@{} {} {tags:?} {} {} {} {data} {:?}",
            event.position,
            event.stream.as_str(),
            event.revision,
            event.event_type.as_str(),
            event.content_type.as_str(),
            event.recorded_at.as_micros(),
            event.id,
            event.metadata,
        )
        .unwrap();
    }
    text
}

fn write_golden(store: &str, files: &Files) {
    let directory = directory_of(today(), store);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    let mut sizes = String::new();
    for (name, bytes) in files {
        writeln!(sizes, "{} {name}", bytes.len()).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let path = directory.join("store").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &bytes[..used]).unwrap();
    }
    fs::write(directory.join("sizes.txt"), sizes).unwrap();
    let disk = materialize(files);
    let options = OpenOptions::new().read_only(true).inline(true).io(Arc::new(disk));
    let engine = options.open("/store").unwrap();
    fs::write(directory.join("events.txt"), describe(&engine)).unwrap();
}

/// The files of today's golden store.
pub(crate) fn read_golden(store: &str) -> Files {
    read_version(today(), store)
}

fn read_version(version: &str, store: &str) -> Files {
    let directory = directory_of(version, store);
    let sizes = fs::read_to_string(directory.join("sizes.txt")).unwrap();
    let read = |line: &str| {
        let (size, name) = line.split_once(' ').unwrap();
        let mut bytes = fs::read(directory.join("store").join(name)).unwrap();
        bytes.resize(size.parse().unwrap(), 0);
        (name.to_owned(), bytes)
    };
    sizes.lines().map(read).collect()
}

#[test]
fn today_s_encoder_gives_the_golden_bytes() {
    for (store, author) in STORES {
        let files = author();
        if std::env::var("QUIPU_GOLDEN").is_ok_and(|wish| wish == "write") {
            write_golden(store, &files);
        }
        let golden = read_golden(store);
        let names: Vec<_> = files.keys().collect();
        assert_eq!(names, golden.keys().collect::<Vec<_>>(), "{store}");
        for (name, bytes) in &files {
            let other = &golden[name];
            assert_eq!(bytes.len(), other.len(), "{store}/{name}");
            let differs = bytes.iter().zip(other).position(|(one, other)| one != other);
            assert_eq!(differs, None, "{store}/{name} differs at this byte");
        }
    }
}

#[test]
fn golden_stores_open_for_writing_with_exactly_their_events() {
    for (version, store) in all_stores() {
        let events = directory_of(version, store).join("events.txt");
        let expected = fs::read_to_string(events).unwrap();
        let disk = materialize(&read_version(version, store));
        let io = || Arc::new(disk.clone());

        let engine = OpenOptions::new().inline(true).io(io()).open("/store").unwrap();
        assert_eq!(describe(&engine), expected, "{version}/{store}");
        assert_eq!(engine.recovery().torn_size > 0, store == "unclean", "{version}/{store}");
        assert_eq!(engine.recovery().lost_run_count, 0, "{store}");

        let event = NewEvent::json("OrderPlaced", "{}").unwrap();
        let append = Append::to_stream(stream("later"), ExpectedRevision::NoStream, [event]);
        block_on(engine.append(append)).unwrap();
        drop(engine);
        let engine = OpenOptions::new().inline(true).io(io()).open("/store").unwrap();
        assert!(describe(&engine).starts_with(&expected), "{store}");
    }
}

#[test]
fn golden_stores_open_for_reading_with_exactly_their_events() {
    for (version, store) in all_stores() {
        let events = directory_of(version, store).join("events.txt");
        let expected = fs::read_to_string(events).unwrap();
        let disk = materialize(&read_version(version, store));
        let files = disk.files();

        let options = OpenOptions::new().read_only(true).inline(true).io(Arc::new(disk.clone()));
        let engine = options.open("/store").unwrap();

        assert_eq!(describe(&engine), expected, "{store}");
        assert_eq!(disk.files(), files, "a reader leaves everything as it is");
    }
}

#[test]
fn golden_indexes_find_what_the_log_holds() {
    for version in VERSIONS {
        let disk = materialize(&read_version(version, "many"));
        let options = OpenOptions::new().read_only(true).inline(true).io(Arc::new(disk));
        let engine = options.open("/store").unwrap();
        assert!(engine.recovery().indexed_count < 200, "the runs are used");

        for kind in 0..7 {
            let query: Query = format!("tag:kind:{kind}").parse().unwrap();
            let read = block_on(engine.read_all(ReadAll::new(query))).unwrap();
            let found = block_on(collect(read.batches)).unwrap();
            let positions: Vec<_> = found.iter().map(|event| event.position.get()).collect();
            let expected: Vec<u64> = (0..200).filter(|n| n % 7 == kind).map(|n| n + 1).collect();
            assert_eq!(positions, expected, "{version}");
        }
    }
}
