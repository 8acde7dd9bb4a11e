//! A full disk: at every size, and at every call.

use quipu_core::{
    Append, AppendError, Change, EventId, EventStore, ExpectedRevision, NewEvent, StreamName,
};
use quipu_engine::OpenError;
use quipu_engine::io::SeededBug;
use quipu_engine::io::sim::{Chance, CrashPolicy, Fault};

use futures_lite::future::block_on;

use super::errors::open_at_last;
use super::runs::run;
use super::workload::Workload;
use super::world::{Outcome, World};

pub(crate) const NAME: &str = "full disk";
/// How many workloads are gone through, each with every size of disk.
pub(crate) const COUNT: u64 = 6;
const SECTOR: u64 = 512;

#[test]
fn a_full_disk_refuses_appends_until_there_is_space_again() {
    let mut sizes = 0;

    let workloads = run(NAME, "workloads", COUNT, |seed| {
        sizes += trial(seed, None);
        1
    });

    crate::sim::runs::say(&format!("full disk: {sizes} sizes in {workloads} workloads"));
    assert!(sizes > 300, "{sizes}");
}

/// One workload with every size of disk from none on, up to the first that is enough for it.
pub(crate) fn trial(seed: u64, bug: Option<SeededBug>) -> u64 {
    for sectors in 0.. {
        if !fill_up(seed, bug, sectors * SECTOR) {
            return sectors;
        }
    }
    0
}

/// Runs a workload on a disk of `size` bytes. Whether anything was refused.
fn fill_up(seed: u64, bug: Option<SeededBug>, size: u64) -> bool {
    let mut chance = Chance::new(seed);
    let mut world = World::new(chance.number(), bug);
    let mut workload = Workload::new(chance.number());
    world.disk.set_free_space(Some(size));
    if let Err(error) = world.open() {
        assert!(matches!(&error, OpenError::Disk(error) if error.is_disk_full()), "{error:?}");
        world.disk.set_free_space(None);
        world.recover();
        return true;
    }
    let mut refused = Vec::new();
    for _ in 0..20 {
        let group = workload.group(world.last(), world.now());
        let outcome = world.change(group.clone());
        assert_ne!(outcome, Outcome::Failed, "a full disk is no failure");
        if outcome == Outcome::Full {
            world.look();
            refused = group;
        }
    }
    world.disk.set_free_space(None);
    let was_refused = !refused.is_empty();
    assert_eq!(world.change(refused), Outcome::Done, "space is back, and nothing was opened again");
    world.look();
    world.crash(CrashPolicy::Random(chance.number()));
    world.recover();
    was_refused
}

#[test]
fn a_full_disk_at_any_call_loses_nothing() {
    let mut calls = 0;

    let workloads = run("full disk at a call", "workloads", COUNT, |seed| {
        let reached = (1..).take_while(|n| fail_full_at(seed, *n));
        calls += reached.count() as u64;
        1
    });

    crate::sim::runs::say(&format!("full disk: {calls} refused calls in {workloads} workloads"));
    assert!(calls > 100, "{calls}");
}

/// Runs a workload whose n-th changing call finds the disk full. Whether there was such a call.
fn fail_full_at(seed: u64, n: u64) -> bool {
    let mut chance = Chance::new(seed);
    let mut world = World::new(chance.number(), None);
    let mut workload = Workload::new(chance.number());
    world.disk.fail_at(n, Fault::Full);
    let died_at = open_at_last(&mut world);
    for _ in 0..8 {
        let group = workload.group(world.last(), world.now());
        if world.change(group.clone()) == Outcome::Full {
            // The call is over, and with it the lack of space.
            assert_eq!(world.change(group), Outcome::Done);
        }
    }
    let reached = died_at.is_some() || world.disk.calls() >= n;
    world.look();
    world.crash(CrashPolicy::Random(chance.number()));
    world.recover();
    reached
}

#[test]
fn a_delete_finds_room_on_a_disk_that_is_full_for_events() {
    let mut world = World::new(1, None);
    world.open().unwrap();
    let mut chance = Chance::new(1);
    for _ in 0..12 {
        assert_eq!(world.change(vec![append_of(4_000, &mut chance)]), Outcome::Done);
    }
    world.disk.set_free_space(Some(0));
    while world.change(vec![append_of(1, &mut chance)]) == Outcome::Done {}

    for number in 0..4 {
        let stream = StreamName::new("large-1").unwrap();
        let id = EventId::from_bytes([number; 16]);
        let metadata = format!("{{\"$maxCount\":{}}}", number + 1).into();
        let expected = ExpectedRevision::Any;
        let change = Change::SetMetadata { stream, expected, id, metadata };
        assert_eq!(world.change(vec![change]), Outcome::Done, "metadata {number}");
    }
    let still = block_on(world.engine().change(append_of(1, &mut chance)));

    assert!(matches!(still, Err(AppendError::DiskFull)), "{still:?}");
    world.look();
}

fn append_of(size: usize, chance: &mut Chance) -> Change {
    let mut id = [0; 16];
    chance.fill(&mut id);
    let event = NewEvent::json("Large", vec![b'1'; size]).unwrap().with_id(EventId::from_bytes(id));
    let stream = StreamName::new("large-1").unwrap();
    Append::to_stream(stream, ExpectedRevision::Any, [event]).into()
}
