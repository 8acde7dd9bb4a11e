//! Scavenging: what goes, what stays, and that nobody notices more than they should.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use quipu_core::{
    Append, EventStore, ExpectedRevision, Position, Query, ReadAll, ReadStream, RecordedEvent,
    Revision, StreamState, collect,
};
use quipu_engine::io::sim::{CrashPolicy, Fault, SimDisk};
use quipu_engine::{
    Engine, OpenOptions, ScavengeError, ScavengeOptions, Scavenged, rebuild_index_with,
    restore_with,
};

use crate::sample::{
    ROOT, append, event, files, list, open, read_log, read_stream, read_type, set_metadata, stream,
    try_read, verify,
};

const STREAMS: [&str; 8] =
    ["all-1", "aged-1", "count-1", "cut-1", "gone-1", "lost-1", "$$count-1", "$$cut-1"];

/// A store with streams that retention treats in every way, and then enough that none of that is in
/// the last segment. The events take several segments.
fn store(disk: &SimDisk) -> Engine {
    let engine = open(disk).unwrap();
    for number in 0..90 {
        append(&engine, STREAMS[number as usize % 6], number, 500);
    }
    set_metadata(&engine, "count-1", r#"{"$maxCount":5}"#);
    set_metadata(&engine, "count-1", r#"{"$maxCount":2}"#);
    set_metadata(&engine, "cut-1", r#"{"$tb":10}"#);
    set_metadata(&engine, "aged-1", r#"{"$maxAge":60}"#);
    block_on(engine.delete(stream("gone-1"), ExpectedRevision::Any)).unwrap();
    block_on(engine.tombstone(stream("lost-1"), ExpectedRevision::Any)).unwrap();
    disk.advance(Duration::from_hours(1));
    for number in 100..130 {
        append(&engine, "all-1", number, 500);
    }
    engine
}

fn scavenge_all(engine: &Engine) -> Result<Scavenged, ScavengeError> {
    engine.scavenge_with(ScavengeOptions::new().threshold_percent(0), &mut |_| {})
}

fn read_streams(engine: &Engine) -> Vec<(StreamState, Vec<RecordedEvent>)> {
    STREAMS.iter().map(|name| read_stream(engine, name)).collect()
}

/// The revisions of a stream that the log still has whole.
fn whole(engine: &Engine, name: &str) -> Vec<u64> {
    let events = read_log(engine, "");
    let own = events.iter().filter(|event| event.stream.as_str() == name);
    own.map(|event| event.revision.get()).collect()
}

#[test]
fn what_no_read_shows_goes_and_the_rest_stays() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    let before = read_streams(&engine);
    let names = list(&engine);
    let size = engine.stats().unwrap().log_size;

    let mut steps = Vec::new();
    let scavenged = engine.scavenge(&mut |progress| steps.push(progress)).unwrap();

    assert!(scavenged.segment_count > 2, "{scavenged:?}");
    assert!(scavenged.freed_size > 20_000, "{scavenged:?}");
    let stats = engine.stats().unwrap();
    assert_eq!(stats.rewritten_count, scavenged.segment_count);
    assert!(stats.log_size < size, "{stats:?}");
    assert_eq!(
        steps.last().map(|last| (last.done, last.unit)),
        Some((steps.len() as u64 - 1, "segments"))
    );
    scavenge_all(&engine).unwrap();
    assert_eq!(read_streams(&engine), before);
    assert_eq!(list(&engine), names);
    assert_eq!(whole(&engine, "all-1").len(), 45);
    assert_eq!(whole(&engine, "count-1"), [13, 14]);
    assert_eq!(whole(&engine, "cut-1"), [10, 11, 12, 13, 14]);
    // The last event stays, even though no read shows it.
    assert_eq!(whole(&engine, "aged-1"), [14]);
    assert_eq!(whole(&engine, "gone-1"), [14]);
    // Nothing stays of a tombstoned stream but the tombstone.
    assert_eq!(whole(&engine, "lost-1"), [15]);
    assert_eq!(whole(&engine, "$$count-1"), [1]);
    assert_eq!(whole(&engine, "$$gone-1"), [0]);
    let (verified, damage) = verify(&disk);
    assert_eq!(damage, []);
    assert_eq!(verified.event_count, stats.event_count);
    assert!(verified.scavenged_count >= scavenged.event_count, "{verified:?}");
}

#[test]
fn a_store_is_the_same_after_opening_it_again_and_after_building_its_index_again() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    scavenge_all(&engine).unwrap();
    let (streams, names, log) = (read_streams(&engine), list(&engine), read_log(&engine, ""));
    drop(engine);

    let engine = open(&disk).unwrap();
    assert_eq!(read_streams(&engine), streams);
    drop(engine);
    rebuild_index_with(Arc::new(disk.clone()), Path::new(ROOT), &mut |_| {}).unwrap();
    assert_eq!(verify(&disk).1, []);
    // With a run of few events the index is sealed while it is made: before it knows the streams
    // whose first event is gone.
    for run in files(&disk, "/index/") {
        disk.flip_bit(&run, 100, 0);
    }
    let engine = open(&disk).unwrap();

    assert!(engine.recovery().indexed_count > 100);
    assert_eq!(read_streams(&engine), streams);
    assert_eq!(list(&engine), names);
    assert_eq!(read_log(&engine, ""), log);
    assert_eq!(verify(&disk).1, []);
}

#[test]
fn queries_terms_and_conditions_do_not_see_what_is_gone() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    let (count, read) =
        (read_log(&engine, "type:OrderPlaced").len(), read_type(&engine, "OrderPlaced"));
    assert_eq!(read.entries.len(), count);
    scavenge_all(&engine).unwrap();

    let left = read_log(&engine, "type:OrderPlaced");
    let term = read_type(&engine, "OrderPlaced");
    let query = || "stream:lost-1,type:OrderPlaced".parse::<Query>().unwrap();
    let append = Append::to_stream(stream("all-1"), ExpectedRevision::Any, [event(500, 10)])
        .fail_if(query(), None);
    let appended = block_on(engine.append(append));

    assert!(left.len() < count);
    // Ordinals stay what they were; the events behind some are missing.
    assert_eq!(term.entries.len(), count);
    assert_eq!(term.entries.iter().filter(|entry| entry.event.is_some()).count(), left.len());
    assert!(
        read.entries.iter().zip(&term.entries).all(|(one, other)| one.position == other.position)
    );
    assert_eq!(read_log(&engine, "stream:lost-1,type:OrderPlaced"), []);
    appended.unwrap();
    let backward = block_on(async {
        let read = engine.read_all(ReadAll::new(Query::all()).backward()).await.unwrap();
        collect(read.batches).await.unwrap()
    });
    let mut forward = read_log(&engine, "");
    forward.reverse();
    assert_eq!(backward, forward);
}

#[test]
fn a_retry_of_an_append_whose_event_is_gone_is_still_a_replay() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    scavenge_all(&engine).unwrap();
    drop(engine);
    let engine = open(&disk).unwrap();

    // The third event of the stream.
    for expected in [ExpectedRevision::Any, ExpectedRevision::Exactly(Revision::new(1))] {
        let retry = Append::to_stream(stream("count-1"), expected, [event(14, 500)]);
        let appended = block_on(engine.append(retry)).unwrap();

        assert!(appended.replayed);
        assert_eq!(appended.last, Some(Position::new(15)));
        assert_eq!(appended.streams[0].revision, Revision::new(2));
    }
}

#[test]
fn appends_go_on_after_scavenging() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    scavenge_all(&engine).unwrap();

    let next = Append::to_stream(
        stream("count-1"),
        ExpectedRevision::Exactly(Revision::new(14)),
        [event(600, 10)],
    );
    block_on(engine.append(next)).unwrap();
    let revived = Append::to_stream(stream("gone-1"), ExpectedRevision::NoStream, [event(601, 10)]);
    block_on(engine.append(revived)).unwrap();
    let lost = Append::to_stream(stream("lost-1"), ExpectedRevision::Any, [event(602, 10)]);
    block_on(engine.append(lost)).unwrap_err();

    let (_, events) = read_stream(&engine, "count-1");
    assert_eq!(events.iter().map(|event| event.revision.get()).collect::<Vec<_>>(), [14, 15]);
    let (_, events) = read_stream(&engine, "gone-1");
    assert_eq!(events.iter().map(|event| event.revision.get()).collect::<Vec<_>>(), [15]);
}

#[test]
fn scavenging_again_finds_only_what_is_hidden_since() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    scavenge_all(&engine).unwrap();

    let again = scavenge_all(&engine).unwrap();
    assert_eq!(again, Scavenged::default());
    set_metadata(&engine, "all-1", r#"{"$maxCount":1}"#);
    let more = scavenge_all(&engine).unwrap();

    assert!(more.event_count > 20, "{more:?}");
    assert_eq!(read_stream(&engine, "all-1").1.len(), 1);
    assert_eq!(verify(&disk).1, []);
    drop(engine);
    let engine = open(&disk).unwrap();
    assert_eq!(read_stream(&engine, "all-1").1.len(), 1);
}

#[test]
fn a_segment_of_which_too_little_goes_is_left_alone() {
    let disk = SimDisk::new(1);
    let engine = open(&disk).unwrap();
    for number in 0..100 {
        append(&engine, if number % 10 == 0 { "cut-1" } else { "all-1" }, number, 500);
    }
    set_metadata(&engine, "cut-1", r#"{"$maxCount":1}"#);

    let scavenged = engine.scavenge(&mut |_| {}).unwrap();

    assert_eq!((scavenged.segment_count, scavenged.event_count), (0, 0));
    assert!(scavenged.left_count > 5, "{scavenged:?}");
}

#[test]
fn a_read_that_began_before_goes_on_with_what_it_saw() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    let all = read_log(&engine, "");
    let mut batches = block_on(engine.read_all(ReadAll::new(Query::all()))).unwrap().batches;
    let mut seen = Vec::new();
    let mut take = |batch: Option<quipu_core::EventBatch>| {
        batch.map(|batch| seen.extend(batch.to_vec())).is_some()
    };
    assert!(take(block_on(batches.next()).unwrap()));

    scavenge_all(&engine).unwrap();
    while take(block_on(batches.next()).unwrap()) {}

    assert_eq!(seen, all);
}

/// The stream's last event as of then is gone by now, but its place is known.
#[test]
fn a_read_as_of_a_moment_whose_events_are_gone_still_knows_the_stream() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    scavenge_all(&engine).unwrap();

    let read =
        ReadStream::new(stream("count-1")).as_of(quipu_core::AsOf::Position(Position::new(20)));
    let read = block_on(engine.read_stream(read)).unwrap();

    assert_eq!(read.state, StreamState::Live { last: Revision::new(2) });
    assert_eq!(block_on(collect(read.batches)).unwrap(), []);
}

#[test]
fn a_crash_anywhere_in_scavenging_loses_nothing_that_stays() {
    let disk = SimDisk::new(3);
    drop(store(&disk));

    scavenge_with_crashes(&disk.process_death());
}

/// Most of what is appended goes from the only segment there is.
fn small_store(disk: &SimDisk) -> Engine {
    let engine = open(disk).unwrap();
    for number in 0..10 {
        append(&engine, if number % 3 == 0 { "all-1" } else { "lost-1" }, number, 900);
    }
    block_on(engine.tombstone(stream("lost-1"), ExpectedRevision::Any)).unwrap();
    engine
}

#[test]
fn the_only_segment_is_scavenged_too() {
    let disk = SimDisk::new(1);
    let engine = small_store(&disk);

    assert_eq!(engine.stats().unwrap().segment_count, 1);

    let scavenged = engine.scavenge(&mut |_| {}).unwrap();

    assert_eq!((scavenged.segment_count, scavenged.event_count), (1, 6));
    assert_eq!(engine.stats().unwrap().segment_count, 2);
    assert_eq!(whole(&engine, "lost-1"), [6]);
    assert_eq!(verify(&disk).1, []);
    // There is nothing in the segment that the log goes on in.
    assert_eq!(scavenge_all(&engine).unwrap(), Scavenged::default());
    let log = read_log(&engine, "");
    drop(engine);
    let engine = open(&disk).unwrap();
    assert_eq!(read_log(&engine, ""), log);
    assert_eq!(engine.stats().unwrap().segment_count, 2);
    // Larger than any segment: it goes there all the same.
    append(&engine, "all-1", 12, 40_000);
    assert_eq!(engine.stats().unwrap().segment_count, 2);
    assert_eq!(read_log(&engine, "").len(), log.len() + 1);
    assert_eq!(verify(&disk).1, []);
}

/// The log goes on in a segment without events until the next append.
#[test]
fn readers_and_backups_know_a_last_segment_without_events() {
    let disk = SimDisk::new(1);
    let read_only = || OpenOptions::new().read_only(true).inline(true).io(Arc::new(disk.clone()));
    let engine = small_store(&disk);
    let before = read_only().open(ROOT).unwrap();
    scavenge_all(&engine).unwrap();
    let between = read_only().open(ROOT).unwrap();
    engine.backup("/backup", &mut |_| {}).unwrap();
    let io = Arc::new(disk.clone());
    restore_with(io.clone(), "/backup", "/restored", &mut |_| {}).unwrap();
    let restored =
        OpenOptions::new().segment_size(16 << 10).inline(true).io(io).open("/restored").unwrap();

    for number in 10..40 {
        append(&engine, "all-1", number, 900);
        append(&restored, "all-1", number, 900);
    }

    let log = read_log(&engine, "");
    for other in [&between, &restored, &read_only().open(ROOT).unwrap()] {
        let ids = |log: Vec<RecordedEvent>| log.iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(read_log(other, "")), ids(log.clone()));
    }
    // It keeps the segment that it has open.
    assert_eq!(read_log(&before, "").len(), log.len() + 6);
}

#[test]
fn a_crash_anywhere_in_scavenging_the_only_segment_loses_nothing_that_stays() {
    for seed in 1..5 {
        let disk = SimDisk::new(seed);
        drop(small_store(&disk));

        scavenge_with_crashes(&disk.process_death());
    }
}

/// Scavenges a store into a crash, in every call.
fn scavenge_with_crashes(disk: &SimDisk) {
    let scavenge = |disk: &SimDisk| {
        let engine = open(disk).unwrap();
        let begun = disk.calls();
        (begun, scavenge_all(&engine))
    };
    let expected = try_read(&disk.fork()).unwrap();
    let done = disk.fork();
    let (begun, result) = scavenge(&done);
    result.unwrap();
    let scavenged = try_read(&done.fork()).unwrap();
    assert_ne!(scavenged[0], expected[0]);
    assert_eq!(scavenged[4..], expected[4..]);

    for call in begun + 1..=done.calls() {
        let disk = disk.fork();
        disk.crash_at(call);
        // Old files that are not removed are no failure: the next opening removes them.
        let (_, _cut_off) = scavenge(&disk);
        assert!(disk.is_crashed(), "call {call}");
        let disk = disk.crash(CrashPolicy::Random(call));

        let found = try_read(&disk).unwrap_or_else(|| panic!("call {call}: it does not open"));
        assert_eq!(found[4..], expected[4..], "call {call}: streams changed");
        assert!(found[0].iter().all(|event| expected[0].contains(event)), "call {call}");
        assert!(scavenged[0].iter().all(|event| found[0].contains(event)), "call {call}");
        assert_eq!(verify(&disk).1, [], "call {call}");
        let engine = open(&disk).unwrap();
        scavenge_all(&engine).unwrap();
        assert_eq!(read_log(&engine, ""), scavenged[0], "call {call}");
        drop(engine);
        assert_eq!(verify(&disk).1, [], "call {call}");
        let strays = files(&disk, "/segments/").len();
        assert_eq!(strays, files(&done, "/segments/").len(), "call {call}: files stay behind");
        go_on(&disk);
    }
}

/// Fills the segment that is being written and two more, and looks at everything.
fn go_on(disk: &SimDisk) {
    let engine = open(disk).unwrap();
    let before = read_log(&engine, "");
    for number in 1_000..1_040 {
        append(&engine, "all-1", number, 1_000);
    }
    drop(engine);
    assert_eq!(verify(disk).1, []);
    let after = read_log(&open(disk).unwrap(), "");
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 40);
}

#[test]
fn a_failure_anywhere_in_scavenging_leaves_the_store_as_it_was_or_better() {
    let disk = SimDisk::new(3);
    drop(store(&disk));
    let disk = disk.process_death();
    let done = disk.fork();
    let engine = open(&done).unwrap();
    let begun = done.calls();
    scavenge_all(&engine).unwrap();
    let scavenged = read_log(&engine, "");
    let last = done.calls();
    drop(engine);

    for call in begun + 1..=last {
        for fault in [Fault::Device, Fault::Full] {
            let disk = disk.fork();
            let engine = open(&disk).unwrap();
            let before = read_streams(&engine);
            disk.fail_at(call, fault);
            // A file that is not removed is no failure: the next opening removes it.
            let _first = scavenge_all(&engine);
            assert_eq!(read_streams(&engine), before, "call {call} {fault:?}");
            scavenge_all(&engine).unwrap();

            assert_eq!(read_streams(&engine), before, "call {call} {fault:?}");
            assert_eq!(read_log(&engine, ""), scavenged, "call {call} {fault:?}");
            drop(engine);
            let disk = disk.crash(CrashPolicy::LoseAll);
            assert_eq!(read_log(&open(&disk).unwrap(), ""), scavenged, "call {call} {fault:?}");
            assert_eq!(verify(&disk).1, [], "call {call} {fault:?}");
        }
    }
}

#[test]
fn a_full_disk_is_said() {
    let disk = SimDisk::new(1);
    let engine = store(&disk);
    let before = read_log(&engine, "");
    disk.set_free_space(Some(1_000));

    let refused = scavenge_all(&engine);
    assert!(matches!(refused, Err(ScavengeError::DiskFull)), "{refused:?}");
    assert_eq!(read_log(&engine, ""), before);
    disk.set_free_space(None);

    scavenge_all(&engine).unwrap();
}

#[test]
fn a_store_open_for_reading_only_is_not_scavenged() {
    let disk = SimDisk::new(1);
    drop(store(&disk));
    let engine = OpenOptions::new().read_only(true).io(Arc::new(disk)).open(ROOT).unwrap();

    let refused = scavenge_all(&engine);

    assert!(matches!(refused, Err(ScavengeError::ReadOnly)), "{refused:?}");
}

/// With threads of its own, on the machine's disk, while somebody appends and somebody verifies.
#[test]
fn scavenging_and_verifying_go_on_beside_appends() {
    let directory = tempfile::tempdir().unwrap();
    let engine = OpenOptions::new()
        .create(true)
        .segment_size(16 << 10)
        .run_count(64)
        .open(directory.path())
        .unwrap();
    set_metadata(&engine, "count-1", r#"{"$maxCount":2}"#);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..400 {
                append(&engine, if number % 4 == 0 { "all-1" } else { "count-1" }, number, 400);
            }
        });
        let mut scavenged = 0;
        while scavenged < 3 {
            scavenged += engine.scavenge(&mut |_| {}).unwrap().segment_count;
            let mut damage = Vec::new();
            quipu_engine::verify(directory.path(), &mut |d| damage.push(d), &mut |_| {}).unwrap();
            assert_eq!(damage, []);
        }
    });

    assert_eq!(read_stream(&engine, "all-1").1.len(), 100);
    assert_eq!(read_stream(&engine, "count-1").1.len(), 2);
}
