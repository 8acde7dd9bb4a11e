//! Executing commands: load, decide, append, and again where another append came first.
//!
//! The steps of an attempt:
//!
//! 1. with an idempotency key, look for its ledger event: if it is there, answer what it says;
//! 2. bring the model up to date: all of it at first, later only what is new;
//! 3. decide;
//! 4. append the events, the ledger event last, with all that must still hold;
//! 5. on a conflict begin again; on an unknown outcome send the same events again, which the store
//!    recognises by their ids.

use std::fmt;
use std::future::IntoFuture;

use quipu_core::{
    Append, AppendCondition, AppendError, Appended, AppendedStream, BoxFuture, EventId,
    ExpectedRevision, Position, Query, StreamName, Violation,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::app::Quipu;
use crate::codec::CodecError;
use crate::command::{Command, Ctx, InvalidCommand, digest};
use crate::error::{ExecuteError, Unavailable};
use crate::fold::{Fold, Guard};
use crate::ledger::{Found, Lookup};
use crate::metadata::Metadata;
use crate::retry::Retry;

/// How often one append is sent while its outcome is unknown.
const SEND_COUNT_MAX: u32 = 3;

/// A command that is about to be executed. Await it.
///
/// Dropping the future before it is done leaves it open whether the command was executed.
#[must_use = "a command is executed when this is awaited"]
pub struct Execute<C> {
    app: Quipu,
    command: C,
    metadata: Metadata,
    key: Option<String>,
    expected: Option<(StreamName, ExpectedRevision)>,
    retry: Retry,
}

/// What came of a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Done {
    /// A place at which everything that the command did is in the log: that of its last event, or,
    /// where it decided nothing, the one that it was decided at.
    pub position: Position,
    /// Whether an earlier sending of the same idempotency key did it. Nothing was decided now.
    pub replayed: bool,
    /// How often it was decided.
    pub attempts: u32,
    /// The ids of its events, in order.
    pub events: Vec<EventId>,
    /// Where its events are: the last one for each stream. Empty where it was replayed.
    pub streams: Vec<AppendedStream>,
    value: Option<Value>,
}

impl Done {
    /// The value that the decision [returned](crate::Events::returning), or `None` if it had none.
    ///
    /// # Errors
    ///
    /// A [`CodecError`] if it is not of this type.
    pub fn value<T: DeserializeOwned>(&self) -> Result<Option<T>, CodecError> {
        let value = self.value.clone();
        value.map(serde_json::from_value).transpose().map_err(CodecError::new)
    }
}

impl<C: Command> Execute<C> {
    pub(crate) fn new(app: Quipu, command: C) -> Self {
        let retry = Retry::default();
        Self { app, command, metadata: Metadata::default(), key: None, expected: None, retry }
    }

    /// All of the metadata at once.
    pub(crate) fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Demands something of one more stream, which the command neither reads nor writes.
    pub(crate) fn expect(mut self, stream: StreamName, expected: ExpectedRevision) -> Self {
        self.expected = Some((stream, expected));
        self
    }

    /// Executes it at most once, however often it is sent with this key: later sendings answer what
    /// the first one did, also after a restart. A refusal is not remembered.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says who asks.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.metadata.actor = Some(actor.into());
        self
    }

    /// Says for whom.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.metadata.tenant = Some(tenant.into());
        self
    }

    /// Says as part of what: what everything that one cause set off has in common.
    pub fn correlation(mut self, correlation: impl Into<String>) -> Self {
        self.metadata.correlation = Some(correlation.into());
        self
    }

    /// Says what led to it directly: the id of an event or of another command.
    pub fn causation(mut self, causation: impl Into<String>) -> Self {
        self.metadata.causation = Some(causation.into());
        self
    }

    /// Passes on the W3C trace context: the header `traceparent`, and `tracestate` where there is
    /// one.
    pub fn trace(mut self, traceparent: impl Into<String>, tracestate: Option<String>) -> Self {
        self.metadata.traceparent = Some(traceparent.into());
        self.metadata.tracestate = tracestate;
        self
    }

    /// How often to decide when other appends come first; five times by default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    async fn run(self) -> Result<Done, ExecuteError<C::Error>> {
        let seed = match &self.key {
            Some(key) => Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()),
            None => Uuid::new_v4(),
        };
        let fold = Fold::new(&self.app, self.command.model(), None)
            .map_err(|error| ExecuteError::Invalid(error.into()))?;
        let lookup = self
            .key
            .clone()
            .map(Lookup::new)
            .transpose()
            .map_err(|error| ExecuteError::Invalid(error.into()))?;
        let query = fold.query();
        let fingerprint = digest(format!("{} {query:?}", self.command.fingerprint()).as_bytes());
        let now = self.app.now();
        let run = Run {
            app: self.app,
            command: self.command,
            metadata: self.metadata,
            expected: self.expected,
            retry: self.retry,
            now,
            seed,
            fingerprint,
            boundary: query,
            fold,
            lookup,
            guard_frontier: None,
            in_doubt: None,
            sent: Vec::new(),
            attempt: 0,
        };
        run.execute().await
    }
}

impl<C: Command> IntoFuture for Execute<C> {
    type Output = Result<Done, ExecuteError<C::Error>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<C> fmt::Debug for Execute<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execute")
            .field("metadata", &self.metadata)
            .field("key", &self.key)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// A command while it is executed.
struct Run<C: Command> {
    app: Quipu,
    command: C,
    metadata: Metadata,
    expected: Option<(StreamName, ExpectedRevision)>,
    retry: Retry,
    now: quipu_core::Timestamp,
    seed: Uuid,
    fingerprint: String,
    boundary: Query,
    fold: Fold<C::Model>,
    lookup: Option<Lookup>,
    /// The frontier before an aggregate was read, for a command that guards by a query.
    guard_frontier: Option<Position>,
    /// Why the outcome of an append is not known, since it was sent and nobody answered.
    in_doubt: Option<AppendError>,
    /// The ids of the ledger events that were sent.
    sent: Vec<EventId>,
    attempt: u32,
}

/// How an attempt ended.
enum Ending<E> {
    Done(Done),
    Failed(ExecuteError<E>),
    /// Another attempt may do better; if none is left, this is the error.
    Again(ExecuteError<E>),
}

impl<C: Command> Run<C> {
    async fn execute(mut self) -> Result<Done, ExecuteError<C::Error>> {
        let app = self.app.clone();
        let queue = app.queue(&self.boundary);
        let mut turn = queue.pass().await;
        loop {
            self.attempt += 1;
            let ending = self.try_once().await.unwrap_or_else(Ending::Failed);
            let error = match ending {
                Ending::Done(done) => {
                    self.fold.keep(&app);
                    return Ok(done);
                }
                Ending::Failed(error) => return Err(self.with_doubt(error)),
                Ending::Again(error) => error,
            };
            if !self.retry.allows(self.attempt) {
                return Err(self.with_doubt(error));
            }
            self.retry.wait(self.attempt).await;
            if turn.is_none() {
                turn = Some(queue.enter().await);
            }
        }
    }

    /// While an append is in doubt, a store that is not available leaves it in doubt.
    fn with_doubt(&mut self, error: ExecuteError<C::Error>) -> ExecuteError<C::Error> {
        match (error, self.in_doubt.take()) {
            (ExecuteError::Unavailable(_), Some(doubt)) => ExecuteError::OutcomeUnknown(doubt),
            (error, _) => error,
        }
    }

    async fn try_once(&mut self) -> Result<Ending<C::Error>, ExecuteError<C::Error>> {
        if let Some(lookup) = &mut self.lookup {
            let found = lookup.read(&self.app).await.map_err(ExecuteError::Unavailable)?;
            if let Some(found) = found {
                return self.replay(found).map(Ending::Done);
            }
        }
        let guard = self.command.guard().map(|query| self.app.upcasters().widen(query));
        if guard.is_some() && self.fold.is_of_stream() {
            let frontier = self.app.store().frontier().await;
            let frontier = frontier.map_err(Unavailable::Read);
            self.guard_frontier = Some(frontier.map_err(ExecuteError::Unavailable)?);
        }
        self.fold.read(&self.app).await?;
        let ctx = Ctx::new(self.now, self.metadata.clone(), self.seed);
        let events = self.command.decide(&self.fold.model, &ctx).map_err(ExecuteError::Rejected)?;
        let (pending, value) = events.into_parts()?;
        if pending.is_empty() && self.lookup.is_none() {
            return Ok(Ending::Done(Done {
                position: self.fold.position(),
                replayed: false,
                attempts: self.attempt,
                events: Vec::new(),
                streams: Vec::new(),
                value,
            }));
        }
        let mut append = Append::new();
        append.events.extend(pending.iter().map(|event| event.to_new(&self.metadata)));
        let ids = append.events.iter().map(|(_, event)| event.id).collect();
        self.demand(&mut append, guard);
        if let Some(lookup) = &self.lookup {
            let entry =
                lookup.entry(&self.fingerprint, &append.events, value.as_ref(), &self.metadata);
            self.sent.push(entry.1.id);
            append.events.push(entry);
        }
        Ok(self.send(append, ids, value).await)
    }

    /// Adds what must still hold when the events take their place.
    fn demand(&self, append: &mut Append, guard: Option<Query>) {
        append.expectations.extend(self.expected.clone());
        match (guard, self.fold.guard()) {
            (None, Guard::Stream(stream, expected)) => {
                append.expectations.push((stream, expected));
            }
            (None, Guard::Log(query, after)) => {
                append.conditions.push(AppendCondition { query, after });
            }
            (Some(query), own) => {
                let after = match own {
                    Guard::Stream(..) => self.guard_frontier,
                    Guard::Log(_, after) => after,
                };
                if !query.items.is_empty() {
                    append.conditions.push(AppendCondition { query, after });
                }
            }
        }
        if let Some(lookup) = &self.lookup {
            let (query, after) = lookup.condition();
            append.conditions.push(AppendCondition { query, after });
        }
    }

    /// Appends, and asks again while nobody knows whether it was appended.
    async fn send(
        &mut self,
        append: Append,
        ids: Vec<EventId>,
        value: Option<Value>,
    ) -> Ending<C::Error> {
        for count in 1..=SEND_COUNT_MAX {
            let Appended { last, streams, .. } = match self.app.store().append(append.clone()).await
            {
                Ok(appended) => appended,
                Err(error @ AppendError::OutcomeUnknown(_)) => {
                    self.in_doubt = Some(error);
                    self.retry.wait(count + 1).await;
                    continue;
                }
                Err(error) => return self.refused(error),
            };
            return Ending::Done(Done {
                position: last.unwrap_or_else(|| self.fold.position()),
                replayed: false,
                attempts: self.attempt,
                events: ids,
                streams,
                value,
            });
        }
        // The doubt makes it an outcome that is not known. With a key, the ledger tells: it is read
        // again, and the command decided again only if nothing is there.
        let error = ExecuteError::Unavailable(Unavailable::Append(AppendError::Closed));
        if self.lookup.is_some() { Ending::Again(error) } else { Ending::Failed(error) }
    }

    fn refused(&self, error: AppendError) -> Ending<C::Error> {
        match error {
            AppendError::Conflict { violations } => Ending::Again(self.conflict(violations)),
            AppendError::Invalid(invalid) => {
                Ending::Failed(ExecuteError::Invalid(InvalidCommand::Append(invalid)))
            }
            error @ AppendError::Overloaded => {
                Ending::Again(ExecuteError::Unavailable(Unavailable::Append(error)))
            }
            error => Ending::Failed(ExecuteError::Unavailable(Unavailable::Append(error))),
        }
    }

    fn conflict(&self, violations: Vec<Violation>) -> ExecuteError<C::Error> {
        ExecuteError::Conflict { attempt_count: self.attempt, violations }
    }

    /// Answers what the ledger says.
    fn replay(&self, found: Found) -> Result<Done, ExecuteError<C::Error>> {
        let Found { entry, id, position } = found;
        if entry.fingerprint != self.fingerprint {
            return Err(ExecuteError::KeyReused { key: entry.key, position });
        }
        Ok(Done {
            position,
            // An append of this very execution, whose answer was lost, is no replay.
            replayed: !self.sent.contains(&id),
            attempts: self.attempt,
            events: entry.events.into_iter().map(EventId::from_uuid).collect(),
            streams: Vec::new(),
            value: entry.value,
        })
    }
}
