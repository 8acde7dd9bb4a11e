//! Several at once: changes in one transaction, and readers beside a writer.

use quipu_core::{CheckpointError, LeaseError, Snapshot};

use super::*;
use crate::beside::side_store::FILE_NAME;

fn reader(disk: &SimDisk) -> Side {
    open_as(disk, Access::ReadOnly, Lives::first(log()))
}

#[test]
fn a_reader_sees_checkpoints_and_leases_beside_the_writer() {
    let disk = SimDisk::new(1);
    let (writer, reader) = (open(&disk), reader(&disk));
    assert_eq!(reader.checkpoint("a"), None);

    for position in 1..20 {
        let old = (position > 1).then(|| position - 1);
        writer.swap(swap("a", 0, old, position)).unwrap();
        assert_eq!(reader.checkpoint("a"), Some(position));
    }
    writer.acquire("a").unwrap();

    assert_eq!(block_on(reader.beside.leases().get("a")).unwrap().unwrap().epoch, 1);
    drop(writer);
    assert_eq!(reader.checkpoint("a"), Some(19));
}

#[test]
fn a_reader_changes_nothing() {
    let disk = SimDisk::new(1);
    let (writer, reader) = (open(&disk), reader(&disk));
    writer.swap(swap("a", 0, None, 1)).unwrap();
    let lease = writer.acquire("a").unwrap();
    let snapshot = Snapshot { position: Position::new(1), data: "a".into() };
    block_on(writer.beside.snapshots().put("a", snapshot.clone())).unwrap();
    let calls = disk.calls();

    assert!(matches!(reader.swap(swap("a", 0, Some(1), 2)), Err(CheckpointError::ReadOnly)));
    assert!(matches!(reader.acquire("b"), Err(LeaseError::ReadOnly)));
    let leases = reader.beside.leases();
    assert!(matches!(block_on(leases.release(&lease)), Err(LeaseError::ReadOnly)));
    assert!(block_on(reader.beside.snapshots().put("b", snapshot)).is_err());
    let missed = block_on(reader.beside.snapshots().get("a", Position::new(9))).unwrap();
    assert_eq!(missed, None, "snapshots are the writer's");
    assert_eq!(reader.checkpoint("a"), Some(1));
    drop(reader);

    assert_eq!(disk.calls(), calls, "not one call that changes the disk");
}

/// A reader copies the file while the writer is in the middle of something, at every point of it.
#[test]
fn a_reader_sees_a_whole_commit_whenever_it_looks() {
    let disk = SimDisk::new(1);
    let writer = open(&disk);
    writer.swap(swap("a", 0, None, 1)).unwrap();
    let first = disk.calls();
    writer.swap(swap("a", 0, Some(1), 2)).unwrap();
    let last = disk.calls();
    drop(writer);
    let mut seen = Vec::new();

    for call in first + 1..=last {
        let disk = SimDisk::new(1);
        let writer = open(&disk);
        writer.swap(swap("a", 0, None, 1)).unwrap();
        disk.crash_at(call);
        writer.swap(swap("a", 0, Some(1), 2)).unwrap_err();
        // What the writer has written so far, as another process sees it.
        let seen_now = reader(&disk.process_death()).checkpoint("a");
        seen.extend(seen_now);
    }

    assert_eq!(seen.len() as u64, last - first, "never nothing");
    assert!(seen.contains(&1) && seen.iter().all(|position| [1, 2].contains(position)));
}

#[test]
fn a_reader_finds_damage() {
    let disk = SimDisk::new(1);
    let writer = open(&disk);
    writer.swap(swap("a", 0, None, 1)).unwrap();
    drop(writer);
    let path = Path::new(DIR).join(FILE_NAME);
    let size = disk.contents(&path).unwrap().len() as u64;
    let mut found = 0;

    for offset in (0..size).step_by(97) {
        let disk = disk.fork();
        disk.flip_bit(&path, offset, 3);
        let read = block_on(reader(&disk).beside.checkpoints().get("a"));
        match read {
            Ok(read) => assert_eq!(read, Some(checkpoint(1)), "offset {offset}"),
            Err(CheckpointError::Storage(_)) => found += 1,
            Err(other) => panic!("offset {offset}: {other}"),
        }
    }
    assert!(found > 10, "{found} found");
}

#[test]
fn changes_that_wait_together_share_a_sync() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    side.swap(swap("first", 0, None, 1)).unwrap();
    let before = disk.calls();
    side.swap(swap("alone", 0, None, 1)).unwrap();
    let alone = disk.calls() - before;

    // The thread is busy until all of them wait.
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let busy = side.beside.side.run(move || receiver.recv().is_err());
    let names: Vec<_> = (0..50).map(|number| format!("consumer-{number}")).collect();
    let swaps = names.iter().map(|name| side.beside.checkpoints().swap(swap(name, 0, None, 1)));
    let mut swaps: Vec<_> = swaps.collect();
    let mut busy = Box::pin(busy);
    block_on(async {
        assert!(futures_lite::future::poll_once(&mut busy).await.is_none());
        for swap in &mut swaps {
            assert!(futures_lite::future::poll_once(swap).await.is_none());
        }
        drop(sender);
        assert!(busy.await.unwrap());
        for swap in swaps {
            swap.await.unwrap();
        }
    });

    let calls = disk.calls() - before - alone;
    assert!(calls < alone * 10, "{calls} calls for 50, {alone} for one");
    assert_eq!(block_on(side.beside.checkpoints().list()).unwrap().len(), 52);
}

/// Of two consumers that share a transaction, one refused, the other is not harmed.
#[test]
fn a_conflict_concerns_nobody_else_in_the_transaction() {
    let side = open(&SimDisk::new(1));
    side.swap(swap("a", 0, None, 1)).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut busy = Box::pin(side.beside.side.run(move || receiver.recv().is_err()));
    let mut good = side.beside.checkpoints().swap(swap("a", 0, Some(1), 2));
    let mut late = side.beside.checkpoints().swap(swap("a", 0, Some(1), 3));

    let (good, late) = block_on(async {
        assert!(futures_lite::future::poll_once(&mut busy).await.is_none());
        assert!(futures_lite::future::poll_once(&mut good).await.is_none());
        assert!(futures_lite::future::poll_once(&mut late).await.is_none());
        drop(sender);
        (good.await, late.await)
    });

    good.unwrap();
    let Err(CheckpointError::Moved { actual, .. }) = late else { panic!("{late:?}") };
    assert_eq!(actual, Some(Position::new(2)));
}
