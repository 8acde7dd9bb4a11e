//! Backups, and stores restored from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::block_on;
use quipu_core::{
    Append, Checkpoint, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, RecordedEvent,
    Snapshot, StreamName, collect,
};
use quipu_engine::io::sim::{CrashPolicy, SimDisk};
use quipu_engine::{
    BackupError, Engine, OpenOptions, Progress, RestoreError, ScavengeOptions, restore,
    restore_with,
};

fn small() -> OpenOptions {
    OpenOptions::new().create(true).segment_size(16 << 10).run_count(16)
}

fn append(engine: &Engine, number: u32) {
    let name = StreamName::new(format!("order-{}", number % 10)).unwrap();
    let event = NewEvent::json("OrderPlaced", format!("{{\"number\":{number}}}"))
        .unwrap()
        .with_tag(&format!("kind:{}", number % 7))
        .unwrap();
    let append = Append::to_stream(name, ExpectedRevision::Any, [event]);
    block_on(engine.append(append)).unwrap();
}

fn all(engine: &Engine) -> Vec<RecordedEvent> {
    block_on(async {
        let all = engine.read_all(ReadAll::new(Query::all())).await.unwrap();
        collect(all.batches).await.unwrap()
    })
}

fn quiet(_: Progress) {}

/// A store of several segments and runs, and where backups of it can go.
fn filled() -> (tempfile::TempDir, Engine, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let engine = small().open(directory.path().join("store")).unwrap();
    for number in 0..400 {
        append(&engine, number);
    }
    let backup = directory.path().join("backup");
    (directory, engine, backup)
}

#[test]
fn a_backup_is_a_store_with_the_same_events() {
    let (_directory, engine, backup) = filled();
    let mut reports = Vec::new();

    let backed_up = engine.backup(&backup, &mut |progress| reports.push(progress)).unwrap();

    assert_eq!(backed_up.frontier.get(), 400);
    assert!(backed_up.segment_count > 1);
    assert!(reports.windows(2).all(|pair| pair[0].done <= pair[1].done));
    let last = reports.last().unwrap();
    assert_eq!((last.done, last.unit), (last.total, "bytes"));
    let copy = OpenOptions::new().read_only(true).open(&backup).unwrap();
    assert_eq!(all(&copy), all(&engine));
    assert_eq!(copy.identity(), engine.identity());
    // A backup needs no work of recovery beyond the events that were in no run.
    assert_eq!(copy.recovery().lost_run_count, 0);
    assert!(copy.recovery().indexed_count < 400);
}

#[test]
fn a_backup_made_under_load_holds_all_that_was_acknowledged_before_it() {
    let (_directory, engine, backup) = filled();
    let is_done = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 400;
            while !is_done.load(Ordering::Acquire) {
                append(&engine, number);
                number += 1;
            }
        });
        for round in 0..5 {
            let path = backup.with_extension(round.to_string());
            let before = block_on(engine.frontier()).unwrap();
            let backed_up = engine.backup(&path, &mut quiet).unwrap();
            assert!(backed_up.frontier >= before);
            let copy = OpenOptions::new().read_only(true).open(&path).unwrap();
            let copied = all(&copy);
            assert_eq!(copied.len() as u64, backed_up.frontier.get());
            assert_eq!(copied[..], all(&engine)[..copied.len()]);
        }
        is_done.store(true, Ordering::Release);
    });
}

#[test]
fn a_reader_beside_the_writer_makes_backups_too() {
    let (directory, engine, backup) = filled();
    let reader = OpenOptions::new().read_only(true).open(directory.path().join("store")).unwrap();
    append(&engine, 400);

    let backed_up = reader.backup(&backup, &mut quiet).unwrap();

    assert_eq!(backed_up.frontier.get(), 401);
    let copy = OpenOptions::new().read_only(true).open(&backup).unwrap();
    assert_eq!(all(&copy), all(&engine));
}

#[test]
fn a_restored_store_has_the_events_in_a_new_life_and_goes_on() {
    let (directory, engine, backup) = filled();
    engine.backup(&backup, &mut quiet).unwrap();
    append(&engine, 400);
    let dest = directory.path().join("restored");

    let restored = restore(&backup, &dest, &mut quiet).unwrap();

    assert_eq!(restored.frontier.get(), 400);
    let own = engine.identity();
    assert_eq!(restored.identity.log, own.log);
    assert_eq!(restored.identity.incarnation.get(), own.incarnation.get() + 1);
    let second = small().open(&dest).unwrap();
    assert_eq!(second.identity(), restored.identity);
    assert_eq!(all(&second)[..], all(&engine)[..400]);
    append(&second, 7);
    assert_eq!(all(&second).len(), 401);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 3, "nothing stays beside the restored store: {names:?}");
}

#[test]
fn what_is_beside_the_log_comes_along() {
    let (directory, engine, backup) = filled();
    let snapshot =
        Snapshot { position: block_on(engine.frontier()).unwrap(), data: "state".into() };
    block_on(engine.snapshots().put("order", snapshot.clone())).unwrap();

    engine.backup(&backup, &mut quiet).unwrap();
    restore(&backup, directory.path().join("restored"), &mut quiet).unwrap();

    // Only who may write looks at snapshots: for a reader they are not worth a copy.
    for path in [backup, directory.path().join("restored")] {
        let copy = OpenOptions::new().open(path).unwrap();
        let found = block_on(copy.snapshots().get("order", snapshot.position)).unwrap();
        assert_eq!(found, Some(snapshot.clone()));
    }
}

#[test]
fn checkpoints_beyond_the_backup_are_of_another_life() {
    let (directory, engine, backup) = filled();
    engine.backup(&backup, &mut quiet).unwrap();
    append(&engine, 400);
    let lost = Checkpoint::new(block_on(engine.frontier()).unwrap(), &engine.identity());
    let dest = directory.path().join("restored");
    restore(&backup, &dest, &mut quiet).unwrap();
    let second = small().open(&dest).unwrap();
    append(&second, 400);

    let swap = |new| quipu_core::SwapCheckpoint {
        name: "projection".to_owned(),
        epoch: 0,
        old: None,
        new,
    };
    let refused = block_on(second.checkpoints().swap(swap(lost)));
    let kept = Checkpoint { position: quipu_core::Position::new(400), ..lost };
    let accepted = block_on(second.checkpoints().swap(swap(kept)));

    assert!(matches!(refused, Err(quipu_core::CheckpointError::OtherLife { .. })), "{refused:?}");
    accepted.unwrap();
}

#[test]
fn a_scavenged_store_is_backed_up_and_restored_with_its_stubs() {
    let (directory, engine, backup) = filled();
    let reader = OpenOptions::new().read_only(true).open(directory.path().join("store")).unwrap();
    for number in 0..5 {
        let name = StreamName::new(format!("order-{number}")).unwrap();
        let metadata = "{\"$maxCount\":2}".into();
        block_on(engine.set_metadata(name, ExpectedRevision::NoStream, metadata)).unwrap();
    }
    let before = all(&reader);
    let options = ScavengeOptions::new().threshold_percent(0);
    let scavenged = engine.scavenge_with(options, &mut quiet).unwrap();
    assert!(scavenged.event_count > 100, "{scavenged:?}");
    append(&engine, 400);

    // The reader goes on with the files it has open; a backup it makes is of a store that is whole.
    assert!(all(&reader).len() >= all(&engine).len());
    assert_eq!(before.len(), 405);
    let backed_up = reader.backup(backup.with_extension("reader"), &mut quiet).unwrap();
    assert_eq!(backed_up.frontier.get(), 406);
    engine.backup(&backup, &mut quiet).unwrap();
    let dest = directory.path().join("restored");
    restore(&backup, &dest, &mut quiet).unwrap();

    let second = small().open(&dest).unwrap();
    assert_eq!(all(&second), all(&engine));
    assert_eq!(second.recovery().event_count, 406);
    append(&second, 401);
    assert_eq!(all(&second).len(), all(&engine).len() + 1);
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let (directory, engine, backup) = filled();
    let full = directory.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "precious").unwrap();
    engine.backup(&backup, &mut quiet).unwrap();

    let refused_backup = engine.backup(&full, &mut quiet);
    let refused_restore = restore(&backup, &full, &mut quiet);

    assert!(matches!(refused_backup, Err(BackupError::NotEmpty { .. })));
    assert!(matches!(refused_restore, Err(RestoreError::NotEmpty { .. })));
    assert_eq!(std::fs::read_to_string(full.join("mine")).unwrap(), "precious");
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    restore(&backup, &empty, &mut quiet).unwrap();
    assert_eq!(all(&small().open(&empty).unwrap()).len(), 400);
}

#[test]
fn an_empty_store_can_be_backed_up_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    let engine = small().name("shop").open(directory.path().join("store")).unwrap();
    let backup = directory.path().join("backup");

    engine.backup(&backup, &mut quiet).unwrap();
    let restored = restore(&backup, directory.path().join("new"), &mut quiet).unwrap();

    assert_eq!(restored.frontier.get(), 0);
    assert_eq!(restored.identity.name, "shop");
    let second = small().open(directory.path().join("new")).unwrap();
    append(&second, 1);
    assert_eq!(all(&second).len(), 1);
}

/// A store on a simulated disk, with a backup of it.
fn simulated(seed: u64) -> (SimDisk, Engine) {
    let disk = SimDisk::new(seed);
    let io = Arc::new(disk.clone());
    let engine = small().inline(true).io(io).open("/store").unwrap();
    for number in 0..150 {
        append(&engine, number);
    }
    (disk, engine)
}

#[test]
fn a_restore_refuses_every_damaged_byte_of_a_segment_and_names_its_place() {
    let (disk, engine) = simulated(3);
    engine.backup("/backup", &mut quiet).unwrap();
    let segment = Path::new("/backup/segments/00000001.log");
    let size = disk.contents(segment).unwrap().len() as u64;

    for offset in (0..size).step_by(97) {
        let damaged = disk.fork();
        damaged.flip_bit(segment, offset, (offset % 8) as u32);
        let io = Arc::new(damaged.clone());
        let result = restore_with(io, "/backup", "/restored", &mut quiet);
        match result {
            Err(RestoreError::Damaged(corrupt)) => {
                assert_eq!(corrupt.file, segment, "byte {offset}");
                assert!(corrupt.offset <= offset, "byte {offset}: {corrupt}");
            }
            other => {
                // The zeros that align a batch carry nothing.
                other.unwrap();
                let io = Arc::new(damaged);
                let copy = small().inline(true).io(io).open("/restored").unwrap();
                assert_eq!(all(&copy), all(&engine), "byte {offset}");
            }
        }
    }
}

#[test]
fn a_backup_that_was_cut_off_is_not_a_store_or_is_whole() {
    let (disk, engine) = simulated(5);
    let events = all(&engine);
    drop(engine);
    let begin = {
        let disk = disk.fork();
        let before = disk.calls();
        let io = Arc::new(disk.clone());
        let engine = small().inline(true).io(io).open("/store").unwrap();
        let opened = disk.calls();
        engine.backup("/backup", &mut quiet).unwrap();
        (opened - before, disk.calls() - before)
    };

    for call in begin.0..begin.1 {
        let disk = disk.fork();
        disk.crash_at(disk.calls() + call + 1);
        let io = Arc::new(disk.clone());
        if let Ok(engine) = small().inline(true).io(io).open("/store") {
            drop(engine.backup("/backup", &mut quiet));
        }
        let found = disk.crash(CrashPolicy::Random(call));
        let io = Arc::new(found);
        match OpenOptions::new().read_only(true).inline(true).io(io).open("/backup") {
            Ok(copy) => assert_eq!(all(&copy), events, "call {call}"),
            Err(
                quipu_engine::OpenError::Missing { .. } | quipu_engine::OpenError::NotAStore { .. },
            ) => {}
            // A manifest that was being written for the first time.
            Err(quipu_engine::OpenError::Disk(quipu_engine::DiskError::Corrupt(corrupt))) => {
                assert!(corrupt.file.starts_with("/backup/manifest-b"), "call {call}: {corrupt}");
            }
            Err(error) => panic!("call {call}: {error:?}"),
        }
    }
}

#[test]
fn a_restore_that_was_cut_off_leaves_nothing_under_the_name_or_all() {
    let (disk, engine) = simulated(8);
    let events = all(&engine);
    engine.backup("/backup", &mut quiet).unwrap();
    drop(engine);
    let whole = disk.fork();
    let before = whole.calls();
    restore_with(Arc::new(whole.clone()), "/backup", "/restored", &mut quiet).unwrap();
    let count = whole.calls() - before;

    for call in 1..=count {
        let disk = disk.fork();
        disk.crash_at(disk.calls() + call);
        drop(restore_with(Arc::new(disk.clone()), "/backup", "/restored", &mut quiet));
        let found = disk.crash(CrashPolicy::Random(call));
        let io = Arc::new(found.clone());
        match small().create(false).inline(true).io(io).open("/restored") {
            Ok(copy) => assert_eq!(all(&copy), events, "call {call}"),
            Err(quipu_engine::OpenError::Missing { .. }) => {
                // The next attempt takes over what this one left behind.
                let io = Arc::new(found);
                restore_with(Arc::clone(&io) as _, "/backup", "/restored", &mut quiet).unwrap();
                let copy = small().inline(true).io(io).open("/restored").unwrap();
                assert_eq!(all(&copy), events, "call {call}");
            }
            Err(error) => panic!("call {call}: {error:?}"),
        }
    }
}
