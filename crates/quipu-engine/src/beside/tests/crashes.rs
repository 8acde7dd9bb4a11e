//! What was acknowledged survives: power loss at every call, errors at every call, a full disk.

use std::collections::BTreeMap;

use quipu_core::CheckpointError;

use super::*;
use crate::io::sim::{Chance, CrashPolicy, Fault};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a store acknowledged, and what it was asked last and did not answer.
#[derive(Clone, Debug, Default)]
struct Expected {
    checkpoints: BTreeMap<&'static str, u64>,
    epochs: BTreeMap<&'static str, u64>,
    open_swap: Option<(&'static str, u64)>,
    open_lease: Option<&'static str>,
}

impl Expected {
    /// Checks a store that was opened after a crash. What was not answered may have happened.
    fn check(&mut self, side: &Side, what: &str) {
        for name in NAMES {
            let found = side.checkpoint(name);
            let acknowledged = self.checkpoints.get(name).copied();
            let maybe = self.open_swap.filter(|(swapped, _)| *swapped == name).map(|(_, new)| new);
            let is_expected = found == acknowledged || maybe.is_some() && found == maybe;
            assert!(is_expected, "{what}: {name} at {found:?}, acknowledged {acknowledged:?}");
            if let Some(found) = found {
                self.checkpoints.insert(name, found);
            }

            let lease = block_on(side.beside.leases().get(name)).unwrap();
            let found = lease.map_or(0, |lease| lease.epoch);
            let acknowledged = self.epochs.get(name).copied().unwrap_or(0);
            let most = acknowledged + u64::from(self.open_lease == Some(name));
            assert!((acknowledged..=most).contains(&found), "{what}: epoch {found} of {name}");
            self.epochs.insert(name, found);
        }
        self.open_swap = None;
        self.open_lease = None;
    }
}

/// Swaps and leases by chance, until one of them is not acknowledged. The clock is made to run so
/// fast that every lease has expired when it is asked for again.
fn work(side: &Side, chance: &mut Chance, expected: &mut Expected, steps: usize) -> bool {
    for _ in 0..steps {
        let name = NAMES[chance.below(NAMES.len())];
        if chance.coin() {
            let old = expected.checkpoints.get(name).copied();
            let new = 1 + chance.below(900) as u64;
            match side.swap(swap(name, 0, old, new)) {
                Ok(()) => _ = expected.checkpoints.insert(name, new),
                Err(CheckpointError::Storage(_)) => {
                    expected.open_swap = Some((name, new));
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        } else {
            match side.acquire(name) {
                Ok(lease) => {
                    let before = expected.epochs.insert(name, lease.epoch).unwrap_or(0);
                    assert_eq!(lease.epoch, before + 1, "epochs rise");
                }
                Err(quipu_core::LeaseError::Storage(_)) => {
                    expected.open_lease = Some(name);
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    true
}

fn fresh(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_clock_step(Duration::from_mins(1));
    disk
}

/// The seed that the environment asks for, or this one.
fn seed() -> u64 {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("QUIPU_SEED={seed}");
    seed
}

/// How many calls it takes to make the database and do some work.
fn calls_of(seed: u64, steps: usize) -> u64 {
    let disk = fresh(seed);
    let side = open(&disk);
    assert!(work(&side, &mut Chance::new(seed), &mut Expected::default(), steps));
    drop(side);
    disk.calls()
}

#[test]
fn power_loss_at_every_call_loses_nothing_that_was_acknowledged() {
    let seed = seed();
    let calls = calls_of(seed, 12);
    for call in 1..=calls {
        for trial in 0..3 {
            let what = format!("seed {seed}, call {call}, trial {trial}");
            let mut chance = Chance::new(seed);
            let mut expected = Expected::default();
            let mut disk = fresh(seed + trial);
            disk.crash_at(call);
            work(&open(&disk), &mut chance, &mut expected, 12);

            // Again and again, so that there are crashes during recovery, too.
            for round in 0..3 {
                let policy = match trial {
                    0 => CrashPolicy::LoseAll,
                    1 => CrashPolicy::KeepAll,
                    _ => CrashPolicy::Random(chance.number()),
                };
                disk = disk.crash(policy);
                let side = open(&disk);
                expected.check(&side, &format!("{what}, round {round}"));
                disk.crash_at(disk.calls() + 1 + chance.below(30) as u64);
                work(&side, &mut chance, &mut expected, 12);
            }
        }
    }
}

#[test]
fn what_a_lying_disk_lost_is_an_error_and_not_an_empty_database() {
    let disk = fresh(1);
    disk.ignore_syncs("side.redb");
    let side = open(&disk);
    side.swap(swap("a", 0, None, 1)).unwrap();

    let disk = disk.crash(CrashPolicy::LoseAll);
    drop(side);

    for access in [Access::Writable, Access::ReadOnly] {
        let side = open_as(&disk, access, Lives::first(log()));
        let read = block_on(side.beside.checkpoints().get("a"));
        assert!(matches!(read, Err(CheckpointError::Storage(_))), "{read:?}");
    }
}

#[test]
fn a_kill_followed_by_power_loss_loses_nothing_that_was_acknowledged() {
    let seed = seed();
    for call in 1..=calls_of(seed, 12) {
        let mut chance = Chance::new(seed);
        let mut expected = Expected::default();
        let disk = fresh(seed);
        disk.crash_at(call);
        work(&open(&disk), &mut chance, &mut expected, 12);

        let disk = disk.process_death();
        let side = open(&disk);
        expected.check(&side, &format!("seed {seed}, call {call}, killed"));
        work(&side, &mut chance, &mut expected, 2);
        let disk = disk.crash(CrashPolicy::LoseAll);

        drop(side);
        expected.check(&open(&disk), &format!("seed {seed}, call {call}, power lost"));
    }
}

#[test]
fn an_error_at_every_call_loses_nothing_that_was_acknowledged() {
    let seed = seed();
    for fault in [Fault::Device, Fault::Full, Fault::ShortWrite] {
        for call in 1..=calls_of(seed, 12) {
            let what = format!("seed {seed}, {fault:?} at {call}");
            let mut chance = Chance::new(seed);
            let mut expected = Expected::default();
            let disk = fresh(seed);
            disk.fail_at(call, fault);
            let side = open(&disk);
            work(&side, &mut chance, &mut expected, 12);
            let mut after = expected.clone();
            drop(side);

            // The process goes away; the system's memory stays.
            let disk = disk.process_death();
            let side = open(&disk);
            expected.check(&side, &what);
            // One step only: more would write anew what the failure may have left unwritten.
            assert!(work(&side, &mut chance, &mut expected, 1), "{what}");
            // What the system's memory showed and the disk does not hold must not matter.
            let disk = disk.crash(CrashPolicy::LoseAll);
            drop(side);
            expected.check(&open(&disk), &format!("{what}, then work, then a crash"));

            // The same, but the machine goes away.
            let disk = fresh(seed);
            disk.fail_at(call, fault);
            let side = open(&disk);
            work(&side, &mut Chance::new(seed), &mut Expected::default(), 12);
            let disk = disk.crash(CrashPolicy::Random(call));
            drop(side);
            after.check(&open(&disk), &format!("{what}, then a crash"));
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_kept_until_the_store_opens_again() {
    let disk = fresh(1);
    let side = open(&disk);
    side.swap(swap("a", 0, None, 1)).unwrap();
    disk.record_calls();
    side.swap(swap("a", 0, Some(1), 2)).unwrap();
    let calls = disk.recorded_calls();
    let sync = calls.iter().position(|call| call.starts_with("sync")).unwrap() as u64;
    disk.fail_at(disk.calls() + 1 + sync, Fault::Device);

    let failed = side.swap(swap("a", 0, Some(2), 3));
    let calls = disk.calls();
    let refused = side.swap(swap("a", 0, Some(2), 3));

    assert!(matches!(failed, Err(CheckpointError::Storage(_))), "{failed:?}");
    assert!(matches!(refused, Err(CheckpointError::Storage(_))), "{refused:?}");
    assert_eq!(disk.calls(), calls, "the disk is left alone");
}

#[test]
fn a_full_disk_stops_writing_and_not_reading_until_there_is_space() {
    let disk = fresh(1);
    let side = open(&disk);
    side.swap(swap("a", 0, None, 1)).unwrap();
    let data = Bytes::from(vec![7; 300_000]);
    let put = |position| {
        let snapshot =
            quipu_core::Snapshot { position: Position::new(position), data: data.clone() };
        block_on(side.beside.snapshots().put("big", snapshot))
    };
    disk.set_free_space(Some(100_000));

    let full = put(1);

    assert!(full.is_err());
    assert_eq!(side.checkpoint("a"), Some(1), "reads go on");
    side.swap(swap("a", 0, Some(1), 2)).unwrap();
    assert!(put(1).is_err(), "it is still full");
    disk.set_free_space(None);
    put(1).unwrap();
    assert_eq!(side.checkpoint("a"), Some(2));
    let disk = disk.crash(CrashPolicy::LoseAll);
    drop(side);
    assert_eq!(open(&disk).checkpoint("a"), Some(2));
}

#[test]
fn a_disk_that_fills_up_at_any_byte_loses_nothing() {
    let seed = seed();
    for free in (0..100_000).step_by(512) {
        let mut chance = Chance::new(seed);
        let mut expected = Expected::default();
        let disk = fresh(seed);
        disk.set_free_space(Some(free));
        let side = open(&disk);
        work(&side, &mut chance, &mut expected, 8);

        expected.check(&side, &format!("seed {seed}, {free} bytes free"));
        disk.set_free_space(None);
        assert!(work(&side, &mut chance, &mut expected, 8), "seed {seed}, {free} bytes free");
    }
}
