// In Cargo.toml: quipu-core, quipu-wire, and tokio with its features macros and rt-multi-thread.
use quipu_core::{Delivery, EventStore, Subscribe, SubscribeFrom};
use quipu_wire::{Client, ClientOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("QUIPU_TOKEN").ok();
    let options = ClientOptions { token, ..ClientOptions::default() };
    let store = Client::connect("http://127.0.0.1:2113", options).await?;

    let query = "category:order".parse()?;
    let subscribe = Subscribe::All { query, from: SubscribeFrom::Start };
    let mut subscription = store.subscribe(subscribe).await?;
    loop {
        if let Delivery::Events(events) = subscription.next().await? {
            for event in events.iter() {
                println!("{} {}", event.position(), event.event_type());
            }
        }
    }
}
