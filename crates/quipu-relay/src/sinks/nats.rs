//! Cloud events to NATS `JetStream`, each known to the server by its id.
//!
//! Every message has an id of its own (`Nats-Msg-Id`), and the stream drops one that it has already
//! (its window of de-duplication, two minutes by default). So what a crash lets the relay publish
//! again is in the stream once, where another one goes on within the window; later it may be there
//! twice, under its id.
//!
//! Keys go side by side, and within a key a message leaves when the one before it is acknowledged: so
//! nothing overtakes, whatever is lost on the way.

mod error;
mod message;
mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_nats::ServerAddr;
use quipu_core::{BoxFuture, EventStore};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use error::NatsError;
pub use message::NatsFormat;

use crate::sink::{Batch, Sink, SinkError};
use crate::sinks::template::Template;
use error::Trouble;
use message::{Message, SUBJECT};
use session::{Session, addresses};

/// Publishes to a stream of NATS `JetStream`, which drops what it has already.
///
/// A sink belongs to one relay. It connects when the relay begins, and again after every failure.
pub struct NatsSink {
    settings: Settings,
    relay: OnceLock<String>,
    /// The connection; none before the first message, and after a failure.
    session: Mutex<Option<Arc<Session>>>,
}

/// What a sink goes by.
#[derive(Clone)]
struct Settings {
    servers: Vec<ServerAddr>,
    stream: String,
    subject: Template,
    format: NatsFormat,
    streams: NatsStreams,
    security: NatsSecurity,
}

/// What becomes of a stream that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatsStreams {
    creates: bool,
    replicas: Option<u16>,
}

impl NatsStreams {
    /// It is made, in files, with every subject that the sink's template can give. By default it must
    /// be there.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    /// It is made with that many replicas. By default with one.
    #[must_use]
    pub fn replicas(mut self, count: u16) -> Self {
        self.replicas = Some(count);
        self
    }
}

/// How a sink connects, and as whom. By default neither encrypted nor authenticated.
#[derive(Clone, Default)]
pub struct NatsSecurity {
    user: Option<(String, String)>,
    token: Option<String>,
    is_encrypted: bool,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl NatsSecurity {
    /// As this user. The password is not printed.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// With this token, which is not printed.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Encrypted. Servers' certificates are trusted as the machine trusts them.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.is_encrypted = true;
        self
    }

    /// Encrypted. Servers' certificates are trusted if one in this file, in PEM, signed them, and no
    /// others.
    #[must_use]
    pub fn ca(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(path.as_ref().to_owned());
        self.tls()
    }

    /// Encrypted, showing this certificate and proving it by its key: files in PEM.
    #[must_use]
    pub fn identity(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity = Some((certificate.as_ref().to_owned(), key.as_ref().to_owned()));
        self.tls()
    }
}

impl fmt::Debug for NatsSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSecurity")
            .field("tls", &self.is_encrypted)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

impl NatsSink {
    /// A sink that finds the servers through any of these, `nats://host:port` and commas between
    /// them, and publishes to `subject`, which belongs to `stream`.
    ///
    /// The subject is a name, or a template of one: `{category}` is the part of the cloud event's
    /// subject before the first `-`, `{type}` its type, `{key}` its key, and any other word in braces
    /// the extension of that name. A cloud event that gives no valid subject is refused.
    ///
    /// # Errors
    ///
    /// [`NatsError::Servers`], [`NatsError::StreamName`] and [`NatsError::Subject`] if one of the three
    /// cannot be used.
    pub fn new(servers: &str, stream: &str, subject: &str) -> Result<Self, NatsError> {
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
        let is_name = |c: char| is_plain(c) && !matches!(c, '.' | '*' | '>' | '/' | '\\');
        if stream.is_empty() || !stream.chars().all(is_name) {
            return Err(NatsError::StreamName { stream: stream.to_owned() });
        }
        let settings = Settings {
            servers: addresses(servers)?,
            stream: stream.to_owned(),
            subject: Template::new(&SUBJECT, subject)?,
            format: NatsFormat::default(),
            streams: NatsStreams::default(),
            security: NatsSecurity::default(),
        };
        Ok(Self { settings, relay: OnceLock::new(), session: Mutex::default() })
    }

    /// The same sink writing messages in this format.
    #[must_use]
    pub fn format(mut self, format: NatsFormat) -> Self {
        self.settings.format = format;
        self
    }

    /// The same sink doing this where the stream is missing.
    #[must_use]
    pub fn streams(mut self, streams: NatsStreams) -> Self {
        self.settings.streams = streams;
        self
    }

    /// The same sink connecting that way.
    #[must_use]
    pub fn security(mut self, security: NatsSecurity) -> Self {
        self.settings.security = security;
        self
    }

    /// The connection; a new one where there is none.
    async fn session(&self) -> Result<Arc<Session>, Trouble> {
        let mut held = self.session.lock().await;
        if let Some(session) = &*held {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::open(&self.settings).await?);
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Lets go of a connection that failed: what is wrong is best said by a new one.
    async fn forget(&self, failed: &Arc<Session>) {
        let mut held = self.session.lock().await;
        if held.as_ref().is_some_and(|session| Arc::ptr_eq(session, failed)) {
            *held = None;
        }
    }

    /// The cloud events as messages, each key's in their order; and the first one that cannot be one.
    fn messages(&self, batch: &Batch) -> (Chains, Option<(usize, Trouble)>) {
        let relay = self.relay.get().map(String::as_str).unwrap_or_default();
        let mut chains = Chains::new();
        for (index, cloud_event) in batch.cloud_events.iter().enumerate() {
            let subject = match self.settings.subject.of(cloud_event) {
                Ok(subject) => subject,
                Err(error) => return (chains, Some((index, Trouble::Refused(error.into())))),
            };
            let message = self.settings.format.message(subject, relay, cloud_event);
            let key = cloud_event.key.clone().unwrap_or_default();
            chains.entry(key).or_default().push((index, message));
        }
        (chains, None)
    }

    async fn publish_all(&self, batch: &Batch) -> Result<(), SinkError> {
        let (chains, mut failed) = self.messages(batch);
        let session = self.session().await.map_err(|trouble| trouble.after(0))?;
        let mut running = JoinSet::new();
        for chain in chains.into_values() {
            let session = Arc::clone(&session);
            running.spawn(async move { session.publish(chain).await });
        }
        while let Some(ended) = running.join_next().await {
            let ended = ended.unwrap_or(Err((0, Trouble::Unavailable(NatsError::Ended))));
            // The first one in the batch tells how far all of it came.
            if let Err(other) = ended
                && failed.as_ref().is_none_or(|(index, _)| other.0 < *index)
            {
                failed = Some(other);
            }
        }
        let Some((index, trouble)) = failed else { return Ok(()) };
        if !matches!(trouble, Trouble::Refused(_)) {
            self.forget(&session).await;
        }
        Err(trouble.after(index))
    }
}

/// The messages of each key, with their places in the batch.
type Chains = BTreeMap<String, Vec<(usize, Message)>>;

impl Sink for NatsSink {
    fn attach(&self, _store: &Arc<dyn EventStore>, relay: &str) {
        let own = self.relay.get_or_init(|| relay.to_owned());
        assert!(
            own == relay,
            "a NATS sink belongs to one relay: this one to \"{own}\", \"{relay}\" needs its own"
        );
    }

    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(self.publish_all(batch))
    }
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink")
            .field("stream", &self.settings.stream)
            .field("subject", &self.settings.subject)
            .field("security", &self.settings.security)
            .finish_non_exhaustive()
    }
}
