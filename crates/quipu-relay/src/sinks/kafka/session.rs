//! One connection: a transactional producer, and the checkpoint as of its beginning.

use std::time::Duration;

use krafka::consumer::CompactedTopicConsumer;
use krafka::producer::{DeliveryHandle, TransactionState, TransactionalProducer};
use krafka::{Compression, Kafka, KrafkaError, Record};

use super::Settings;
use super::checkpoint::Checkpoint;
use super::committer::Origin;
use super::error::{KafkaError, Trouble, is_fencing, is_refusal};
use super::message::{MESSAGE_SIZE_MAX, checkpoint_topic};
use super::topics::Topics;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message may be on its way, with all attempts: a broker's restart fits into it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a transaction may be open before the cluster aborts it. A relay that stands still for
/// longer begins anew.
const TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the checkpoint may take to be read: as long as another's transaction stays open, where
/// relays share a topic.
const SCAN_TIMEOUT: Duration = Duration::from_secs(90);
const BATCH_SIZE: usize = 256 << 10;
const BUFFER_SIZE: usize = 64 << 20;

/// A transactional producer that has taken over from the one before.
pub(super) struct Session {
    producer: TransactionalProducer,
    topics: Topics,
    checkpoint_topic: String,
    relay: String,
    /// The checkpoint as it was committed last; `None` if there never was one.
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Session {
    /// Connects, fences whoever published for the relay before, and reads how far it came: in this
    /// order, so that nothing moves any more that was read.
    pub(super) async fn open(settings: &Settings, origin: &Origin) -> Result<Self, KafkaError> {
        let Origin { relay, .. } = origin;
        let own = || checkpoint_topic(relay);
        let checkpoint_topic = settings.checkpoint_topic.clone().unwrap_or_else(own);
        let kafka = Kafka::builder(&settings.servers)
            .client_id("quipu-relay")
            .security(settings.security.config())
            .request_timeout(REQUEST_TIMEOUT)
            .connect()
            .await?;
        let topics = Topics::new(&kafka, settings.topics);
        topics.ensure_checkpoints(&checkpoint_topic).await?;
        let log = origin.store.identity().log;
        let producer = kafka
            .producer()
            .compression(Compression::Lz4)
            .batch_size(BATCH_SIZE)
            .buffer_memory(BUFFER_SIZE)
            .max_request_size(MESSAGE_SIZE_MAX + (1 << 20))
            .delivery_timeout(DELIVERY_TIMEOUT)
            .max_block(DELIVERY_TIMEOUT)
            .transaction_timeout(TRANSACTION_TIMEOUT)
            .metrics_push(false)
            .build_transactional(format!("quipu-relay/{log}/{relay}"))
            .await?;
        let checkpoint = read_checkpoint(&kafka, &checkpoint_topic, relay).await?;
        Ok(Self { producer, topics, checkpoint_topic, relay: relay.clone(), checkpoint })
    }

    pub(super) fn checkpoint_topic(&self) -> &str {
        &self.checkpoint_topic
    }

    /// Publishes the records and the checkpoint, all or nothing. After any error but a refusal the
    /// session is to be dropped: what became of the transaction is in the checkpoint's topic.
    pub(super) async fn commit(
        &mut self,
        records: Vec<Record>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), Trouble> {
        for record in &records {
            let ensured = self.topics.ensure(&record.topic).await;
            ensured.map_err(|error| match error {
                KafkaError::Client(error) => Trouble::of(error),
                error => Trouble::unavailable(error),
            })?;
        }
        let moved = checkpoint.as_ref().map(|checkpoint| {
            Record::new(&*self.checkpoint_topic, checkpoint.to_json())
                .key(self.relay.clone())
                .partition(0)
        });
        self.producer.begin().map_err(Trouble::of)?;
        let mut handles = Vec::with_capacity(records.len() + 1);
        let mut enqueued = Ok(());
        for record in records.into_iter().chain(moved) {
            match self.producer.enqueue(record).await {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    enqueued = Err(error);
                    break;
                }
            }
        }
        let committed = match enqueued {
            Ok(()) => self.end().await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(()) => {
                if checkpoint.is_some() {
                    self.checkpoint = checkpoint;
                }
                Ok(())
            }
            Err(error) => Err(self.abort(error, handles).await),
        }
    }

    /// Commits. Where the answer is lost, asks again: only another commit can tell.
    async fn end(&self) -> Result<(), KrafkaError> {
        let mut committed = self.producer.commit().await;
        if committed.is_err() && self.producer.state() == TransactionState::CommitUnknown {
            committed = self.producer.commit().await;
        }
        committed
    }

    /// Aborts, and finds out why.
    async fn abort(&self, error: KrafkaError, handles: Vec<DeliveryHandle>) -> Trouble {
        let is_open = self.producer.state() == TransactionState::Open;
        let aborted = if is_open { self.producer.abort().await } else { Err(error.clone()) };
        if let Err(error) = &aborted
            && is_fencing(error)
        {
            return Trouble::Fenced;
        }
        let mut cause = error;
        for handle in handles.into_iter().filter(|_| is_open) {
            if let Err(error) = handle.await
                && is_refusal(&error)
            {
                cause = error;
            }
        }
        match Trouble::of(cause) {
            Trouble::Refused(cause) if aborted.is_err() => Trouble::Unavailable(cause),
            trouble => trouble,
        }
    }
}

/// What the topic says of the relay. Everything of the relay that was ever committed is there: its
/// producers before are fenced, and their transactions at an end.
async fn read_checkpoint(
    kafka: &Kafka,
    topic: &str,
    relay: &str,
) -> Result<Option<Checkpoint>, KafkaError> {
    let consumer = kafka.consumer_without_group().metrics_push(false);
    let mut reader = CompactedTopicConsumer::from_consumer_builder(consumer, topic).await?;
    reader.scan_with_timeout(Duration::from_millis(500), SCAN_TIMEOUT).await?;
    let Some(found) = reader.table().get(relay.as_bytes()) else { return Ok(None) };
    let malformed = || KafkaError::Malformed { topic: topic.to_owned() };
    Checkpoint::from_json(&found.value).map(Some).ok_or_else(malformed)
}
