//! Disks that fail and machines that lose power while a run is written.

use quipu_core::StreamName;

use super::super::{Index, IndexError, Run, RunHeader};
use super::model::{id, key, origin};
use super::runs::{dir, disk};
use crate::format::run::RunName;
use crate::io::sim::{CrashPolicy, Fault, SimDisk};
use crate::io::{Io, SeededBug};

fn full_index() -> Index {
    let index = Index::new(origin(), 6_000, 1, Vec::new()).unwrap();
    let stream_names = index.hasher().stream_names();
    for position in 1..=6_001 {
        index.add(&[key(position), key(1), stream_names], id(position));
    }
    index
}

fn seal(index: &Index, disk: &SimDisk) -> Result<Option<std::sync::Arc<Run>>, IndexError> {
    index.seal(disk, &dir(), u64::MAX, |position| {
        Ok(StreamName::new(format!("order-{position}")).ok())
    })
}

const NAME: RunName = RunName { level: 0, first: 1, last: 6_000 };

fn check(disk: &SimDisk) -> Result<(), IndexError> {
    Run::open(disk, &dir(), RunHeader { origin: origin(), name: NAME })?.verify()
}

fn is_there(disk: &SimDisk) -> bool {
    disk.contents(&dir().join(NAME.to_string())).is_some()
}

fn calls_of_a_seal(index: &Index) -> u64 {
    let disk = disk();
    let before = disk.calls();
    seal(index, &disk).unwrap();
    disk.calls() - before
}

#[test]
fn a_run_that_could_not_be_written_is_written_later() {
    let index = full_index();
    let calls = calls_of_a_seal(&index);
    assert!(calls > 8, "a run takes {calls} calls");

    for call in 1..=calls {
        for fault in [Fault::Device, Fault::Full, Fault::ShortWrite, Fault::TooManyFiles] {
            let disk = disk();
            disk.fail_at(disk.calls() + call, fault);

            let failed = seal(&index, &disk);
            let again = seal(&index, &disk);

            assert!(matches!(failed, Err(IndexError::Io { .. })), "call {call}: {failed:?}");
            assert!(again.is_ok(), "call {call}: {again:?}");
            assert!(check(&disk).is_ok());
            assert_eq!(disk.files().len(), 1, "nothing else is left: {:?}", disk.files());
        }
    }
}

#[test]
fn a_full_disk_gets_its_space_back() {
    let index = full_index();
    let disk = disk();
    disk.set_free_space(Some(100_000));

    let failed = seal(&index, &disk);

    assert!(matches!(failed, Err(IndexError::Io { .. })), "{failed:?}");
    assert_eq!(disk.used_space(), 0);
}

/// A run has its name only when all of its bytes are on the disk, whenever the power goes.
#[test]
fn a_crash_leaves_a_whole_run_or_none() {
    let index = full_index();
    let calls = calls_of_a_seal(&index);

    for call in 1..=calls + 1 {
        for seed in 0..6 {
            let disk = disk();
            disk.crash_at(disk.calls() + call);
            let sealed = seal(&index, &disk);
            let policy = if seed == 0 { CrashPolicy::LoseAll } else { CrashPolicy::Random(seed) };
            let found = disk.crash(policy);

            assert_eq!(sealed.is_ok(), call > calls, "the process died in call {call}");
            if is_there(&found) {
                assert!(check(&found).is_ok(), "call {call}, {policy:?}");
            }
            assert!(is_there(&found) || sealed.is_err(), "an answered run is there");
            assert!(seal(&index, &found).is_ok(), "what is left is no obstacle");
        }
    }
}

/// The test above would notice a run that is named before it is synced.
#[test]
fn a_run_that_is_not_synced_would_be_noticed() {
    let index = full_index();

    let damaged = (0..20).any(|seed| {
        let disk = disk();
        disk.seed_bug(SeededBug::IndexBeforeRunSynced);
        seal(&index, &disk).unwrap();
        let found = disk.crash(CrashPolicy::Random(seed));
        check(&found).is_err()
    });

    assert!(damaged);
}

#[test]
fn a_process_that_died_leaves_no_obstacle() {
    let index = full_index();
    let disk = disk();
    let temporary = dir().join(format!("{NAME}.tmp"));
    disk.create(&temporary).unwrap().write_at(&[7; 3_000], 0).unwrap();

    let restarted = disk.process_death();
    seal(&index, &restarted).unwrap();

    assert!(check(&restarted).is_ok());
    assert_eq!(restarted.files().len(), 1, "{:?}", restarted.files());
}
