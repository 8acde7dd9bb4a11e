//! Snapshots, checkpoints and leases as their traits say.

use quipu_core::{CheckpointError, LeaseError, Snapshot};
use redb::ReadableTable as _;

use super::*;
use crate::beside::side_store::Change;
use crate::beside::tables::{CHECKPOINTS, LEASES, SNAPSHOTS};
use crate::io::SystemIo;

fn snapshot(position: u64, data: &'static str) -> Snapshot {
    Snapshot { position: Position::new(position), data: data.into() }
}

impl Side {
    fn put(&self, key: &str, snapshot: Snapshot) {
        block_on(self.beside.snapshots().put(key, snapshot)).unwrap();
    }

    fn snapshot(&self, key: &str, at: u64) -> Option<Snapshot> {
        block_on(self.beside.snapshots().get(key, Position::new(at))).unwrap()
    }

    /// Puts garbage in the place of a row.
    fn damage_rows(&self) {
        let damaged = self.beside.side.write(|transaction| {
            let mut snapshots = transaction.open_table(SNAPSHOTS).unwrap();
            snapshots.insert(("a", 20), b"garbage".as_slice()).unwrap();
            let mut checkpoints = transaction.open_table(CHECKPOINTS).unwrap();
            // Whole, but in the place of another one.
            let other = checkpoints.get("b").unwrap().unwrap().value().to_vec();
            checkpoints.insert("a", other.as_slice()).unwrap();
            let mut leases = transaction.open_table(LEASES).unwrap();
            leases.insert("a", b"".as_slice()).unwrap();
            Ok(Change::Made(()))
        });
        block_on(damaged).unwrap();
    }
}

#[test]
fn nothing_is_made_before_something_is_kept() {
    let disk = SimDisk::new(1);
    let side = open(&disk);

    assert_eq!(side.checkpoint("a"), None);
    assert_eq!(side.snapshot("a", 5), None);
    assert!(block_on(side.beside.checkpoints().list()).unwrap().is_empty());
    assert_eq!(block_on(side.beside.leases().get("a")).unwrap(), None);
    assert!(block_on(side.beside.registry().components()).unwrap().is_empty());
    assert_eq!(disk.calls(), 0);
}

#[test]
fn the_latest_snapshot_at_or_before_a_position_is_found() {
    let side = open(&SimDisk::new(1));
    side.put("a", snapshot(10, "ten"));
    side.put("a", snapshot(20, "twenty"));
    side.put("a\0", snapshot(15, "of another key"));

    assert_eq!(side.snapshot("a", 9), None);
    assert_eq!(side.snapshot("a", 19), Some(snapshot(10, "ten")));
    assert_eq!(side.snapshot("a", 20), Some(snapshot(20, "twenty")));
    side.put("a", snapshot(20, "again"));
    assert_eq!(side.snapshot("a", 500), Some(snapshot(20, "again")));
}

#[test]
fn pruning_keeps_the_newest_snapshots() {
    let side = open(&SimDisk::new(1));
    for position in [10, 20, 30] {
        side.put("a", snapshot(position, "a"));
        side.put("b", snapshot(position, "b"));
    }

    let pruned = block_on(side.beside.snapshots().prune("a", 1)).unwrap();

    assert_eq!(pruned, 2);
    assert_eq!(side.snapshot("a", 29), None);
    assert_eq!(side.snapshot("a", 30), Some(snapshot(30, "a")));
    assert_eq!(side.snapshot("b", 29), Some(snapshot(20, "b")));
}

/// After a restore the log may hold other events at the position of a snapshot.
#[test]
fn a_snapshot_of_a_life_that_ended_before_it_is_a_miss() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    side.put("a", snapshot(10, "shared"));
    side.put("a", snapshot(60, "of the past"));
    drop(side);
    let mut lives = Lives::first(log());
    lives.begin(Position::new(50));

    let side = open_as(&disk, Access::Writable, lives);

    assert_eq!(side.snapshot("a", 100), Some(snapshot(10, "shared")));
    side.put("a", snapshot(60, "of the present"));
    assert_eq!(side.snapshot("a", 100), Some(snapshot(60, "of the present")));
}

#[test]
fn damaged_rows_are_misses_or_errors_and_never_values() {
    let side = open(&SimDisk::new(1));
    side.put("a", snapshot(10, "whole"));
    side.put("a", snapshot(20, "damaged"));
    side.swap(swap("a", 0, None, 1)).unwrap();
    side.swap(swap("b", 0, None, 2)).unwrap();
    let lease = side.acquire("a").unwrap();

    side.damage_rows();

    assert_eq!(side.snapshot("a", 30), Some(snapshot(10, "whole")));
    let read = block_on(side.beside.checkpoints().get("a"));
    assert!(matches!(read, Err(CheckpointError::Storage(_))), "{read:?}");
    let swapped = side.swap(swap("a", 0, Some(2), 3));
    assert!(matches!(swapped, Err(CheckpointError::Storage(_))), "{swapped:?}");
    let acquired = side.acquire("a");
    assert!(matches!(acquired, Err(LeaseError::Storage(_))), "{acquired:?}");
    assert!(block_on(side.beside.leases().renew(&lease, Duration::ZERO)).is_err());
    assert_eq!(side.checkpoint("b"), Some(2), "the others are fine");
}

#[test]
fn a_checkpoint_moves_only_from_where_its_mover_believes_it_is() {
    let side = open(&SimDisk::new(1));

    side.swap(swap("a", 0, None, 5)).unwrap();
    let late = side.swap(swap("a", 0, None, 6));
    side.swap(swap("a", 0, Some(5), 3)).unwrap();

    let Err(CheckpointError::Moved { actual, .. }) = late else { panic!("{late:?}") };
    assert_eq!(actual, Some(Position::new(5)));
    assert_eq!(side.checkpoint("a"), Some(3));
    assert_eq!(block_on(side.beside.checkpoints().list()).unwrap(), ["a"]);
}

#[test]
fn a_checkpoint_is_refused_under_a_stale_epoch() {
    let side = open(&SimDisk::new(1));
    side.swap(swap("a", 3, None, 5)).unwrap();

    let stale = side.swap(swap("a", 2, Some(5), 6));

    let Err(CheckpointError::StaleEpoch { epoch, current, .. }) = stale else {
        panic!("{stale:?}")
    };
    assert_eq!((epoch, current), (2, 3));
    side.swap(swap("a", 4, Some(5), 6)).unwrap();
}

#[test]
fn a_checkpoint_that_this_log_cannot_go_on_from_is_refused_and_not_read() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    side.swap(swap("a", 0, None, 80)).unwrap();
    let beyond = side.swap(swap("a", 0, Some(80), 1_001));
    assert!(matches!(beyond, Err(CheckpointError::BeyondEnd { .. })), "{beyond:?}");
    side.frontier.store(1_001, Ordering::SeqCst);
    side.swap(swap("a", 0, Some(80), 1_001)).unwrap();
    side.swap(swap("a", 0, Some(1_001), 80)).unwrap();
    drop(side);
    let mut lives = Lives::first(log());
    lives.begin(Position::new(50));

    let side = open_as(&disk, Access::Writable, lives);

    let read = block_on(side.beside.checkpoints().get("a"));
    assert!(matches!(read, Err(CheckpointError::OtherLife { .. })), "{read:?}");
    side.swap(swap("a", 0, Some(80), 50)).unwrap();
    assert_eq!(side.checkpoint("a"), Some(50));
}

#[test]
fn names_have_bytes_and_not_too_many() {
    let side = open(&SimDisk::new(1));

    for name in [String::new(), "x".repeat(256)] {
        let swapped = side.swap(swap(&name, 0, None, 1));
        assert!(matches!(swapped, Err(CheckpointError::InvalidName)), "{swapped:?}");
        let acquired = side.acquire(&name);
        assert!(matches!(acquired, Err(LeaseError::InvalidName)), "{acquired:?}");
    }
    side.swap(swap(&"x".repeat(255), 0, None, 1)).unwrap();
}

#[test]
fn a_lease_is_held_by_one_until_it_expires() {
    let disk = SimDisk::new(1);
    let side = open(&disk);

    let first = side.acquire("a").unwrap();
    let refused = side.acquire("a");
    disk.advance(Duration::from_secs(9));
    let renewed = block_on(side.beside.leases().renew(&first, Duration::from_secs(10))).unwrap();
    disk.advance(Duration::from_secs(9));
    let still = side.acquire("a");
    disk.advance(Duration::from_secs(2));
    let second = side.acquire("a").unwrap();
    let lost = block_on(side.beside.leases().renew(&renewed, Duration::from_secs(10)));

    assert!(matches!(refused, Err(LeaseError::Held { .. })), "{refused:?}");
    assert!(matches!(still, Err(LeaseError::Held { .. })), "{still:?}");
    assert_eq!((first.epoch, renewed.epoch, second.epoch), (1, 1, 2));
    assert!(matches!(lost, Err(LeaseError::Lost { epoch: 1, .. })), "{lost:?}");
}

#[test]
fn a_released_lease_is_free_and_its_epoch_stays() {
    let side = open(&SimDisk::new(1));
    let first = side.acquire("a").unwrap();

    block_on(side.beside.leases().release(&first)).unwrap();

    let again = block_on(side.beside.leases().release(&first));
    assert!(matches!(again, Err(LeaseError::Lost { .. })), "{again:?}");
    assert_eq!(block_on(side.beside.leases().get("a")).unwrap().unwrap().epoch, 1);
    assert_eq!(side.acquire("a").unwrap().epoch, 2);
}

#[test]
fn what_was_kept_is_there_when_the_store_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || open_in(&SystemIo::new(), dir.path(), Access::Writable, Lives::first(log()));
    let side = open();
    side.put("a", snapshot(10, "ten"));
    side.swap(swap("a", 0, None, 5)).unwrap();
    side.acquire("a").unwrap();
    drop(side);

    let side = open();

    assert_eq!(side.snapshot("a", 10), Some(snapshot(10, "ten")));
    assert_eq!(side.checkpoint("a"), Some(5));
    assert!(matches!(side.acquire("a"), Err(LeaseError::Held { .. })));
}

#[test]
fn what_was_exported_is_there_after_import() {
    let side = open(&SimDisk::new(1));
    side.put("a", snapshot(10, "ten"));
    side.swap(swap("a", 3, None, 5)).unwrap();
    side.swap(swap("b", 0, None, 6)).unwrap();
    side.acquire("a").unwrap();
    let exported = block_on(side.beside.export()).unwrap();

    let other = open(&SimDisk::new(2));
    other.swap(swap("a", 9, None, 7)).unwrap();
    block_on(other.beside.import(&exported)).unwrap();

    assert_eq!(other.snapshot("a", 10), Some(snapshot(10, "ten")));
    assert_eq!((other.checkpoint("a"), other.checkpoint("b")), (Some(5), Some(6)));
    assert_eq!(block_on(other.beside.leases().get("a")).unwrap().unwrap().epoch, 1);
    let stale = other.swap(swap("a", 8, Some(5), 6));
    assert!(matches!(stale, Err(CheckpointError::StaleEpoch { current: 9, .. })), "{stale:?}");
}

#[test]
fn an_empty_side_is_exported_and_imported() {
    let exported = block_on(open(&SimDisk::new(1)).beside.export()).unwrap();

    let other = open(&SimDisk::new(2));
    block_on(other.beside.import(&exported)).unwrap();

    assert!(block_on(other.beside.checkpoints().list()).unwrap().is_empty());
}

#[test]
fn an_export_with_any_bit_flipped_or_cut_short_is_refused() {
    let side = open(&SimDisk::new(1));
    side.put("a", snapshot(10, "ten"));
    side.swap(swap("a", 0, None, 5)).unwrap();
    let exported = block_on(side.beside.export()).unwrap().to_vec();
    let refused = |bytes: &[u8]| {
        let imported = block_on(side.beside.import(bytes));
        matches!(imported, Err(BesideError::InvalidExport { .. }))
    };

    for size in 0..exported.len() {
        assert!(refused(&exported[..size]), "cut to {size}");
    }
    for bit in 0..exported.len() * 8 {
        let mut flipped = exported.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&flipped), "bit {bit}");
    }
}
