//! Cloud events to Apache Kafka, once each.
//!
//! Everything is published in transactions, and the relay's checkpoint is a record in the same
//! transaction, in a compacted topic of the relay's own. So a consumer that reads what is committed
//! (`isolation.level=read_committed`) sees every cloud event once and in the order of its key,
//! whatever crashed in between:
//!
//! - a transaction that was not committed is not seen, and its checkpoint neither: it comes again;
//! - one that was committed has moved the checkpoint: it does not come again;
//! - where the answer to a commit is lost, the checkpoint tells which of the two it was;
//! - a relay that was taken for dead is fenced: its transactional id was taken over.
//!
//! One task ([`Committer`](committer::Committer)) owns the connection. It puts what the partitions
//! of the relay bring meanwhile into one transaction, so that they share its price.

mod checkpoint;
mod committer;
mod error;
mod message;
mod security;
mod session;
mod topics;

use std::fmt;
use std::sync::{Arc, OnceLock};

use quipu_core::{BoxFuture, EventStore, LogId, Position};
use quipu_groups::{KeepError, Move, PlaceKeeper, SlicePlace};
use tokio::sync::{mpsc, oneshot};

pub use error::KafkaError;
pub use message::KafkaFormat;
pub use security::{KafkaSecurity, KafkaTls, SaslMechanism};
pub use topics::KafkaTopics;

use crate::sink::{Batch, Sink, SinkError};
use crate::sinks::template::Template;
use committer::{Ask, Committer, Delivery, Origin};
use error::Trouble;
use message::{MESSAGE_SIZE_MAX, TOPIC};

/// Publishes to Apache Kafka, exactly once. Needs Kafka 3.9 or a later one.
///
/// A sink belongs to one relay. It connects when the relay begins, and again after every failure.
#[derive(Clone)]
pub struct KafkaSink {
    settings: Settings,
    started: Arc<OnceLock<Started>>,
}

/// What a sink goes by.
#[derive(Clone, Debug)]
struct Settings {
    servers: String,
    topic: Template,
    format: KafkaFormat,
    topics: KafkaTopics,
    security: KafkaSecurity,
    /// The compacted topic with the relay's checkpoint; by default one of its own.
    checkpoint_topic: Option<String>,
}

/// The relay that the sink belongs to, and the way to its task.
struct Started {
    log: LogId,
    relay: String,
    asks: mpsc::Sender<Ask>,
}

/// How many requests wait for the committer before the next one waits to be taken. Each partition of
/// the relay has one at a time.
const ASKS_MAX: usize = 64;

impl KafkaSink {
    /// A sink that finds the cluster through any of these servers, `host:port` and commas between
    /// them, and publishes to `topic`.
    ///
    /// The topic is a name, or a template of one: `{category}` is the part of the cloud event's
    /// subject before the first `-`, `{type}` its type, and any other word in braces the extension
    /// of that name. A cloud event that gives no valid name is refused.
    ///
    /// # Errors
    ///
    /// [`KafkaError::Topic`] if the template can never give a topic's name.
    pub fn new(servers: &str, topic: &str) -> Result<Self, KafkaError> {
        let settings = Settings {
            servers: servers.to_owned(),
            topic: Template::new(&TOPIC, topic)?,
            format: KafkaFormat::default(),
            topics: KafkaTopics::default(),
            security: KafkaSecurity::default(),
            checkpoint_topic: None,
        };
        Ok(Self { settings, started: Arc::default() })
    }

    /// The same sink writing messages in this format.
    #[must_use]
    pub fn format(mut self, format: KafkaFormat) -> Self {
        self.settings.format = format;
        self
    }

    /// The same sink with these demands on topics. By default they must exist.
    #[must_use]
    pub fn topics(mut self, topics: KafkaTopics) -> Self {
        self.settings.topics = topics;
        self
    }

    /// The same sink connecting that way. By default it is neither encrypted nor authenticated.
    #[must_use]
    pub fn security(mut self, security: KafkaSecurity) -> Self {
        self.settings.security = security;
        self
    }

    /// The same sink keeping the relay's checkpoint in this topic, which is made if it is missing:
    /// one partition, compacted. By default it is `quipu.relay.` and the relay's name. Where relays
    /// share one, each waits for the others' transactions when it begins.
    ///
    /// Whoever deletes the topic makes the relay refuse to begin.
    #[must_use]
    pub fn checkpoint_topic(mut self, topic: &str) -> Self {
        self.settings.checkpoint_topic = Some(topic.to_owned());
        self
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Trouble>>) -> Ask,
    ) -> Result<T, Trouble> {
        let Some(started) = self.started.get() else {
            return Err(Trouble::unavailable(KafkaError::NotAttached));
        };
        let (answer, answered) = oneshot::channel();
        let gone = || Trouble::unavailable(KafkaError::NotAttached);
        started.asks.send(ask(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The cloud events as messages, or the first one that cannot be one.
    fn deliver(&self, batch: &Batch) -> Result<Delivery, SinkError> {
        let mut delivery = Delivery::new(batch.epoch, batch.moves.clone());
        for cloud_event in &batch.cloud_events {
            let topic = self.settings.topic.of(cloud_event).map_err(KafkaError::from);
            let message = topic.and_then(|topic| {
                let record = self.settings.format.record(topic, cloud_event);
                let size = record.estimated_size();
                if size > MESSAGE_SIZE_MAX {
                    return Err(KafkaError::TooLarge { size, size_max: MESSAGE_SIZE_MAX });
                }
                Ok((record, size))
            });
            // Nothing of the batch is published: it would be one transaction.
            let (record, size) = message
                .map_err(|error| SinkError::Rejected { published: 0, source: error.into() })?;
            delivery.push(record, size);
        }
        Ok(delivery)
    }
}

impl Sink for KafkaSink {
    fn attach(&self, store: &Arc<dyn EventStore>, relay: &str) {
        let log = store.identity().log;
        let started = self.started.get_or_init(|| {
            let (asks, asked) = mpsc::channel(ASKS_MAX);
            let origin = Origin { store: Arc::clone(store), relay: relay.to_owned() };
            let committer = Committer::new(self.settings.clone(), origin);
            tokio::spawn(committer.run(asked));
            Started { log, relay: relay.to_owned(), asks }
        });
        assert!(
            started.log == log && started.relay == relay,
            "a Kafka sink belongs to one relay: this one to \"{}\", \"{relay}\" needs its own",
            started.relay
        );
    }

    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let delivery = self.deliver(batch)?;
            Ok(self.ask(|answer| Ask::Publish { delivery, answer }).await?)
        })
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        Some(self)
    }
}

impl PlaceKeeper for KafkaSink {
    fn load(&self) -> BoxFuture<'_, Result<Vec<SlicePlace>, KeepError>> {
        Box::pin(async move { Ok(self.ask(Ask::Load).await?) })
    }

    fn claim<'a>(
        &'a self,
        epoch: u64,
        loaded: &'a [SlicePlace],
        rows: &'a [SlicePlace],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let (loaded, rows) = (loaded.to_vec(), rows.to_vec());
            Ok(self.ask(|answer| Ask::Claim { epoch, loaded, rows, answer }).await?)
        })
    }

    fn advance<'a>(
        &'a self,
        epoch: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let delivery = Delivery::new(epoch, moves.to_vec());
            Ok(self.ask(|answer| Ask::Publish { delivery, answer }).await?)
        })
    }

    fn reset(&self, epoch: u64, position: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(
            async move { Ok(self.ask(|answer| Ask::Reset { epoch, position, answer }).await?) },
        )
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}
