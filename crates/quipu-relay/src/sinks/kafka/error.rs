//! What goes wrong with Kafka, and whose move it is.

use std::sync::Arc;
use std::time::Duration;

use krafka::KrafkaError;
use krafka::error::ErrorCode;
use quipu_core::CheckpointError;
use quipu_groups::KeepError;

use crate::sink::SinkError;
use crate::sinks::template::TemplateError;

/// What is wrong with a Kafka sink, a message, or the cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The topic's template can give none, or gives none for the cloud event.
    #[error(transparent)]
    Topic(#[from] TemplateError),
    /// The message is larger than any that is sent.
    #[error("the message has {size} bytes, at most {size_max} are sent")]
    TooLarge {
        /// The message's size in bytes.
        size: usize,
        /// The most there may be.
        size_max: usize,
    },
    /// The topic is not there. It is looked for again until it is.
    #[error(
        "the topic \"{topic}\" does not exist: create it (kafka-topics.sh --create --topic {topic} \
         --partitions {partitions}), or let the relay create topics"
    )]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// How many partitions it should have.
        partitions: u16,
    },
    /// The topic has fewer partitions than are asked for. It is looked at again until it has them.
    #[error(
        "the topic \"{topic}\" has {count} partitions, {wanted} are asked for: add some \
         (kafka-topics.sh --alter --topic {topic} --partitions {wanted}), or ask for fewer"
    )]
    FewPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        count: usize,
        /// How many it should have.
        wanted: u16,
    },
    /// The relay has published before, and its checkpoint is not there any more.
    #[error(
        "the relay published before, beyond position {position}, and the topic \"{topic}\" has no \
         checkpoint of it: bring the topic back, or begin again under another name"
    )]
    Lost {
        /// The topic with the checkpoint.
        topic: String,
        /// What the store knows of the relay's checkpoint.
        position: u64,
    },
    /// The checkpoint's record cannot be read.
    #[error("the checkpoint in the topic \"{topic}\" cannot be read")]
    Malformed {
        /// The topic with the checkpoint.
        topic: String,
    },
    /// The checkpoint is of another log, or of a life that this log does not go on from.
    #[error("the checkpoint in the topic \"{topic}\" is not one of this log")]
    OtherLog {
        /// The topic with the checkpoint.
        topic: String,
        /// Why not.
        source: CheckpointError,
    },
    /// The store failed.
    #[error("the store could not keep the relay's mark")]
    Store(#[source] CheckpointError),
    /// The relay's checkpoint was moved by somebody else.
    #[error("the relay's checkpoint was moved meanwhile")]
    Moved,
    /// The cluster failed, refused, or did not answer.
    #[error("Kafka did not take it")]
    Client(#[source] KrafkaError),
    /// A message in the transaction was refused, and it is not known yet whose it was.
    #[error("a message in the transaction was refused")]
    Beside,
    /// The sink belongs to no relay, or its runtime has ended.
    #[error("the sink is not attached to a relay")]
    NotAttached,
}

impl From<KrafkaError> for KafkaError {
    fn from(error: KrafkaError) -> Self {
        Self::Client(error)
    }
}

/// What becomes of an attempt that failed.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// Somebody younger publishes.
    Fenced,
    /// What was loaded is not there any more.
    Moved,
    /// A message is at fault.
    Refused(Arc<KafkaError>),
    /// It may work another time.
    Unavailable(Arc<KafkaError>),
    /// It will never work.
    Unusable(Arc<KafkaError>),
}

/// The least time to wait before topics, passwords and rights are looked at again: people change
/// them, not time.
const PEOPLE_PAUSE: Duration = Duration::from_secs(2);

impl Trouble {
    pub(super) fn unavailable(error: KafkaError) -> Self {
        Self::Unavailable(error.into())
    }

    /// What the client's error means for what was tried.
    pub(super) fn of(error: KrafkaError) -> Self {
        if is_fencing(&error) {
            Self::Fenced
        } else if is_refusal(&error) {
            Self::Refused(Arc::new(error.into()))
        } else {
            Self::unavailable(error.into())
        }
    }
}

/// Whether somebody younger publishes under the same transactional id.
pub(super) fn is_fencing(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::Fenced { .. } => true,
        KrafkaError::Broker { code, .. } => {
            matches!(code, ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch)
        }
        _ => false,
    }
}

/// What brokers answer to messages that are at fault. A time that is refused is none: it is the clock's,
/// this machine's or the broker's, and no message's.
const REFUSALS: [ErrorCode; 4] = [
    ErrorCode::MessageTooLarge,
    ErrorCode::RecordListTooLarge,
    ErrorCode::InvalidRecord,
    ErrorCode::InvalidTopic,
];

/// Whether a message is at fault, and would be again.
pub(super) fn is_refusal(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::Config { .. }
        | KrafkaError::Serialization { .. }
        | KrafkaError::Compression { .. } => true,
        KrafkaError::Broker { code, .. } => REFUSALS.contains(code),
        // Within a transaction the client tells the broker's answer only in words.
        KrafkaError::TransactionAbortable { message } => {
            REFUSALS.iter().any(|code| message.ends_with(&format!("failed with {code:?}")))
        }
        _ => false,
    }
}

fn retry_after(error: &KafkaError) -> Option<Duration> {
    let waits_for_people = match error {
        KafkaError::UnknownTopic { .. }
        | KafkaError::FewPartitions { .. }
        | KafkaError::Client(KrafkaError::Auth { .. }) => true,
        KafkaError::Client(error) => error.is_fatal(),
        _ => false,
    };
    waits_for_people.then_some(PEOPLE_PAUSE)
}

impl From<Trouble> for SinkError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fenced | Trouble::Moved => Self::Fenced,
            Trouble::Refused(error) => Self::Rejected { published: 0, source: error.into() },
            Trouble::Unavailable(error) | Trouble::Unusable(error) => {
                let retry_after = retry_after(&error);
                Self::Unavailable { published: 0, retry_after, source: error.into() }
            }
        }
    }
}

impl From<Trouble> for KeepError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fenced => Self::Fenced,
            Trouble::Moved => Self::Moved,
            Trouble::Unusable(error) => Self::Refused(error.into()),
            Trouble::Refused(error) | Trouble::Unavailable(error) => {
                Self::Unavailable(error.into())
            }
        }
    }
}
