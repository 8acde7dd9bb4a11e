//! Whether a snapshot leads to the same state as the events that it stands for.

use super::world::World;
use crate::command::Events;
use crate::model::Evolve;
use crate::upcast::Upcasters;

/// Checks that a model's state is the same whether it was folded from all events or went through a
/// snapshot on the way, wherever that was.
///
/// A field that is left out of the serialized state is found here.
///
/// # Panics
///
/// If the states differ, or the model keeps no snapshots.
///
/// ```
/// use quipu::testing::snapshot_matches_fold;
/// use quipu::{Aggregate, Event, Evolve, events};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "counter.raised")]
/// struct Raised { #[tag] counter: String, by: u32 }
///
/// #[derive(Aggregate, Clone, Debug, PartialEq, Serialize, Deserialize)]
/// #[aggregate(events = Raised, snapshot(every = 100, version = 1))]
/// struct Counter { #[key] counter: String, total: u32 }
///
/// impl Evolve for Counter {
///     fn evolve(&mut self, raised: &Raised) {
///         self.total += raised.by;
///     }
/// }
///
/// let raised = |by| Raised { counter: "a".into(), by };
/// snapshot_matches_fold(Counter::of("a".to_owned()), events![raised(1), raised(2), raised(3)]);
/// ```
#[expect(clippy::needless_pass_by_value, reason = "a test has no further use for a model")]
pub fn snapshot_matches_fold<M: Evolve + PartialEq + std::fmt::Debug>(model: M, events: Events) {
    let upcasters = Upcasters::new();
    let world = World::of_events(events);
    let fold = |model: M, range| match world.fold_range(model, &upcasters, range) {
        Ok((state, _)) => state,
        Err(error) => panic!("{error}: {}", error.problem),
    };
    let initial = || model.clone();
    let whole = fold(initial(), 0..world.count());
    for place in 0..=world.count() {
        let state = fold(initial(), 0..place);
        let restored = restore(&state);
        let resumed = fold(restored, place..world.count());
        assert!(
            whole == resumed,
            "a snapshot after {place} events leads to another state\nexpected: {whole:#?}\n\
             found: {resumed:#?}"
        );
    }
}

fn restore<M: Evolve>(state: &M) -> M {
    let name = M::NAME;
    let data = match state.to_snapshot() {
        Some(Ok(data)) => data,
        Some(Err(error)) => panic!("the state of {name} cannot be encoded: {error}"),
        None => panic!("{name} keeps no snapshots: write snapshot(every = 200)"),
    };
    match M::from_snapshot(&data) {
        Some(restored) => restored,
        None => panic!("a snapshot of {name} does not come back"),
    }
}
