// In Cargo.toml: quipu-core, quipu-wire, and tokio with its features macros and rt-multi-thread.
use quipu_core::{EventStore, ReadStream, StreamName, collect};
use quipu_wire::{Client, ClientOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("QUIPU_TOKEN").ok();
    let options = ClientOptions { token, ..ClientOptions::default() };
    let store = Client::connect("http://127.0.0.1:2113", options).await?;

    let order = StreamName::new("order-7")?;
    for event in collect(store.read_stream(ReadStream::new(order)).await?.batches).await? {
        println!("{} {}", event.revision, event.event_type);
    }
    Ok(())
}
