//! The suite of sinks itself: it lets good sinks pass and finds what bad ones do.

use std::sync::{Arc, Mutex};

use quipu_core::{BoxFuture, Position};
use quipu_groups::{KeepError, Move, PlaceKeeper, SlicePlace};
use quipu_relay::conform::{self, Destination};
use quipu_relay::{Batch, CloudEvent, Sink, SinkError};
use serde_json::{Value, json};

/// What a sink of the tests does wrong, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Acknowledges the last cloud event of a batch without keeping it.
    LosesTheLast,
    /// Keeps a batch from its end.
    TurnsRound,
    /// Forgets what was there when it is opened again.
    Forgets,
    /// Leaves an attribute out.
    LeavesOut,
    /// Moves its checkpoints without keeping the cloud events' half of the transaction at times.
    TearsTransactions,
    /// Keeps cloud events and does not move its checkpoints with them.
    RepeatsItself,
}

/// Messages and checkpoints, always changed together, as in a broker with transactions.
#[derive(Default)]
struct State {
    cloud_events: Vec<Value>,
    rows: Vec<SlicePlace>,
    epoch: u64,
    batches: u64,
}

impl State {
    fn fence(&mut self, epoch: u64) -> Result<(), KeepError> {
        if epoch < self.epoch {
            return Err(KeepError::Fenced);
        }
        self.epoch = epoch;
        Ok(())
    }

    fn advance(&mut self, epoch: u64, moves: &[Move]) -> Result<(), KeepError> {
        self.fence(epoch)?;
        let mut rows = self.rows.clone();
        for own in moves {
            let is_own =
                |row: &&mut SlicePlace| row.slices == own.slices && row.position == own.from;
            rows.iter_mut().find(is_own).ok_or(KeepError::Fenced)?.position = own.to;
        }
        self.rows = rows;
        Ok(())
    }
}

#[derive(Clone)]
struct Broker {
    fault: Fault,
    is_transactional: bool,
    state: Arc<Mutex<State>>,
}

fn broker(fault: Fault) -> Broker {
    let is_transactional = matches!(fault, Fault::TearsTransactions | Fault::RepeatsItself);
    Broker { fault, is_transactional, state: Arc::default() }
}

fn value(cloud_event: &CloudEvent, fault: Fault) -> Value {
    let mut value = json!({
        "specversion": "1.0",
        "id": cloud_event.id,
        "source": cloud_event.source,
        "type": cloud_event.event_type,
    });
    let mut put = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            value[name] = text.into();
        }
    };
    put("subject", cloud_event.subject.as_deref());
    put("datacontenttype", cloud_event.data_content_type.as_deref());
    put("partitionkey", cloud_event.key.as_deref());
    put("time", cloud_event.time.and(Some("2023-11-14T22:13:20.000001Z")));
    for (name, text) in &cloud_event.extensions {
        put(name, Some(text));
    }
    if fault == Fault::LeavesOut {
        put("position", Some(""));
    }
    if let Some(data) = &cloud_event.data {
        use base64::Engine as _;
        let is_json = cloud_event.data_content_type.as_deref() == Some("application/json");
        let (name, data) = if is_json {
            ("data", serde_json::from_slice(data).unwrap())
        } else {
            let text = base64::engine::general_purpose::STANDARD.encode(data);
            ("data_base64", text.into())
        };
        value[name] = data;
    }
    value
}

impl Sink for Broker {
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut state = self.state.lock().unwrap();
            state.batches += 1;
            if self.is_transactional && self.fault != Fault::RepeatsItself {
                let moved = state.advance(batch.epoch, &batch.moves);
                moved.map_err(|_| SinkError::Fenced)?;
            }
            let is_torn = self.fault == Fault::TearsTransactions && state.batches.is_multiple_of(5);
            let mut values: Vec<_> = batch
                .cloud_events
                .iter()
                .map(|cloud_event| value(cloud_event, self.fault))
                .collect();
            match self.fault {
                Fault::LosesTheLast if values.len() > 1 => drop(values.pop()),
                Fault::TurnsRound => values.reverse(),
                _ if is_torn => values.clear(),
                _ => {}
            }
            state.cloud_events.extend(values);
            Ok(())
        })
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        self.is_transactional.then_some(self)
    }
}

impl PlaceKeeper for Broker {
    fn load(&self) -> BoxFuture<'_, Result<Vec<SlicePlace>, KeepError>> {
        Box::pin(async { Ok(self.state.lock().unwrap().rows.clone()) })
    }

    fn claim<'a>(
        &'a self,
        epoch: u64,
        loaded: &'a [SlicePlace],
        rows: &'a [SlicePlace],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            if state.rows != loaded {
                return Err(KeepError::Moved);
            }
            state.rows = rows.to_vec();
            Ok(())
        })
    }

    fn advance<'a>(
        &'a self,
        epoch: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move { self.state.lock().unwrap().advance(epoch, moves) })
    }

    fn reset(&self, epoch: u64, position: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            state.rows.iter_mut().for_each(|row| row.position = position);
            Ok(())
        })
    }
}

impl Destination for Broker {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>> {
        if self.fault == Fault::Forgets {
            self.state.lock().unwrap().cloud_events.clear();
        }
        let sink: Arc<dyn Sink> = Arc::new(self.clone());
        Box::pin(async move { sink })
    }

    fn delivered(&self) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async { self.state.lock().unwrap().cloud_events.clone() })
    }
}

#[tokio::test]
async fn a_sink_without_faults_passes() {
    conform::all(|| broker(Fault::None)).await;
}

#[tokio::test]
async fn a_sink_that_keeps_the_checkpoints_publishes_everything_once() {
    conform::all(|| Broker { is_transactional: true, ..broker(Fault::None) }).await;
}

#[tokio::test]
async fn a_sink_with_a_fault_fails() {
    for fault in [
        Fault::LosesTheLast,
        Fault::TurnsRound,
        Fault::Forgets,
        Fault::LeavesOut,
        Fault::TearsTransactions,
        Fault::RepeatsItself,
    ] {
        let run = tokio::spawn(conform::all(move || broker(fault)));

        let failed = run.await.unwrap_err();

        assert!(failed.is_panic(), "{fault:?}");
    }
}
