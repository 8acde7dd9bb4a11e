//! What the crate `kurrentdb` sees of a server. The first argument is its URL, the second which part
//! to play. Asks for a restart by a line on standard output, and waits for one on standard input.

mod operations;
mod persistent_subscriptions;
mod streams;

use kurrentdb::{Client, ClientSettings, Error, EventData};
use uuid::Uuid;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn connect(url: &str) -> Outcome<Client> {
    Ok(Client::new(url.parse::<ClientSettings>()?)?)
}

fn name(category: &str) -> String {
    format!("{category}-{}", Uuid::new_v4())
}

fn events(count: usize) -> Vec<EventData> {
    let event = |number| {
        let data = serde_json::json!({ "number": number });
        let event = EventData::json("Made", &data)?.id(Uuid::new_v4());
        event.metadata_as_json(&serde_json::json!({ "by": "rust" }))
    };
    let made: Result<Vec<EventData>, serde_json::Error> = (0..count).map(event).collect();
    made.expect("numbers are JSON")
}

/// That a call failed, and how.
fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("the call was to be refused")
}

/// Asks for the server to be started again, and waits until it was.
fn restart() -> Outcome {
    println!("restart");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    assert_eq!(line, "restarted\n");
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, url, part] = arguments.as_slice() else { return Err("a URL and a part".into()) };
    let client = connect(url)?;
    match part.as_str() {
        "plain" => streams::play(&client, url).await?,
        "persistent" => persistent_subscriptions::play(&client, url).await?,
        "operations" => operations::play(url).await?,
        _ => streams::play_secure(&client).await?,
    }
    println!("done");
    Ok(())
}
