//! Verifying a store: each kind of damage is named, and none is missed.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_lite::future::block_on;
use quipu_core::{Append, EventStore, ExpectedRevision, NewEvent, StreamName};
use quipu_engine::io::Io;
use quipu_engine::io::sim::{CrashPolicy, SimDisk};
use quipu_engine::{
    OpenError, OpenOptions, Progress, RebuildError, VerifyError, rebuild_index_with,
};

use crate::sample::{
    ROOT, append, files, list, open, read_log, set_metadata, stream, try_read, try_verify, verify,
};

/// Where a segment's first batch begins, and its first record.
const FIRST_BATCH: u64 = 4_096;
const FIRST_RECORD: u64 = FIRST_BATCH + 64;

/// A store of so many events in a few streams, closed.
fn store(count: u32) -> SimDisk {
    let disk = SimDisk::new(1);
    let engine = open(&disk).unwrap();
    for number in 0..count {
        append(&engine, &format!("order-{}", number % 4), number, 40);
    }
    drop(engine);
    disk
}

fn segment(number: u64) -> PathBuf {
    Path::new(ROOT).join(format!("segments/{number:08}.log"))
}

#[track_caller]
fn assert_named(disk: &SimDisk, file: &Path, offset: u64, reason: &str) {
    let (_, damage) = verify(disk);
    let is_it = |found: &&quipu_engine::Damage| {
        found.file == file && found.offset == offset && found.reason.contains(reason)
    };
    assert!(damage.iter().any(|found| is_it(&found)), "{damage:#?}");
}

#[test]
fn a_whole_store_has_no_damage_and_is_counted() {
    let disk = store(200);

    let mut steps = Vec::new();
    let mut damage = Vec::new();
    let verified = quipu_engine::verify_with(
        Arc::new(disk),
        Path::new(ROOT),
        &mut |found| damage.push(found),
        &mut |progress| steps.push(progress),
    );

    let verified = verified.unwrap();
    assert_eq!(damage, []);
    assert_eq!((verified.event_count, verified.scavenged_count), (200, 0));
    assert!(verified.segment_count > 2, "{verified:?}");
    assert!(verified.run_count > 1, "{verified:?}");
    assert_eq!((verified.torn_count, verified.loose_size), (0, 0));
    let last = steps.last().unwrap();
    assert_eq!((last.done, last.unit), (last.total, "bytes"));
}

#[test]
fn an_open_store_and_an_empty_one_have_no_damage() {
    let disk = SimDisk::new(1);
    let engine = open(&disk).unwrap();
    assert_eq!(verify(&disk).1, []);
    for number in 0..150 {
        append(&engine, "order-1", number, 40);
        if number % 10 == 0 {
            let (verified, damage) = verify(&disk);
            assert_eq!((verified.event_count, damage), (u64::from(number) + 1, vec![]));
        }
    }
    drop(engine);
}

#[test]
fn what_is_no_store_is_an_error() {
    let missing = try_verify(&SimDisk::new(1));
    let is_missing = matches!(missing, Err(VerifyError::Open(OpenError::Missing { .. })));
    assert!(is_missing, "{missing:?}");
}

#[test]
fn a_damaged_copy_of_the_manifest_is_named() {
    for name in ["manifest-a", "manifest-b"] {
        let disk = store(50);
        let path = Path::new(ROOT).join(name);
        disk.flip_bit(&path, 60, 3);

        assert_named(&disk, &path, 0, "checksum");
    }
}

#[test]
fn a_damaged_head_of_a_segment_is_named_and_the_rest_is_verified() {
    let disk = store(200);
    disk.flip_bit(&segment(2), 50, 0);

    assert_named(&disk, &segment(2), 0, "segment header");
    let (verified, damage) = verify(&disk);
    assert!(verified.event_count > 100, "{verified:?}");
    assert!(damage.iter().all(|found| found.file == segment(2)), "{damage:#?}");
}

#[test]
fn a_missing_segment_is_named() {
    let disk = store(200);
    let io: &dyn Io = &disk;
    io.remove(&segment(2)).unwrap();

    assert_named(&disk, &segment(2), 0, "missing");
}

#[test]
fn a_damaged_batch_head_is_named_and_the_batches_behind_it_are_verified() {
    let disk = store(50);
    disk.flip_bit(&segment(1), FIRST_BATCH + 20, 0);

    assert_named(&disk, &segment(1), FIRST_BATCH, "batch header");
    assert_eq!(verify(&disk).0.event_count, 49);
}

#[test]
fn a_damaged_record_is_named() {
    let disk = store(50);
    disk.flip_bit(&segment(1), FIRST_RECORD + 120, 0);

    assert_named(&disk, &segment(1), FIRST_RECORD, "checksum");
    assert_eq!(verify(&disk).0.event_count, 49);
}

/// Bytes that fill up a batch are in no checksum.
#[test]
fn bytes_between_batches_are_named() {
    let disk = store(50);
    let bytes = disk.contents(&segment(1)).unwrap();
    let size = u32::from_le_bytes(bytes[4_104..4_108].try_into().unwrap());
    let end = FIRST_RECORD + u64::from(size);
    assert_ne!(end % 8, 0, "this test needs a batch that is filled up");
    disk.flip_bit(&segment(1), end, 0);

    assert_named(&disk, &segment(1), end, "not zero");
}

#[test]
fn bytes_behind_the_last_batch_of_a_full_segment_are_named() {
    let disk = store(200);
    let size = disk.contents(&segment(1)).unwrap().len() as u64;
    disk.flip_bit(&segment(1), size - 1, 0);

    let (_, damage) = verify(&disk);

    assert_eq!(damage.len(), 1, "{damage:#?}");
    assert_eq!(damage[0].file, segment(1));
}

#[test]
fn a_batch_that_was_durable_and_is_gone_is_named() {
    let disk = store(50);
    let bytes = disk.contents(&segment(1)).unwrap();
    let last = (FIRST_BATCH as usize..bytes.len())
        .step_by(8)
        .rfind(|at| bytes[*at..].starts_with(b"QBat"))
        .unwrap();
    disk.overwrite(&segment(1), last as u64, &vec![0; bytes.len() - last]);

    assert_named(&disk, &segment(1), last as u64, "no batch header");
    assert_named(&disk, &segment(1), 0, "position 49, yet 50 was durable");
}

#[test]
fn a_damaged_table_is_named() {
    let disk = store(200);
    let table = files(&disk, ".offsets").remove(0);
    disk.flip_bit(&table, 80, 0);

    assert_named(&disk, &table, 0, "table");
}

#[test]
fn a_damaged_or_missing_run_is_named() {
    let disk = store(200);
    let run = files(&disk, "/index/").remove(0);
    let io: &dyn Io = &disk;
    disk.flip_bit(&run, 100, 0);
    let (_, damage) = verify(&disk);
    assert_eq!((damage.len(), &damage[0].file), (1, &run), "{damage:#?}");

    io.remove(&run).unwrap();
    let (_, damage) = verify(&disk);
    assert_eq!((damage.len(), &damage[0].file), (1, &run), "{damage:#?}");
}

/// A run that is whole and says something else: the run of another log with the same names.
#[test]
fn a_run_that_does_not_say_what_the_log_says_is_named() {
    let disk = store(40);
    let other = SimDisk::new(1);
    let engine = open(&other).unwrap();
    for number in 0..40 {
        append(&engine, &format!("order-{}", number % 3), number, 40);
    }
    drop(engine);
    let run = files(&disk, "/index/").remove(0);
    let bytes = other.contents(&run).unwrap();
    let io: &dyn Io = &disk;
    let file = io.open_writable(&run).unwrap();
    file.set_size(0).unwrap();
    file.write_at(&bytes, 0).unwrap();

    let (_, damage) = verify(&disk);

    assert_eq!((damage.len(), &damage[0].file), (1, &run), "{damage:#?}");
    assert!(damage[0].reason.contains("key"), "{damage:#?}");
}

/// A batch that a crash cut off was never acknowledged.
#[test]
fn torn_bytes_are_counted_and_are_no_damage() {
    let mut torn_count = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let engine = open(&disk).unwrap();
        for number in 0..5 {
            append(&engine, "order-1", number, 500);
        }
        // The write goes through, the sync does not.
        disk.crash_at(disk.calls() + 2);
        let append = Append::to_stream(
            stream("order-1"),
            ExpectedRevision::Any,
            [crate::sample::event(99, 3_000)],
        );
        block_on(engine.append(append)).unwrap_err();
        drop(engine);
        let disk = disk.crash(CrashPolicy::Random(seed));

        let (before, damage) = verify(&disk);
        assert_eq!(damage, [], "seed {seed}");
        // A segment made ahead of its use changes nothing.
        let ahead = disk.fork();
        ahead.create(&segment(2)).unwrap().set_size(16 << 10).unwrap();
        assert_eq!(verify(&ahead), (before, Vec::new()), "seed {seed}");
        let opened = open(&disk).unwrap();
        let torn_size = opened.recovery().torn_size;
        drop(opened);
        let (after, damage) = verify(&disk);

        assert_eq!(damage, [], "seed {seed}");
        assert_eq!(before.loose_size, torn_size, "seed {seed}");
        assert_eq!((after.torn_size, after.loose_size), (torn_size, 0), "seed {seed}");
        torn_count += after.torn_count;
    }
    assert!(torn_count > 0, "no seed tears a batch");
}

/// What a process writes while another verifies is in motion: no word on it.
#[test]
fn batches_that_are_written_meanwhile_are_no_damage() {
    let disk = store(200);
    let engine = open(&disk).unwrap();
    let mut damage = Vec::new();
    let mut has_appended = false;

    let verified = quipu_engine::verify_with(
        Arc::new(disk.clone()),
        Path::new(ROOT),
        &mut |found| damage.push(found),
        &mut |_| {
            if !std::mem::replace(&mut has_appended, true) {
                append(&engine, "order-1", 1_000, 40);
                append(&engine, "order-1", 1_001, 40);
                let (last, bytes) = newest_segment(&disk);
                let batches = bytes.windows(4).enumerate().filter(|(_, at)| at == b"QBat");
                let (batch, _) = batches.rev().nth(1).unwrap();
                disk.flip_bit(&last, batch as u64 + 64 + 120, 0);
            }
        },
    );

    assert_eq!(damage, []);
    assert_eq!(verified.unwrap().event_count, 200);
}

/// The last segment's file and its bytes.
fn newest_segment(disk: &SimDisk) -> (PathBuf, Vec<u8>) {
    let segments = disk.files().into_iter().filter(|path| path.extension() == Some("log".as_ref()));
    let last = segments.max().unwrap();
    let bytes = disk.contents(&last).unwrap();
    (last, bytes)
}

/// Every bit of every file: damage is reported, or it does no harm. Set `QUIPU_TORTURE=1` to flip
/// all of them.
#[test]
fn a_flipped_bit_is_reported_or_harmless() {
    let disk = SimDisk::new(1);
    let engine = open(&disk).unwrap();
    for number in 0..35 {
        append(&engine, &format!("order-{}", number % 4), number, 20);
    }
    set_metadata(&engine, "order-1", r#"{"$maxCount":3}"#);
    drop(engine);
    assert_eq!(files(&disk, ".log").len(), 1);

    flip_bits(&disk, 37);
}

#[test]
fn a_flipped_bit_of_a_scavenged_store_is_reported_or_harmless() {
    let disk = SimDisk::new(1);
    let engine = open(&disk).unwrap();
    for number in 0..60 {
        append(&engine, &format!("order-{}", number % 4), number, 300);
    }
    set_metadata(&engine, "order-1", r#"{"$maxCount":1}"#);
    set_metadata(&engine, "order-2", r#"{"$maxCount":1}"#);
    let all = quipu_engine::ScavengeOptions::new().threshold_percent(0);
    let scavenged = engine.scavenge_with(all, &mut |_| {}).unwrap();
    assert!(scavenged.segment_count > 0, "{scavenged:?}");
    drop(engine);

    flip_bits(&disk, 601);
}

fn flip_bits(disk: &SimDisk, step: u64) {
    let step = if std::env::var_os("QUIPU_TORTURE").is_some() { 1 } else { step };
    let expected = try_read(&disk.fork()).unwrap();
    let (mut flipped, mut reported) = (0, 0);
    for file in files(disk, "") {
        let size = disk.contents(&file).unwrap().len() as u64;
        for at in (0..size * 8).step_by(usize::try_from(step).unwrap()) {
            let (offset, bit) = (at / 8, (at % 8) as u32);
            disk.flip_bit(&file, offset, bit);
            let is_reported = try_verify(disk).is_ok_and(|(_, damage)| !damage.is_empty());
            let answers = try_read(&disk.fork());
            disk.flip_bit(&file, offset, bit);
            flipped += 1;
            reported += u64::from(is_reported);
            let place = format!("bit {bit} of byte {offset} of {}", file.display());
            match answers {
                Some(answers) => assert!(answers == expected, "{place}: other events are read"),
                None => assert!(is_reported, "{place}: not reported, yet it does harm"),
            }
        }
    }
    crate::sim::runs::say(&format!(
        "{flipped} bits were flipped, {reported} of them were reported"
    ));
    assert!(reported > 0);
}

#[test]
fn an_index_that_is_built_again_says_what_it_said() {
    let disk = store(200);
    let expected = try_read(&disk.fork()).unwrap();
    for run in files(&disk, "/index/") {
        disk.flip_bit(&run, 100, 0);
    }
    disk.flip_bit(&files(&disk, ".offsets")[0], 80, 0);
    assert!(!verify(&disk).1.is_empty());

    let mut steps = Vec::new();
    let rebuilt = rebuild_index_with(Arc::new(disk.clone()), Path::new(ROOT), &mut |progress| {
        steps.push(progress);
    });

    assert_eq!(rebuilt.unwrap().event_count, 200);
    assert_eq!(verify(&disk).1, []);
    assert_eq!(try_read(&disk).unwrap(), expected);
    assert_eq!(steps.last().map(|last| (last.done, last.unit)), Some((200, "events")));
}

#[test]
fn a_crash_while_the_index_is_built_again_does_no_harm() {
    let disk = store(120);
    let expected = try_read(&disk.fork()).unwrap();
    let rebuild =
        |disk: &SimDisk| rebuild_index_with(Arc::new(disk.clone()), Path::new(ROOT), &mut |_| {});
    let whole = disk.fork();
    let before = whole.calls();
    rebuild(&whole).unwrap();

    for call in (1..=whole.calls() - before).step_by(5) {
        let disk = disk.fork();
        disk.crash_at(before + call);
        rebuild(&disk).unwrap_err();
        let disk = disk.crash(CrashPolicy::Random(call));

        assert_eq!(try_read(&disk).as_ref(), Some(&expected), "call {call}");
        assert_eq!(verify(&disk).1, [], "call {call}");
    }
}

#[test]
fn the_index_of_a_store_that_is_used_is_built_again() {
    let disk = store(200);
    let expected = try_read(&disk.fork()).unwrap();
    let engine = open(&disk).unwrap();
    let runs = engine.stats().unwrap().run_count;
    for run in files(&disk, "/index/") {
        disk.flip_bit(&run, 100, 0);
    }
    disk.flip_bit(&files(&disk, ".offsets")[0], 80, 0);
    assert!(!verify(&disk).1.is_empty());

    let mut steps = Vec::new();
    let rebuilt = engine.rebuild_index(&mut |progress| steps.push(progress)).unwrap();

    assert_eq!(rebuilt.run_count, runs);
    let last = steps.last().unwrap();
    assert_eq!((last.done, last.total), (rebuilt.event_count, rebuilt.event_count));
    assert_eq!(verify(&disk).1, []);
    append(&engine, "order-1", 200, 40);
    assert_eq!(read_log(&engine, "stream:order-1").len(), 51);
    drop(engine);
    assert_eq!(read_log(&open(&disk).unwrap(), "").len(), 201);
    assert_ne!(try_read(&disk).unwrap(), expected, "one more is there");
}

#[test]
fn rebuilding_a_store_that_is_used_stops_when_it_is_told_to() {
    let disk = store(200);
    let engine = open(&disk).unwrap();

    let stopped = engine.rebuild_index(&mut |_| ControlFlow::Break(()));

    assert!(matches!(stopped, Err(RebuildError::Cancelled)), "{stopped:?}");
    assert_eq!(verify(&disk).1, []);
    assert_eq!(read_log(&engine, "").len(), 200);
}

#[test]
fn a_crash_while_the_index_of_a_store_that_is_used_is_built_again_does_no_harm() {
    let disk = store(120);
    let expected = try_read(&disk.fork()).unwrap();
    let whole = disk.fork();
    let engine = open(&whole).unwrap();
    let before = whole.calls();
    engine.rebuild_index(&mut |_| {}).unwrap();
    let count = whole.calls() - before;
    drop(engine);

    for call in (1..=count).step_by(5) {
        let disk = disk.fork();
        let engine = open(&disk).unwrap();
        disk.crash_at(disk.calls() + call);
        engine.rebuild_index(&mut |_| {}).unwrap_err();
        drop(engine);
        let disk = disk.crash(CrashPolicy::Random(call));

        assert_eq!(try_read(&disk).as_ref(), Some(&expected), "call {call}");
        assert_eq!(verify(&disk).1, [], "call {call}");
    }
}

#[test]
fn statistics_count_what_is_there() {
    let disk = store(200);
    let engine = open(&disk).unwrap();

    let stats = engine.stats().unwrap();

    let (verified, _) = verify(&disk);
    assert_eq!((stats.event_count, stats.last.get(), stats.stream_count), (200, 200, 4));
    assert_eq!(stats.segment_count, verified.segment_count);
    assert_eq!(stats.run_count, verified.run_count);
    assert_eq!((stats.rewritten_count, stats.torn_size), (0, 0));
    let log_size: usize =
        files(&disk, ".log").iter().map(|p| disk.contents(p).unwrap().len()).sum();
    let ballast = disk.contents(&Path::new(ROOT).join("ballast")).unwrap().len();
    assert_eq!(stats.log_size + stats.spare_size, (log_size + ballast) as u64);
    assert_eq!(list(&engine).len(), 4);
    assert_eq!(read_log(&engine, "").len(), 200);
}

#[test]
fn a_verification_ends_within_a_segment_when_nobody_wants_more() {
    let directory = tempfile::tempdir().unwrap();
    let engine = OpenOptions::new().create(true).open(directory.path()).unwrap();
    for _ in 0..24 {
        let event = NewEvent::json("Grown", format!("{:?}", "x".repeat(1 << 20))).unwrap();
        let stream = StreamName::new("a-1").unwrap();
        let append = Append::to_stream(stream, ExpectedRevision::Any, [event]);
        block_on(engine.append(append)).unwrap();
    }
    engine.close().unwrap();
    let run = |count_max: usize| {
        let mut told: Vec<Progress> = Vec::new();
        let mut damage = |damage| panic!("{damage:?}");
        let verified = quipu_engine::verify(directory.path(), &mut damage, &mut |own| {
            told.push(own);
            if told.len() < count_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        (verified, told)
    };

    let (verified, told) = run(usize::MAX);
    let verified = verified.unwrap();
    assert_eq!((verified.event_count, verified.segment_count), (24, 1));
    assert!(told.len() > 4, "{told:?}");
    assert!(told.is_sorted_by_key(|own| own.done));
    assert_eq!(told.last().map(|own| own.done), told.last().map(|own| own.total));

    let (cancelled, told) = run(2);
    assert!(matches!(cancelled, Err(VerifyError::Cancelled)), "{cancelled:?}");
    assert_eq!(told.len(), 2);
}
