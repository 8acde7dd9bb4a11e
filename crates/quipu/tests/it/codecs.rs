//! Events whose data is not JSON.

use quipu::core::{ReadAll, collect};
use quipu::{
    Aggregate, Codec, CodecError, Command, Ctx, DecodeProblem, Event, Events, Evolve, LoadError,
    Query, Quipu, Upcasters, events,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// JSON, read backward: a format of its own.
struct Reversed;

impl Codec for Reversed {
    const CONTENT_TYPE: &'static str = "application/reversed";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        let mut data = serde_json::to_vec(value).map_err(CodecError::new)?;
        data.reverse();
        Ok(data)
    }

    fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, CodecError> {
        let data: Vec<u8> = data.iter().rev().copied().collect();
        serde_json::from_slice(&data).map_err(CodecError::new)
    }
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "counter.raised", codec = Reversed)]
struct Raised {
    #[tag]
    counter: String,
}

/// What the event becomes later: another version, in JSON.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "counter.raised", version = 2)]
struct RaisedBy {
    #[tag]
    counter: String,
    by: u64,
}

impl From<Raised> for RaisedBy {
    fn from(old: Raised) -> Self {
        Self { counter: old.counter, by: 1 }
    }
}

#[derive(Aggregate, Clone)]
#[aggregate(events = Raised, category = "counter")]
struct Counter {
    #[key]
    counter: String,
    total: u64,
}

impl Evolve for Counter {
    fn evolve(&mut self, _raised: &Raised) {
        self.total += 1;
    }
}

#[derive(Aggregate, Clone)]
#[aggregate(events = RaisedBy)]
struct NewCounter {
    #[key]
    counter: String,
    total: u64,
}

impl Evolve for NewCounter {
    fn evolve(&mut self, raised: &RaisedBy) {
        self.total += raised.by;
    }
}

struct Raise;

impl Command for Raise {
    type Model = Counter;
    type Error = std::convert::Infallible;

    fn model(&self) -> Counter {
        Counter::of("a".to_owned())
    }

    fn decide(&self, _counter: &Counter, _ctx: &Ctx) -> Result<Events, Self::Error> {
        Ok(events![Raised { counter: "a".into() }])
    }
}

#[tokio::test]
async fn an_event_is_stored_as_its_codec_says() {
    let app = Quipu::in_memory();
    app.execute(Raise).await.unwrap();

    let read = app.store().read_all(ReadAll::new(Query::all())).await.unwrap();
    let stored = collect(read.batches).await.unwrap();

    assert_eq!(stored[0].content_type, "application/reversed");
    assert_eq!(stored[0].data.present().unwrap().first(), Some(&b'}'));
    assert_eq!(app.load(Counter::of("a".to_owned())).await.unwrap().total, 1);
}

#[tokio::test]
async fn an_event_may_change_its_codec_with_an_upcaster() {
    let app = Quipu::in_memory();
    app.execute(Raise).await.unwrap();
    let upcasters = Upcasters::new().map_typed::<Raised, RaisedBy>();

    let app = app.with_upcasters(upcasters).unwrap();

    assert_eq!(app.load(NewCounter::of("a".to_owned())).await.unwrap().total, 1);
}

#[tokio::test]
async fn data_of_an_unknown_content_type_is_an_error() {
    let app = Quipu::in_memory();
    app.execute(Raise).await.unwrap();
    let app = app.with_upcasters(Upcasters::new().map("counter.raised", 1, Ok)).unwrap();

    let error = app.load(NewCounter::of("a".to_owned())).await.err().unwrap();

    let LoadError::Decode(error) = error else { panic!("expected a decode error, got {error:?}") };
    assert!(matches!(error.problem, DecodeProblem::UnknownContentType { .. }), "{error:?}");
    assert_eq!(error.event_type, "counter.raised");
}
