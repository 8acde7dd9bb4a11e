//! The outbox: the log is what there is to publish, and a relay publishes it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub use quipu_groups::Running;
use quipu_relay::{CloudEvent, Relay, Sink};

use crate::app::Quipu;
use crate::decode::decode_recorded;
use crate::event::EventSet;
use crate::recorded::Recorded;

/// What a relay is made of: cloud events, where they go, and the sinks that come with Quipu.
pub mod sinks {
    /// What a sink keeps the relay's checkpoints in, where it moves them with its cloud events.
    pub use quipu_groups::PlaceKeeper;
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub use quipu_relay::TemplateError;
    pub use quipu_relay::{
        Batch, CloudEvent, CloudEventError, FileSink, Relay, Sink, SinkError, WriterSink,
    };
    #[cfg(feature = "kafka")]
    pub use quipu_relay::{
        KafkaError, KafkaFormat, KafkaSecurity, KafkaSink, KafkaTls, KafkaTopics, SaslMechanism,
    };
    #[cfg(feature = "nats")]
    pub use quipu_relay::{NatsError, NatsFormat, NatsSecurity, NatsSink, NatsStreams};
    #[cfg(feature = "webhook")]
    pub use quipu_relay::{WebhookError, WebhookMode, WebhookSink};
}

impl Quipu {
    /// Publishes events of a set elsewhere: what `map` makes of each, or nothing where it keeps it
    /// private.
    ///
    /// There is no outbox table and no second write: what was appended is what will be published,
    /// in the order of the log within each stream, and again after a crash under the same id. Events
    /// go through the upcasters before the mapping; one that cannot be read is dealt with as
    /// [`OnError`](crate::OnError) says. Events whose data was erased stay private.
    ///
    /// What the mapping does not say of a cloud event, it has from its event: id, subject (the
    /// stream), time, position, correlation, causation and trace context; never the data. Where an
    /// upcaster splits an event, the parts after the first have `.1`, `.2`, ... behind the id.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use quipu::sinks::{CloudEvent, FileSink};
    /// use quipu::{Event, Recorded};
    /// # use quipu::{Command, Ctx, DecisionModel, Events, Evolve, Quipu, events};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// #[event(type = "shop.order-paid")]
    /// struct OrderPaid { #[tag] order: String, cents: u64, card: String }
    /// # #[derive(DecisionModel, Clone)]
    /// # #[model(events = OrderPaid)]
    /// # struct Order { #[key] order: String }
    /// # impl Evolve for Order { fn evolve(&mut self, _: &OrderPaid) {} }
    /// # struct Pay;
    /// # impl Command for Pay {
    /// #     type Model = Order;
    /// #     type Error = std::convert::Infallible;
    /// #     fn model(&self) -> Order { Order::of("7".to_owned()) }
    /// #     fn decide(&self, _: &Order, _: &Ctx) -> Result<Events, Self::Error> {
    /// #         Ok(events![OrderPaid { order: "7".into(), cents: 1200, card: "4111".into() }])
    /// #     }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("public.jsonl");
    /// # let app = Quipu::in_memory();
    /// let outbox = app.relay("public-orders", |paid: &Recorded<OrderPaid>| {
    ///     let public = serde_json::json!({ "cents": paid.event.cents });
    ///     Some(CloudEvent::new("com.example.order.paid.v1").with_json(public.to_string()))
    /// });
    /// let mut running = outbox.to(Arc::new(FileSink::open(&path)?)).spawn();
    ///
    /// let done = app.execute(Pay).await?;
    /// running.wait_for(done.position).await?;
    /// running.stop().await?;
    ///
    /// let line = std::fs::read_to_string(&path)?;
    /// assert!(line.contains(r#""type":"com.example.order.paid.v1","subject":"order-7""#), "{line}");
    /// assert!(!line.contains("4111"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn relay<E, M>(&self, name: &str, map: M) -> Outbox<E, M>
    where
        E: EventSet,
        M: Fn(&Recorded<E>) -> Option<CloudEvent> + Send + Sync + 'static,
    {
        Outbox { app: self.clone(), name: name.to_owned(), map, of: PhantomData }
    }
}

/// A relay that does not know yet where to publish. See [`Quipu::relay`].
#[must_use = "nothing is published until it has a sink and is spawned"]
pub struct Outbox<E, M> {
    app: Quipu,
    name: String,
    map: M,
    of: PhantomData<fn(E)>,
}

impl<E, M> Outbox<E, M>
where
    E: EventSet,
    M: Fn(&Recorded<E>) -> Option<CloudEvent> + Send + Sync + 'static,
{
    /// Publishes into this sink. The relay's name is its identity: under it are its lease, its
    /// checkpoints and its status.
    pub fn to(self, sink: Arc<dyn Sink>) -> Relay {
        let Self { app, name, map, .. } = self;
        let relay = Relay::new(Arc::clone(app.store()), &name, sink).query(app.query_of::<E>());
        relay.map_many(move |event| {
            let mut cloud_events = Vec::new();
            for part in decode_recorded::<E>(event, app.upcasters())? {
                let Ok(own) = part.transpose() else { continue };
                let Some(mut cloud_event) = map(&own) else { continue };
                if own.part > 0 && cloud_event.id.is_empty() {
                    cloud_event.id = format!("{}.{}", event.id, own.part);
                }
                cloud_events.push(cloud_event.about(event));
            }
            Ok(cloud_events)
        })
    }
}

impl<E, M> fmt::Debug for Outbox<E, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("name", &self.name).finish_non_exhaustive()
    }
}
