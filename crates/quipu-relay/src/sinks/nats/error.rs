//! What goes wrong with NATS, and whose move it is.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{Error as JetStreamError, ErrorCode};
use async_nats::{ConnectError, ConnectErrorKind};

use crate::sink::SinkError;
use crate::sinks::template::TemplateError;

/// What is wrong with a NATS sink, a message, or the servers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// What was given is not a list of servers. It is not repeated: it may hold a password.
    #[error(
        "the servers are not given as in \"nats://one:4222,nats://two:4222\", without user and \
         password, which are given apart"
    )]
    Servers,
    /// It is not a stream's name.
    #[error("\"{stream}\" is no stream: a name has no blanks, \".\", \"*\", \">\" and slashes")]
    StreamName {
        /// What was given.
        stream: String,
    },
    /// The subject's template can give none, or gives none for the cloud event.
    #[error(transparent)]
    Subject(#[from] TemplateError),
    /// There is no connection: nobody answers, the certificate is not trusted, or the user is refused.
    /// It is tried again.
    #[error("NATS could not be reached")]
    Connect(#[source] ConnectError),
    /// The stream is not there. It is looked for again until it is.
    #[error(
        "the stream \"{stream}\" does not exist: create it (nats stream add {stream} --subjects \
         '{subjects}' --storage file --defaults), or let the relay create streams"
    )]
    UnknownStream {
        /// The stream.
        stream: String,
        /// The subjects that it should have.
        subjects: String,
    },
    /// The stream acknowledges nothing, so nothing would be known to be there.
    #[error("the stream \"{stream}\" acknowledges nothing (no_ack): have it acknowledge")]
    NoAck {
        /// The stream.
        stream: String,
    },
    /// The stream could not be looked up or made.
    #[error("the stream \"{stream}\" could not be {}", if *is_new { "made" } else { "looked up" })]
    Stream {
        /// The stream.
        stream: String,
        /// Whether it was to be made.
        is_new: bool,
        /// Why not.
        source: async_nats::Error,
    },
    /// The subject belongs to no stream, or to another one. It is tried again.
    #[error(
        "the subject \"{subject}\" does not belong to the stream \"{stream}\": add it to the stream's \
         subjects"
    )]
    Elsewhere {
        /// The subject of the message.
        subject: String,
        /// The stream that it should belong to.
        stream: String,
    },
    /// The server did not take the message.
    #[error("NATS did not take it")]
    Publish(#[source] PublishError),
    /// The server did not take the message, and has said why apart from it.
    #[error("NATS did not take it: {said}")]
    Said {
        /// What the server said.
        said: String,
        /// What came of the message.
        source: PublishError,
    },
    /// The runtime ended meanwhile.
    #[error("the task that published has ended")]
    Ended,
}

/// What becomes of an attempt that failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The message is at fault, and would be again.
    Refused(NatsError),
    /// Somebody has to change something first.
    Waiting(NatsError),
    /// It may work another time.
    Unavailable(NatsError),
}

/// The least time to wait before streams, passwords and rights are looked at again: people change
/// them, not time.
const PEOPLE_PAUSE: Duration = Duration::from_secs(2);

impl Trouble {
    /// What the client's error means for the message, where the server may have said more.
    pub(super) fn of(
        source: PublishError,
        subject: String,
        stream: &str,
        said: Option<String>,
    ) -> Self {
        let code = source.source().and_then(|source| source.downcast_ref::<JetStreamError>());
        let code = code.map(JetStreamError::error_code);
        let is_elsewhere = source.kind() == PublishErrorKind::StreamNotFound
            || code == Some(ErrorCode::STREAM_NOT_MATCH);
        let is_refusal = source.kind() == PublishErrorKind::MaxPayloadExceeded
            || code == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
        match said {
            Some(said) => Self::Waiting(NatsError::Said { said, source }),
            None if is_elsewhere => {
                Self::Waiting(NatsError::Elsewhere { subject, stream: stream.to_owned() })
            }
            None if is_refusal => Self::Refused(NatsError::Publish(source)),
            None => Self::Unavailable(NatsError::Publish(source)),
        }
    }

    /// What it means that there is no connection.
    pub(super) fn of_connecting(source: ConnectError) -> Self {
        use ConnectErrorKind::{Authentication, AuthorizationViolation, Tls};
        let is_for_people = matches!(source.kind(), Authentication | AuthorizationViolation | Tls);
        let error = NatsError::Connect(source);
        if is_for_people { Self::Waiting(error) } else { Self::Unavailable(error) }
    }

    /// As the relay is told, where so many cloud events went before.
    pub(super) fn after(self, published: usize) -> SinkError {
        let (error, retry_after) = match self {
            Self::Refused(error) => {
                return SinkError::Rejected { published, source: error.into() };
            }
            Self::Waiting(error) => (error, Some(PEOPLE_PAUSE)),
            Self::Unavailable(error) => (error, None),
        };
        SinkError::Unavailable { published, retry_after, source: error.into() }
    }
}
