use quipu::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct Hyphen {
    #[tag("front-door")]
    door: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct NotText {
    #[tag = "door"]
    door: String,
}

fn main() {}
