//! A sink that counts what comes of it.

use std::sync::Arc;

use quipu_core::{BoxFuture, EventStore};
use quipu_groups::PlaceKeeper;
use quipu_relay::{Batch, Sink, SinkError};

use crate::metrics::PublishCounts;

pub(super) struct Counted {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) counts: PublishCounts,
}

impl Sink for Counted {
    fn attach(&self, store: &Arc<dyn EventStore>, relay: &str) {
        self.sink.attach(store, relay);
    }

    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let outcome = self.sink.publish(batch).await;
            let published = match &outcome {
                Ok(()) => batch.cloud_events.len(),
                Err(
                    SinkError::Rejected { published, .. }
                    | SinkError::Unavailable { published, .. },
                ) => *published,
                Err(_) => 0,
            };
            self.counts.published.inc_by(published as u64);
            if outcome.is_err() {
                self.counts.failed.inc();
            }
            outcome
        })
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        self.sink.places()
    }
}
