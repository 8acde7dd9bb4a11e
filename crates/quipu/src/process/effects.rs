//! Effects: what a process wants done, as data.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use quipu_core::{BoxFuture, ExpectedRevision, StreamName, Timestamp};

use crate::app::Quipu;
use crate::command::Command;
use crate::error::ExecuteError;
use crate::metadata::Metadata;

/// What is to be done about an input. Nothing is done before `react` has returned.
///
/// Commands are executed in order. All of them are, also where one is refused: the refusal comes
/// back as an input of its own. What is to wait for the outcome of a command waits for its event.
pub struct Effects<T> {
    list: Vec<Effect<T>>,
}

/// One thing to do.
pub(crate) enum Effect<T> {
    Execute { step: String, command: Box<dyn ErasedCommand> },
    Schedule { timer: String, due: Due, value: T },
    Cancel { timer: String },
    Compensate,
    Complete,
}

/// When a timer comes due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// So long after the input.
    After(Duration),
    At(Timestamp),
}

impl<T> Effects<T> {
    pub(crate) fn new() -> Self {
        Self { list: Vec::new() }
    }

    pub(crate) fn into_list(self) -> Vec<Effect<T>> {
        self.list
    }

    /// Executes a command. The step names it: in the key under which it is executed once, in a
    /// refusal, and to [`undo`](crate::Process::undo). A step may come once among the effects of an
    /// input.
    pub fn execute<C: Command>(&mut self, step: &str, command: C) -> &mut Self {
        let command = Box::new(command);
        self.list.push(Effect::Execute { step: step.to_owned(), command });
        self
    }

    /// Sets a timer, which comes back as an input so long after this input was recorded. A timer of
    /// the same name that is still set is replaced.
    pub fn schedule(&mut self, timer: &str, after: Duration, value: T) -> &mut Self {
        let due = Due::After(after);
        self.list.push(Effect::Schedule { timer: timer.to_owned(), due, value });
        self
    }

    /// Sets a timer for a moment. See [`schedule`](Self::schedule).
    pub fn schedule_at(&mut self, timer: &str, due: Timestamp, value: T) -> &mut Self {
        let due = Due::At(due);
        self.list.push(Effect::Schedule { timer: timer.to_owned(), due, value });
        self
    }

    /// Takes a timer back. One that is not set, or has come already, is none to take back.
    pub fn cancel(&mut self, timer: &str) -> &mut Self {
        self.list.push(Effect::Cancel { timer: timer.to_owned() });
        self
    }

    /// Undoes what was executed so far, the last step first: for each step of an earlier input whose
    /// command was not refused, what [`undo`](crate::Process::undo) says. Later it is not undone
    /// again.
    pub fn compensate(&mut self) -> &mut Self {
        self.list.push(Effect::Compensate);
        self
    }

    /// Ends the instance once all of this is done: no further input is for it, its timers are
    /// taken back.
    pub fn complete(&mut self) -> &mut Self {
        self.list.push(Effect::Complete);
        self
    }
}

impl<T> fmt::Debug for Effects<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(Effect::describe)).finish()
    }
}

impl<T> Effect<T> {
    /// The effect as it is recorded and compared.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Execute { step, .. } => format!("execute {step}"),
            Self::Schedule { timer, .. } => format!("schedule {timer}"),
            Self::Cancel { timer } => format!("cancel {timer}"),
            Self::Compensate => "compensate".to_owned(),
            Self::Complete => "complete".to_owned(),
        }
    }
}

/// How an effect's command is sent.
pub(crate) struct Sending {
    pub(crate) key: String,
    pub(crate) metadata: Metadata,
    /// The instance's stream, and what it must still be like.
    pub(crate) expected: (StreamName, ExpectedRevision),
}

/// What came of an effect's command.
#[derive(Debug)]
pub(crate) enum Sent {
    Executed,
    Rejected { reason: String },
}

/// A command of any type.
pub(crate) trait ErasedCommand: Send + Sync {
    fn execute(
        self: Box<Self>,
        app: &Quipu,
        sending: Sending,
    ) -> BoxFuture<'_, Result<Sent, ExecuteError<std::convert::Infallible>>>;

    fn as_any(&self) -> &dyn Any;

    /// The type's name, for people.
    fn name(&self) -> &'static str;
}

impl<C: Command> ErasedCommand for C {
    fn execute(
        self: Box<Self>,
        app: &Quipu,
        sending: Sending,
    ) -> BoxFuture<'_, Result<Sent, ExecuteError<std::convert::Infallible>>> {
        Box::pin(async move {
            let (stream, expected) = sending.expected;
            let execute = app
                .execute(*self)
                .idempotency_key(sending.key)
                .metadata(sending.metadata)
                .expect(stream, expected);
            match execute.await {
                Ok(_done) => Ok(Sent::Executed),
                Err(error) => error.split().map(|refusal| Sent::Rejected { reason: refusal }),
            }
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<C>()
    }
}

impl<E: std::error::Error> ExecuteError<E> {
    /// The refusal in words, or the error that is none.
    fn split(self) -> Result<String, ExecuteError<std::convert::Infallible>> {
        Err(match self {
            Self::Rejected(refusal) => return Ok(refusal.to_string()),
            Self::Conflict { attempt_count, violations } => {
                ExecuteError::Conflict { attempt_count, violations }
            }
            Self::KeyReused { key, position } => ExecuteError::KeyReused { key, position },
            Self::Invalid(invalid) => ExecuteError::Invalid(invalid),
            Self::Decode(error) => ExecuteError::Decode(error),
            Self::Unavailable(cause) => ExecuteError::Unavailable(cause),
            Self::OutcomeUnknown(cause) => ExecuteError::OutcomeUnknown(cause),
        })
    }
}
