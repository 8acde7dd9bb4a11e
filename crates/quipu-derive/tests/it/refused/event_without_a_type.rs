use quipu::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
struct Opened {
    #[tag]
    door: String,
}

fn main() {}
