use quipu::{Aggregate, DecisionModel, Event};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct Opened {
    #[tag]
    door: String,
}

#[derive(DecisionModel, Clone)]
struct NoEvents {
    #[key]
    door: String,
}

#[derive(DecisionModel, Clone)]
#[model(events = Opened, snapshot(version = 2))]
struct NoPolicy {
    #[key]
    door: String,
}

#[derive(DecisionModel, Clone)]
#[model(events = Opened, snapshot(when_slower_than = "soon"))]
struct NoDuration {
    #[key]
    door: String,
}

#[derive(Aggregate, Clone)]
#[aggregate(events = Opened)]
struct NoKey {
    door: String,
}

#[derive(Aggregate, Clone)]
#[aggregate(events = Opened, category = "front-door")]
struct BadCategory {
    #[key]
    door: String,
}

fn main() {}
