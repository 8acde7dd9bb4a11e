use quipu::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "$door.opened")]
struct Reserved {
    #[tag]
    door: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened", version = 0)]
struct VersionZero {
    #[tag]
    door: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened", stream = "door-{id}")]
struct NoSuchField {
    door: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened", name = "x")]
struct UnknownOption {
    #[tag]
    door: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "door.opened")]
struct Unnamed(String);

fn main() {}
