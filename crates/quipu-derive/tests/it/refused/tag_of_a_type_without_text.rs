use quipu::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct Opened {
    #[tag]
    width: f64,
}

fn main() {}
