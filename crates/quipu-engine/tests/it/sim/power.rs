//! Power losses and deaths of the process, at random calls.

use quipu_engine::io::SeededBug;
use quipu_engine::io::sim::{Chance, CrashPolicy};

use super::runs::run;
use super::workload::{Step, Workload};
use super::world::{Outcome, World, assert_not_corrupt};

pub(crate) const NAME: &str = "power loss";
pub(crate) const COUNT: u64 = 10_000;

#[test]
fn what_was_acknowledged_survives_ten_thousand_power_losses() {
    let crashes = run(NAME, "crashes", COUNT, |seed| trial(seed, None));

    assert!(crashes > 0);
}

/// A store that lives a few times, each time up to a crash. How often the power failed.
pub(crate) fn trial(seed: u64, bug: Option<SeededBug>) -> u64 {
    let mut chance = Chance::new(seed);
    let mut world = World::new(chance.number(), bug);
    let mut workload = Workload::new(chance.number());
    let mut crashes = 0;
    for _ in 0..2 + chance.below(5) {
        let calls = if chance.below(4) == 0 { 16 } else { 150 };
        world.disk.crash_at(1 + chance.below(calls) as u64);
        live(&mut world, &mut workload, &mut chance);
        if chance.below(6) == 0 {
            world.die();
        } else {
            world.crash(policy(&mut chance));
            crashes += 1;
        }
    }
    world.recover();
    for _ in 0..3 {
        let group = workload.group(world.last(), world.now());
        world.change(group);
    }
    assert_eq!(world.step(Step::Reopen), Outcome::Done);
    world.look();
    crashes
}

fn policy(chance: &mut Chance) -> CrashPolicy {
    match chance.below(8) {
        0 => CrashPolicy::KeepAll,
        1 => CrashPolicy::LoseAll,
        _ => CrashPolicy::Random(chance.number()),
    }
}

/// Opens the store and works with it until it crashes or has done enough.
fn live(world: &mut World, workload: &mut Workload, chance: &mut Chance) {
    if let Err(error) = world.open() {
        assert!(world.disk.is_crashed(), "the store opens: {error}: {error:?}");
        assert_not_corrupt(&error);
        return;
    }
    if !world.disk.is_crashed() {
        world.look();
        match chance.below(4) {
            // What was torn must not be there a second time.
            0 => _ = world.step(Step::Reopen),
            // Not the same bytes in the place of those that were torn.
            1 => _ = world.step(workload.next(world.last(), world.now())),
            _ => {}
        }
        if !world.disk.is_crashed() {
            world.retry();
        }
    }
    for _ in 0..5 + chance.below(40) {
        if world.disk.is_crashed() {
            return;
        }
        let step = workload.next(world.last(), world.now());
        world.step(step);
    }
}
