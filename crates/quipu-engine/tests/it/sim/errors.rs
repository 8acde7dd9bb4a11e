//! A failure of the n-th call, for every n: writes, syncs, reads, opens, renames, lists, removals.

use quipu_engine::io::SeededBug;
use quipu_engine::io::sim::{Chance, CrashPolicy, Fault};

use super::runs::run;
use super::workload::Workload;
use super::world::{Outcome, World, assert_not_corrupt};

pub(crate) const NAME: &str = "errors";
/// How many workloads are gone through, every call of each.
pub(crate) const COUNT: u64 = 20;

#[test]
fn a_call_that_fails_stops_the_store_and_acknowledges_nothing_false() {
    let mut failures = 0;

    let workloads = run(NAME, "workloads", COUNT, |seed| {
        failures += trial(seed, None);
        1
    });

    crate::sim::runs::say(&format!("errors: {failures} failed calls in {workloads} workloads"));
    assert!(failures > 1_000, "{failures}");
}

/// One workload, as often as it has calls. How many that were.
pub(crate) fn trial(seed: u64, bug: Option<SeededBug>) -> u64 {
    let fault = [Fault::Device, Fault::Device, Fault::ShortWrite, Fault::TooManyFiles];
    let fault = fault[(seed % 4) as usize];
    for n in 1.. {
        let [after_death, after_loss] =
            [Ending::Death, Ending::PowerLoss].map(|ending| fail_at(seed, bug, n, fault, ending));
        assert_eq!(after_death, after_loss, "both ran the same calls");
        if after_death == Reach::Beyond {
            return n - 1;
        }
    }
    0
}

/// What comes after the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Death,
    PowerLoss,
}

/// Whether the workload came to the call that was to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Within,
    Beyond,
}

fn fail_at(seed: u64, bug: Option<SeededBug>, n: u64, fault: Fault, ending: Ending) -> Reach {
    let mut chance = Chance::new(seed);
    let mut world = World::new(chance.number(), bug);
    let mut workload = Workload::new(chance.number());
    world.disk.count_reads();
    world.disk.fail_at(n, fault);
    let died_at = open_at_last(&mut world);
    for _ in 0..8 {
        let group = workload.group(world.last(), world.now());
        if world.engine.is_some() && world.change(group) == Outcome::Failed {
            // Only opening anew helps, and whoever asks is told so.
            let group = workload.group(world.last(), world.now());
            world.change(group);
        }
    }
    let is_reached = died_at.is_some() || world.disk.calls() >= n;
    let reach = if is_reached { Reach::Within } else { Reach::Beyond };
    if reach == Reach::Within && world.engine.is_some() {
        world.look();
    }
    match ending {
        Ending::Death => {
            world.die();
            world.recover();
            world.crash(CrashPolicy::LoseAll);
        }
        Ending::PowerLoss if chance.coin() => world.crash(CrashPolicy::LoseAll),
        Ending::PowerLoss => world.crash(CrashPolicy::Random(chance.number())),
    }
    world.recover();
    reach
}

/// A store that did not open because of one failed call opens for the next process. The call at
/// which the first one gave up, if it did. That it is the next process is due to failed syncs of
/// directories: file systems make nothing durable after them for as long as they go on.
pub(crate) fn open_at_last(world: &mut World) -> Option<u64> {
    let error = world.open().err()?;
    assert_not_corrupt(&error);
    let calls = world.disk.calls();
    world.die();
    world.open().unwrap_or_else(|error| panic!("the second attempt: {error:?}"));
    Some(calls)
}
