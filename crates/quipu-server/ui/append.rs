// In Cargo.toml: quipu-core, quipu-wire, and tokio with its features macros and rt-multi-thread.
use quipu_core::{Append, EventStore, ExpectedRevision, NewEvent, StreamName};
use quipu_wire::{Client, ClientOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("QUIPU_TOKEN").ok();
    let options = ClientOptions { token, ..ClientOptions::default() };
    let store = Client::connect("http://127.0.0.1:2113", options).await?;

    let placed = NewEvent::json("OrderPlaced", r#"{"total_cents":1200}"#)?.with_tag("order:7")?;
    let order = StreamName::new("order-7")?;
    let appended = store.append(Append::to_stream(order, ExpectedRevision::Any, [placed])).await?;
    println!("{:?}", appended.last);
    Ok(())
}
