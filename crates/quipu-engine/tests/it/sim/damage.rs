//! Bits that flip in a store that was closed: detected or harmless, never wrong data.

use quipu_core::EventStore;
use quipu_core::{Query, ReadAll, collect};
use quipu_engine::io::SeededBug;
use quipu_engine::io::sim::Chance;

use futures_lite::future::block_on;

use super::runs::run;
use super::view::View;
use super::workload::Workload;
use super::world::World;

pub(crate) const NAME: &str = "damage";
pub(crate) const COUNT: u64 = 2_000;
/// How many bits are flipped in one store, one at a time.
const FLIPS: u64 = 50;

#[test]
fn a_flipped_bit_is_detected_or_harmless() {
    let flips = run(NAME, "flipped bits", COUNT, |seed| trial(seed, None));

    assert!(flips > 0);
}

/// Flips bits of one store, each in a copy of its own. How many.
pub(crate) fn trial(seed: u64, bug: Option<SeededBug>) -> u64 {
    let mut chance = Chance::new(seed);
    let mut world = World::new(chance.number(), bug);
    let mut workload = Workload::new(chance.number());
    world.open().unwrap();
    for _ in 0..4 + chance.below(20) {
        let group = workload.group(world.last(), world.now());
        world.change(group);
    }
    world.engine().close().unwrap();
    world.engine = None;
    let scan = block_on(world.model.read_all(ReadAll::new(Query::all()))).unwrap();
    let known = block_on(collect(scan.batches)).unwrap();
    let should = View::of(&world.model, &known).unwrap();
    let whole = world.disk.clone();
    for _ in 0..FLIPS {
        world.disk = whole.fork();
        let files = world.disk.files();
        let path = &files[chance.below(files.len())];
        let size = world.disk.contents(path).map_or(0, |bytes| bytes.len());
        if size == 0 {
            continue;
        }
        let (offset, bit) = (chance.below(size) as u64, chance.below(8) as u32);
        world.disk.flip_bit(path, offset, bit);
        let found = world.open_damaged().and_then(|engine| View::of(&engine, &known).ok());
        if let Some(found) = found {
            found.compare(&should);
        }
    }
    FLIPS
}
