//! Every way a call fails: its code, its text and its trailers, as KurrentDB's clients read them.
//!
//! Clients find the kind of failure in the trailer `exception`; some read the text instead, so the
//! texts are part of the protocol. Names that are not ASCII travel percent-encoded in trailers.

use std::fmt;

use quipu_core::{
    AppendError, ExpectedRevision, InvalidAppend, ReadError, StorageError, StreamState,
    SubscribeError, Violation,
};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::caller::{Caller, Denial};

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The caller has not shown who they are.
    Unauthenticated,
    /// The caller may not do it.
    AccessDenied,
    /// A delete or tombstone expected another revision. Appends say so in their answers.
    WrongExpectedVersion {
        /// The stream.
        stream: String,
        /// What was expected, as [`expected_number`] has it.
        expected: i64,
        /// The last revision; -1 for none.
        actual: i64,
    },
    /// The stream is tombstoned.
    StreamDeleted {
        /// The stream.
        stream: String,
    },
    /// There is no such index.
    IndexNotFound {
        /// The index.
        index: String,
    },
    /// An append is too large.
    AppendTooLarge {
        /// The most bytes of one append.
        size_max: usize,
    },
    /// An event of an append is too large.
    EventTooLarge {
        /// The event's id.
        id: String,
        /// Its bytes.
        size: usize,
        /// The most bytes of one event.
        size_max: usize,
    },
    /// An event has no type or no content type.
    MissingMetadata,
    /// A persistent subscription cannot be what is asked for.
    SubscriptionFailed {
        /// The stream, or `$all`.
        stream: String,
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
    /// There is no such persistent subscription.
    SubscriptionMissing {
        /// The stream, or `$all`.
        stream: String,
        /// The group.
        group: String,
    },
    /// There is such a persistent subscription already.
    SubscriptionExists {
        /// The stream, or `$all`.
        stream: String,
        /// The group.
        group: String,
    },
    /// A persistent subscription has as many consumers as it may.
    TooManySubscribers {
        /// The stream, or `$all`.
        stream: String,
        /// The group.
        group: String,
    },
    /// A persistent subscription was deleted or changed under its consumers.
    SubscriptionDropped {
        /// The stream, or `$all`.
        stream: String,
        /// The group.
        group: String,
    },
    /// There is no such user.
    UserNotFound {
        /// The login name.
        user: String,
    },
    /// There is such a user already.
    UserConflict {
        /// The login name.
        user: String,
    },
    /// There is no such scavenge.
    ScavengeNotFound {
        /// Its id.
        id: String,
    },
    /// There is no such projection.
    ProjectionNotFound {
        /// Its name.
        name: String,
    },
    /// The request is wrong and will never succeed.
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Something that this server does not do.
    Unsupported {
        /// What, and what to do instead.
        reason: &'static str,
    },
    /// More is under way than the server takes on. Try again.
    Busy,
    /// The server stops or its store is closed.
    NotReady,
    /// The disk is full.
    DiskFull,
    /// The store was opened for reading only.
    ReadOnly,
    /// It is not known whether the events were appended. Retry with the same ids.
    OutcomeUnknown,
    /// The store failed; the log says more.
    Storage,
}

/// How a failure looks: the value of the trailer `exception` if it has one, its code, its text.
struct Look {
    exception: Option<&'static str>,
    code: Code,
    text: String,
    trailers: Vec<(&'static str, String)>,
}

fn look(exception: &'static str, code: Code, text: impl Into<String>) -> Look {
    Look { exception: Some(exception), code, text: text.into(), trailers: Vec::new() }
}

fn plain(code: Code, text: impl Into<String>) -> Look {
    Look { exception: None, code, text: text.into(), trailers: Vec::new() }
}

impl Look {
    fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.trailers.push((name, value.to_string()));
        self
    }

    fn of_group(self, stream: &str, group: &str) -> Self {
        self.with("stream-name", stream).with("group-name", group)
    }
}

impl Failure {
    /// The request is wrong: what is wrong with it.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    /// The table.
    fn look(&self) -> Look {
        match self {
            Self::Unauthenticated => plain(Code::Unauthenticated, "Unauthenticated"),
            Self::AccessDenied => look("access-denied", Code::PermissionDenied, "Access Denied"),
            Self::WrongExpectedVersion { stream, expected, actual } => look(
                "wrong-expected-version",
                Code::FailedPrecondition,
                format!(
                    "Delete failed due to WrongExpectedVersion. Stream: {stream}, \
                     Expected version: {expected}, Actual version: {actual}"
                ),
            )
            .with("stream-name", stream)
            .with("expected-version", expected)
            .with("actual-version", actual),
            Self::StreamDeleted { stream } => {
                let text = format!("Event stream '{stream}' is deleted.");
                look("stream-deleted", Code::FailedPrecondition, text).with("stream-name", stream)
            }
            Self::IndexNotFound { index } => {
                let text = format!("Index '{index}' not found.");
                look("index-not-found", Code::NotFound, text).with("index-name", index)
            }
            Self::AppendTooLarge { size_max } => {
                let text = format!("Maximum Append Size of {size_max} Exceeded.");
                look("maximum-append-size-exceeded", Code::InvalidArgument, text)
                    .with("maximum-append-size", size_max)
            }
            Self::EventTooLarge { id, size, size_max } => look(
                "maximum-append-event-size-exceeded",
                Code::InvalidArgument,
                format!("Event {id} has {size} bytes, at most {size_max} are allowed."),
            )
            .with("event-id", id)
            .with("proposed-append-event-size", size)
            .with("maximum-append-event-size", size_max),
            Self::MissingMetadata => look(
                "missing-required-metadata-property",
                Code::InvalidArgument,
                "Required Metadata Property missing: type, content-type",
            )
            .with("required-metadata-properties", "type,content-type"),
            Self::Invalid { reason } => plain(Code::InvalidArgument, reason),
            Self::Unsupported { reason } => plain(Code::Unimplemented, *reason),
            Self::Busy => plain(Code::Unavailable, "Server Is Too Busy"),
            Self::NotReady => plain(Code::Unavailable, "Server Is Not Ready"),
            Self::DiskFull => plain(Code::ResourceExhausted, "the disk is full"),
            Self::ReadOnly => plain(Code::Internal, "the store is open for reading only"),
            Self::OutcomeUnknown => {
                let text = "Operation timed out: it is not known whether the events were appended. \
                            Retry with the same ids";
                plain(Code::Aborted, text)
            }
            Self::Storage => plain(Code::Internal, "the store failed; the server's log says more"),
            Self::UserNotFound { .. }
            | Self::UserConflict { .. }
            | Self::ScavengeNotFound { .. }
            | Self::ProjectionNotFound { .. } => self.look_of_operation(),
            Self::SubscriptionFailed { .. }
            | Self::SubscriptionMissing { .. }
            | Self::SubscriptionExists { .. }
            | Self::TooManySubscribers { .. }
            | Self::SubscriptionDropped { .. } => self.look_of_subscription(),
        }
    }

    fn look_of_operation(&self) -> Look {
        match self {
            Self::UserNotFound { user } => {
                let text = format!("User '{user}' is not found.");
                look("user-not-found", Code::NotFound, text).with("login-name", user)
            }
            Self::UserConflict { user } => {
                look("user-conflict", Code::FailedPrecondition, "Conflict.")
                    .with("login-name", user)
            }
            Self::ScavengeNotFound { id } => {
                look("scavenge-not-found", Code::NotFound, "Scavenge id was invalid.")
                    .with("scavenge-id", id)
            }
            Self::ProjectionNotFound { name } => {
                plain(Code::NotFound, format!("Projection '{name}' not found"))
            }
            other => unreachable!("{other:?} is not of an operation"),
        }
    }

    fn look_of_subscription(&self) -> Look {
        match self {
            Self::SubscriptionFailed { stream, group, reason } => look(
                "persistent-subscription-failed",
                Code::Internal,
                format!("Subscription group {group} on stream {stream} failed: '{reason}'"),
            )
            .of_group(stream, group)
            .with("reason", reason),
            Self::SubscriptionMissing { stream, group } => look(
                "persistent-subscription-does-not-exist",
                Code::NotFound,
                format!("Subscription group {group} on stream {stream} does not exist."),
            )
            .of_group(stream, group),
            Self::SubscriptionExists { stream, group } => look(
                "persistent-subscription-exists",
                Code::AlreadyExists,
                format!("Subscription group {group} on stream {stream} exists."),
            )
            .of_group(stream, group),
            Self::TooManySubscribers { stream, group } => {
                let text = format!(
                    "Maximum subscriptions reached for subscription group {group} on stream \
                     {stream}."
                );
                look("maximum-subscribers-reached", Code::FailedPrecondition, text)
                    .of_group(stream, group)
            }
            Self::SubscriptionDropped { stream, group } => look(
                "persistent-subscription-dropped",
                Code::Cancelled,
                format!("Subscription group {group} on stream {stream} was dropped."),
            )
            .of_group(stream, group),
            other => unreachable!("{other:?} is not of a subscription"),
        }
    }

    /// Why an append of one stream did not succeed. A demand that does not hold is an answer of its
    /// own to appends; for deletes it is this failure.
    pub fn of_append(caller: &dyn Caller, error: &AppendError) -> Self {
        match error {
            AppendError::Conflict { violations } => Self::of_violations(violations),
            AppendError::Invalid(invalid) => Self::of_invalid(invalid),
            AppendError::Overloaded => Self::Busy,
            AppendError::DiskFull => Self::DiskFull,
            AppendError::ReadOnly => Self::ReadOnly,
            AppendError::Closed => Self::NotReady,
            AppendError::OutcomeUnknown(cause) => {
                tracing::error!(error = %cause, "an append's outcome is not known");
                Self::OutcomeUnknown
            }
            AppendError::Storage(cause) => Self::of_storage(caller, cause),
            other => {
                tracing::error!(error = %other, "an append failed");
                Self::Storage
            }
        }
    }

    fn of_violations(violations: &[Violation]) -> Self {
        for violation in violations {
            if let Violation::Stream { stream, expected, found } = violation {
                let stream = stream.to_string();
                return match found {
                    StreamState::Tombstoned { .. } => Self::StreamDeleted { stream },
                    found => Self::WrongExpectedVersion {
                        stream,
                        expected: expected_number(*expected),
                        actual: last_number(*found),
                    },
                };
            }
        }
        Self::Storage
    }

    fn of_invalid(invalid: &InvalidAppend) -> Self {
        match invalid {
            InvalidAppend::EventTooLarge { index, size, size_max } => {
                Self::EventTooLarge { id: index.to_string(), size: *size, size_max: *size_max }
            }
            InvalidAppend::TooLarge { size_max, .. } => {
                Self::AppendTooLarge { size_max: *size_max }
            }
            // A system's own names take rights that the caller does not have.
            InvalidAppend::ReservedName { .. } => Self::AccessDenied,
            other => Self::invalid(other.to_string()),
        }
    }

    /// Why a read did not succeed.
    pub fn of_read(caller: &dyn Caller, error: &ReadError) -> Self {
        match error {
            ReadError::Closed => Self::NotReady,
            ReadError::Storage(cause) => Self::of_storage(caller, cause),
            other => Self::invalid(other.to_string()),
        }
    }

    /// Why a subscription ended or could not begin.
    pub fn of_subscribe(caller: &dyn Caller, error: &SubscribeError) -> Self {
        match error {
            SubscribeError::StreamTombstoned { stream } => {
                Self::StreamDeleted { stream: stream.to_string() }
            }
            SubscribeError::BeyondEnd { .. } => Self::invalid(INVALID_POSITION),
            SubscribeError::Closed => Self::NotReady,
            SubscribeError::Storage(cause) => Self::of_storage(caller, cause),
            other => Self::invalid(other.to_string()),
        }
    }

    fn of_storage(caller: &dyn Caller, cause: &StorageError) -> Self {
        if let Some(denial) = caller.denial(cause) {
            return denial.into();
        }
        tracing::error!(error = %cause, "the store failed");
        Self::Storage
    }
}

/// What a read from a place that no event can be at is answered.
pub const INVALID_POSITION: &str = "Trying to read from an invalid position.";

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Unauthenticated => Self::Unauthenticated,
            Denial::Forbidden => Self::AccessDenied,
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let look = failure.look();
        let mut trailers = MetadataMap::new();
        if let Some(exception) = look.exception {
            trailers.insert("exception", MetadataValue::from_static(exception));
        }
        for (name, value) in look.trailers {
            trailers.insert(name, to_ascii(&value));
        }
        Self::with_metadata(look.code, look.text, trailers)
    }
}

/// A text as a trailer can carry it: what is not printable ASCII is percent-encoded, byte by byte.
fn to_ascii(text: &str) -> MetadataValue<Ascii> {
    use fmt::Write as _;
    let mut ascii = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') {
            ascii.push(char::from(byte));
        } else {
            write!(ascii, "%{byte:02X}").expect("a string can be written to");
        }
    }
    MetadataValue::try_from(ascii).expect("it is printable ASCII")
}

/// An expectation as the protocol numbers it.
pub fn expected_number(expected: ExpectedRevision) -> i64 {
    match expected {
        ExpectedRevision::Exactly(revision) => i64::try_from(revision.get()).unwrap_or(i64::MAX),
        ExpectedRevision::NoStream => -1,
        ExpectedRevision::Any => -2,
        ExpectedRevision::StreamExists => -4,
        ExpectedRevision::Deleted => -5,
        ExpectedRevision::Tombstoned => -6,
    }
}

/// A stream's last revision as the protocol numbers it: -1 where it has none.
pub fn last_number(state: StreamState) -> i64 {
    match state {
        StreamState::Tombstoned { .. } => i64::MAX,
        state => state.last().map_or(-1, |last| i64::try_from(last.get()).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer<'a>(status: &'a Status, name: &str) -> Option<&'a str> {
        status.metadata().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_failed_delete_says_what_clients_look_for() {
        let failure = Failure::of_violations(&[Violation::Stream {
            stream: "order-1".parse().unwrap(),
            expected: ExpectedRevision::NoStream,
            found: StreamState::Live { last: quipu_core::Revision::new(4) },
        }]);

        let status = Status::from(failure);

        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(
            status.message(),
            "Delete failed due to WrongExpectedVersion. Stream: order-1, Expected version: -1, \
             Actual version: 4"
        );
        assert_eq!(trailer(&status, "exception"), Some("wrong-expected-version"));
        assert_eq!(trailer(&status, "stream-name"), Some("order-1"));
        assert_eq!(trailer(&status, "expected-version"), Some("-1"));
        assert_eq!(trailer(&status, "actual-version"), Some("4"));
    }

    #[test]
    fn names_of_any_script_travel_in_trailers() {
        let status = Status::from(Failure::StreamDeleted { stream: "bücher-日".to_owned() });

        assert_eq!(trailer(&status, "stream-name"), Some("b%C3%BCcher-%E6%97%A5"));
        assert_eq!(status.message(), "Event stream 'bücher-日' is deleted.");
    }

    #[test]
    fn every_failure_of_a_group_names_it() {
        let (stream, group) = ("s".to_owned(), "g".to_owned());
        let reason = "r".to_owned();
        for failure in [
            Failure::SubscriptionMissing { stream: stream.clone(), group: group.clone() },
            Failure::SubscriptionExists { stream: stream.clone(), group: group.clone() },
            Failure::TooManySubscribers { stream: stream.clone(), group: group.clone() },
            Failure::SubscriptionDropped { stream: stream.clone(), group: group.clone() },
            Failure::SubscriptionFailed { stream, group, reason },
        ] {
            let status = Status::from(failure);

            assert!(trailer(&status, "exception").is_some(), "{status:?}");
            assert_eq!(trailer(&status, "stream-name"), Some("s"));
            assert_eq!(trailer(&status, "group-name"), Some("g"));
        }
    }
}
