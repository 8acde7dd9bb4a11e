use quipu::{Event, EventSet};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct Opened {
    #[tag]
    door: String,
}

#[derive(EventSet)]
enum Fields {
    Opened { event: Opened },
}

#[derive(EventSet)]
enum Empty {}

#[derive(EventSet)]
struct NotAnEnum(Opened);

fn main() {}
