//! Every short workload, and a crash in every call of it.
//!
//! Most crash bugs need no more than three operations on a fresh store. A crash in an operation
//! before the last one is a crash at the end of a shorter workload, so that only the last
//! operation's calls are gone through.

use quipu_core::{Append, Change, EventId, ExpectedRevision, NewEvent, Query, StreamName};
use quipu_engine::io::sim::{Chance, CrashPolicy};

use super::workload::Step;
use super::world::{Outcome, World};

/// An operation is told how many went before it, for ids that differ.
type Operation = fn(u8) -> Step;

const ALPHABET: [Operation; 7] =
    [append, append_to_two, append_large, fill_run, delete, scavenge, reopen];

fn event(seed: u8, index: usize, size: usize) -> NewEvent {
    let mut id = [seed; 16];
    id[1..9].copy_from_slice(&(index as u64).to_le_bytes());
    let data = vec![b'0' + seed; size];
    NewEvent::json("Counted", data).unwrap().with_id(EventId::from_bytes(id)).with_tag("t").unwrap()
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn change(append: Append) -> Step {
    Step::Change(vec![append.into()])
}

fn append(seed: u8) -> Step {
    change(Append::to_stream(stream("a-1"), ExpectedRevision::Any, [event(seed, 0, 10)]))
}

/// Two appends in one group, the first to two streams, the second under a condition.
fn append_to_two(seed: u8) -> Step {
    let both = Append::new()
        .event(stream("a-1"), event(seed, 1, 600))
        .event(stream("b-1"), event(seed, 2, 10));
    let query = Query::stream(stream("c-1"));
    let guarded = Append::new().event(stream("c-1"), event(seed, 3, 10)).fail_if(query, None);
    Step::Change(vec![both.into(), guarded.into()])
}

/// Two of these do not fit one segment.
fn append_large(seed: u8) -> Step {
    change(Append::to_stream(stream("b-1"), ExpectedRevision::Any, [event(seed, 4, 9_000)]))
}

/// As many events as the index keeps in memory.
fn fill_run(seed: u8) -> Step {
    let events = (10..27).map(|index| event(seed, index, 5));
    change(Append::to_stream(stream("d-1"), ExpectedRevision::Any, events))
}

fn delete(seed: u8) -> Step {
    let id = EventId::from_bytes([100 + seed; 16]);
    Step::Change(vec![Change::Delete {
        stream: stream("a-1"),
        expected: ExpectedRevision::Any,
        id,
    }])
}

/// Ends the stream that [`fill_run`] writes to, and scavenges.
fn scavenge(seed: u8) -> Step {
    let id = EventId::from_bytes([200 + seed; 16]);
    let expected = ExpectedRevision::Any;
    Step::Scavenge(vec![Change::Tombstone { stream: stream("d-1"), expected, id }])
}

fn reopen(_seed: u8) -> Step {
    Step::Reopen
}

/// A seed with which the call that the process dies in is carried out. One that is not is as good
/// as a death right after the call before it.
fn seed() -> u64 {
    let dies_after = |seed: &u64| {
        let mut chance = Chance::new(*seed);
        chance.number();
        chance.coin()
    };
    (1..100).find(dies_after).expect("every other seed is one")
}

/// Every sequence of `count` operations.
fn workloads(count: usize) -> Vec<Vec<Operation>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = workloads(count - 1);
    ALPHABET
        .iter()
        .flat_map(|last| {
            shorter.iter().map(|before| before.iter().copied().chain([*last]).collect())
        })
        .collect()
}

/// Opens a new store and runs a workload in which the process dies in the given call of the last
/// operation. `None` where the operation has fewer calls.
fn run_into(workload: &[Operation], call: u64) -> Option<World> {
    let mut world = World::new(seed(), None);
    let Some((last, before)) = workload.split_last() else {
        // Nothing but the creation of the store.
        world.disk.crash_at(call);
        drop(world.open());
        return world.disk.is_crashed().then_some(world);
    };
    world.open().unwrap();
    for (index, operation) in before.iter().enumerate() {
        assert_eq!(world.step(operation(index as u8)), Outcome::Done);
    }
    world.disk.crash_at(world.disk.calls() + call);
    world.step(last(before.len() as u8));
    world.disk.is_crashed().then_some(world)
}

fn policies(seed: u64) -> [CrashPolicy; 4] {
    let random = |number| CrashPolicy::Random(seed.wrapping_mul(2) + number);
    [CrashPolicy::LoseAll, CrashPolicy::KeepAll, random(0), random(1)]
}

/// Runs a workload into every call, once for each policy. How many crashes that were.
fn crash_everywhere(workload: &[Operation], mut after: impl FnMut(World, u64)) -> u64 {
    let mut crashes = 0;
    for call in 1.. {
        for policy in policies(call) {
            let Some(mut world) = run_into(workload, call) else { return crashes };
            world.crash(policy);
            after(world, call);
            crashes += 1;
        }
    }
    crashes
}

#[test]
fn every_workload_of_three_operations_survives_a_crash_in_every_call() {
    let mut crashes = 0;

    let count = (0..=3).flat_map(workloads).map(|workload| {
        crashes += crash_everywhere(&workload, |mut world, _| world.recover());
    });
    let count = count.count();

    crate::sim::runs::say(&format!(
        "exhaustive: {crashes} crashes in {count} workloads of up to 3 operations"
    ));
    assert!(count == 1 + 7 + 49 + 343 && crashes > 5_000, "{count} {crashes}");
}

#[test]
fn every_workload_of_two_operations_survives_a_second_crash_in_recovery() {
    let mut crashes = 0;

    for workload in (0..=2).flat_map(workloads) {
        crash_everywhere(&workload, |world, call| crashes += crash_again(&workload, &world, call));
    }

    crate::sim::runs::say(&format!("exhaustive: {crashes} crashes in the recovery from a crash"));
    assert!(crashes > 10_000, "{crashes}");
}

/// Crashes in every call of the recovery. The first crash is repeated for each.
fn crash_again(workload: &[Operation], first: &World, call: u64) -> u64 {
    let mut crashes = 0;
    for second in 1.. {
        let Some(mut world) = run_into(workload, call) else { return crashes };
        world.crash(CrashPolicy::LoseAll);
        // The policy of the first crash is in the disk that it left.
        world.disk = first.disk.fork();
        world.disk.crash_at(second);
        let opened = world.open().is_ok();
        if !world.disk.is_crashed() {
            assert!(opened);
            return crashes;
        }
        world.crash(policies(call + second)[second as usize % 4]);
        world.recover();
        crashes += 1;
    }
    crashes
}
