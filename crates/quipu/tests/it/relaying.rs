//! The outbox, as an application uses it.

use std::sync::{Arc, Mutex};

use quipu::core::{Append, NewEvent};
use quipu::sinks::{Batch, CloudEvent, Sink, SinkError};
use quipu::{Backoff, OnError, Position, Quipu, Recorded, StreamName, Upcasters};
use serde_json::json;

use crate::bank::{AccountEvent, FundsDeposited, deposit, open};
use crate::stores::on_every_store;

#[derive(Default)]
struct Published(Mutex<Vec<CloudEvent>>);

impl Published {
    fn all(&self) -> Vec<CloudEvent> {
        self.0.lock().unwrap().clone()
    }
}

impl Sink for Published {
    fn publish<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> quipu::core::BoxFuture<'a, Result<(), SinkError>> {
        self.0.lock().unwrap().extend(batch.cloud_events.clone());
        Box::pin(async { Ok(()) })
    }
}

/// Deposits go out without who made them; everything else is private.
fn public(recorded: &Recorded<AccountEvent>) -> Option<CloudEvent> {
    match &recorded.event {
        AccountEvent::Deposited(FundsDeposited { cents, .. }) => {
            let data = json!({ "cents": cents });
            Some(CloudEvent::new("com.example.deposit.v1").with_json(data.to_string()))
        }
        AccountEvent::Opened(_) | AccountEvent::Withdrawn(_) => None,
    }
}

async fn append(app: &Quipu, event_type: &str, data: serde_json::Value) -> Position {
    let event = NewEvent::json(event_type, data.to_string()).unwrap();
    let append = Append::new().event(StreamName::new("account-a").unwrap(), event);
    app.store().append(append).await.unwrap().last.unwrap()
}

#[tokio::test]
async fn what_the_mapping_leaves_open_comes_from_the_event() {
    on_every_store(|app| async move {
        let sink = Arc::new(Published::default());
        app.execute(open("a")).await.unwrap();
        let done = app.execute(deposit("a", 5)).correlation("request 1").await.unwrap();

        let mut running = app.relay("public", public).to(sink.clone()).spawn();
        running.wait_for(done.position).await.unwrap();

        let published = sink.all();
        assert_eq!(published.len(), 1, "opening stays private");
        assert_eq!(published[0].id, done.events[0].to_string());
        assert_eq!(published[0].subject.as_deref(), Some("account-a"));
        assert_eq!(published[0].extensions["correlationid"], "request 1");
        assert_eq!(published[0].data.as_deref(), Some(&br#"{"cents":5}"#[..]));
    })
    .await;
}

#[tokio::test]
async fn old_events_are_upcast_before_they_are_mapped_and_parts_have_ids_of_their_own() {
    on_every_store(|app| async move {
        let data = json!({ "account": "a", "cents": 5 });
        let last = append(&app, "bank.paid-in-twice", data).await;
        let targets = [("bank.funds-deposited", 1)];
        let upcasters = Upcasters::new().split("bank.paid-in-twice", 1, targets, |data| {
            let deposited = ("bank.funds-deposited", data);
            Ok(vec![deposited.clone(), deposited])
        });
        let app = app.with_upcasters(upcasters).unwrap();
        let sink = Arc::new(Published::default());

        let mut running = app.relay("public", public).to(sink.clone()).spawn();
        running.wait_for(last).await.unwrap();

        let published = sink.all();
        assert_eq!(published.len(), 2);
        assert_eq!(published[1].id, format!("{}.1", published[0].id));
    })
    .await;
}

#[tokio::test]
async fn a_poison_event_stops_the_relay_and_says_which_it_is() {
    on_every_store(|app| async move {
        append(&app, "bank.funds-deposited", json!({ "account": "a", "cents": 5 })).await;
        let poison = json!({ "account": "a", "cents": "five" });
        let poison = append(&app, "bank.funds-deposited", poison).await;
        let sink = Arc::new(Published::default());

        let backoff = Backoff { first: std::time::Duration::ZERO, ..Backoff::default() };
        let relay = app.relay("public", public).to(sink.clone());
        let mut running = relay.on_error(OnError::retry(1).backoff(backoff)).spawn();
        let status = running.wait_until(|status| !status.stopped.is_empty()).await.unwrap();

        assert_eq!(sink.all().len(), 1, "what came before it went out");
        assert_eq!(status.stopped[0].position, poison);
        let error = status.last_error.unwrap();
        let named = format!("position {poison} (type \"bank.funds-deposited\"");
        assert!(error.contains(&named), "{error}");
    })
    .await;
}
