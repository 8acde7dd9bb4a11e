use quipu::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct Opened {
    door: String,
}

fn main() {}
