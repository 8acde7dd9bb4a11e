//! From the store's errors to problems. One function an error, every variant in its place.

use quipu_core::{
    AppendError, ExpectedRevision, InvalidAppend, ParseQueryError, ReadError, RegistryError,
    StorageError, StreamState, SubscribeError, Violation,
};
use quipu_groups::KeepError;
use quipu_groups::group::{GroupEnd, GroupError};
use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use crate::security::Denied;

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::Conflict { violations } => of_violations(message, &violations),
            AppendError::Invalid(invalid) => of_invalid(message, &invalid),
            AppendError::Overloaded => Self::new(Kind::Overloaded, message),
            AppendError::DiskFull => Self::new(Kind::DiskFull, message),
            AppendError::ReadOnly => Self::new(Kind::ReadOnly, message),
            AppendError::Closed => Self::new(Kind::Closed, message),
            AppendError::OutcomeUnknown(storage) => {
                tracing::error!(cause = %storage, "the outcome of an append is not known");
                Self::new(Kind::OutcomeUnknown, message)
            }
            AppendError::Storage(storage) => of_storage(message, &storage),
            other => of_unknown(&other),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::AsOfInFuture { frontier } => {
                Self::new(Kind::MomentInFuture, message).with("frontier", frontier.get())
            }
            ReadError::Closed => Self::new(Kind::Closed, message),
            ReadError::Storage(storage) => of_storage(message, &storage),
            other => of_unknown(&other),
        }
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        let message = error.to_string();
        match error {
            SubscribeError::BeyondEnd { after, frontier } => Self::new(Kind::BeyondEnd, message)
                .with("after", after.get())
                .with("frontier", frontier.get()),
            SubscribeError::StreamTombstoned { stream } => {
                Self::new(Kind::Tombstoned, message).with("stream", stream.as_str())
            }
            SubscribeError::Closed => Self::new(Kind::Closed, message),
            SubscribeError::Storage(storage) => of_storage(message, &storage),
            other => of_unknown(&other),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        match error {
            RegistryError::Unknown { .. } => {
                Self::new(Kind::NotFound, message).hint("GET /components lists those that have")
            }
            RegistryError::InvalidName => Self::malformed(message),
            RegistryError::TooManyRequests => Self::new(Kind::TooManyRequests, message),
            RegistryError::ReadOnly => Self::new(Kind::ReadOnly, message),
            RegistryError::Storage(storage) => of_storage(message, &storage),
            other => of_unknown(&other),
        }
    }
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Self {
        let message = error.to_string();
        match error {
            GroupError::Unknown { name } => of_unknown_group(message).with("group", name),
            GroupError::Exists { name } => {
                Self::new(Kind::GroupExists, message).with("group", name)
            }
            GroupError::Invalid { .. } => Self::malformed(message),
            GroupError::Contended { name } => {
                Self::new(Kind::GroupContended, message).with("group", name)
            }
            GroupError::TooManyActive { count_max } => {
                Self::new(Kind::TooManyGroups, message).with("count_max", count_max)
            }
            GroupError::Ended(end) => of_ended(message, end),
            GroupError::Read(cause) => cause.into(),
            GroupError::Append(cause) => cause.into(),
            GroupError::Keep(KeepError::Unavailable(cause)) => {
                of_storage(message, &StorageError::new(cause))
            }
            other => Self::new(Kind::GroupFailed, message).because_of(&other),
        }
    }
}

fn of_unknown_group(message: String) -> Problem {
    Problem::new(Kind::NotFound, message).hint("GET /groups lists the groups")
}

/// Why a group does not go on here.
fn of_ended(message: String, end: GroupEnd) -> Problem {
    match end {
        GroupEnd::Elsewhere { owner } => {
            Problem::new(Kind::GroupElsewhere, message).with("owner", owner)
        }
        GroupEnd::Deleted => of_unknown_group(message),
        GroupEnd::Full { count_max } => {
            Problem::new(Kind::GroupFull, message).with("count_max", count_max)
        }
        GroupEnd::Failed { .. } => Problem::new(Kind::GroupFailed, message),
        // It begins anew in a moment, here or elsewhere.
        _ => Problem::new(Kind::GroupContended, message),
    }
}

/// A refusal of the permission check.
pub(super) fn of_denied(denied: &Denied) -> Problem {
    let kind = match denied {
        Denied::Unauthenticated => Kind::Unauthenticated,
        Denied::Forbidden { .. } => Kind::Forbidden,
    };
    let problem = Problem::new(kind, denied.to_string());
    match denied {
        Denied::Unauthenticated => problem,
        Denied::Forbidden { principal, .. } => problem.with("principal", principal.as_str()),
    }
}

/// A failure below the contract, or a refusal that comes the same way. What failed is for those who
/// run the server: it goes to the log and not to the caller.
fn of_storage(message: String, storage: &StorageError) -> Problem {
    if let Some(denied) = storage.downcast_ref::<Denied>() {
        return of_denied(denied);
    }
    tracing::error!(cause = %storage, "a request failed");
    Problem::new(Kind::StorageFailed, message)
}

/// A variant that a later version of the contract brings.
fn of_unknown(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a request failed");
    Problem::new(Kind::StorageFailed, error.to_string())
}

fn of_violations(message: String, violations: &[Violation]) -> Problem {
    // Nothing that anybody does makes such a demand hold again.
    let is_over = violations.iter().any(|violation| {
        matches!(violation, Violation::Stream { found: StreamState::Tombstoned { .. }, .. })
    });
    let kind = if is_over { Kind::Tombstoned } else { Kind::Conflict };
    let list: Vec<Value> = violations.iter().map(violation_to_json).collect();
    Problem::new(kind, message).with("violations", list)
}

fn violation_to_json(violation: &Violation) -> Value {
    match violation {
        Violation::Stream { stream, expected, found } => json!({
            "stream": stream.as_str(),
            "expected": expectation_to_json(*expected),
            "found": state_to_json(*found),
        }),
        Violation::Query { index, position } => {
            json!({"condition": index, "position": position.get()})
        }
    }
}

/// What is demanded of a stream, as `expect` takes it.
pub(super) fn expectation_to_json(expected: ExpectedRevision) -> Value {
    match expected {
        ExpectedRevision::Any => "any".into(),
        ExpectedRevision::NoStream => "none".into(),
        ExpectedRevision::StreamExists => "exists".into(),
        ExpectedRevision::Exactly(revision) => revision.get().into(),
        ExpectedRevision::Deleted => "deleted".into(),
        ExpectedRevision::Tombstoned => "tombstoned".into(),
    }
}

/// The word for what a stream is like.
pub(super) fn state_to_word(state: StreamState) -> &'static str {
    match state {
        StreamState::Absent => "absent",
        StreamState::Live { .. } => "live",
        StreamState::Deleted { .. } => "deleted",
        StreamState::Tombstoned { .. } => "tombstoned",
    }
}

fn state_to_json(state: StreamState) -> Value {
    let last = state.last().map(quipu_core::Revision::get);
    json!({"state": state_to_word(state), "last": last})
}

fn of_invalid(message: String, invalid: &InvalidAppend) -> Problem {
    let (kind, data): (Kind, Vec<(&'static str, Value)>) = match invalid {
        InvalidAppend::EventTooLarge { index, size, size_max } => (
            Kind::TooLarge,
            vec![("index", json!(index)), ("size", json!(size)), ("size_max", json!(size_max))],
        ),
        InvalidAppend::TooLarge { size, size_max } => {
            (Kind::TooLarge, vec![("size", json!(size)), ("size_max", json!(size_max))])
        }
        InvalidAppend::TooManyEvents { count, count_max } => {
            (Kind::TooLarge, vec![("count", json!(count)), ("count_max", json!(count_max))])
        }
        InvalidAppend::TooManyTags { index, count, count_max } => (
            Kind::InvalidAppend,
            vec![("index", json!(index)), ("count", json!(count)), ("count_max", json!(count_max))],
        ),
        InvalidAppend::ReservedName { name } => (Kind::InvalidAppend, vec![("name", json!(name))]),
        InvalidAppend::MetadataStream { stream }
        | InvalidAppend::NameTooLong { stream }
        | InvalidAppend::TwoExpectations { stream } => {
            (Kind::InvalidAppend, vec![("stream", json!(stream.as_str()))])
        }
        InvalidAppend::RecordedInFuture { index, .. } => {
            (Kind::InvalidAppend, vec![("index", json!(index))])
        }
        InvalidAppend::AfterBeyondFrontier { index, after, frontier } => (
            Kind::InvalidAppend,
            vec![
                ("condition", json!(index)),
                ("after", json!(after.get())),
                ("frontier", json!(frontier.get())),
            ],
        ),
        _ => (Kind::InvalidAppend, Vec::new()),
    };
    let mut problem = Problem::new(kind, message).because(invalid.to_string());
    if let InvalidAppend::ReservedName { .. } = invalid {
        problem = problem.hint("names that begin with $ are the store's own: use another name");
    }
    for (name, value) in data {
        problem = problem.with(name, value);
    }
    problem
}

/// A text that is not a query, with the place in it where that shows.
pub(super) fn of_query(text: &str, error: &ParseQueryError) -> Problem {
    let problem = Problem::new(Kind::MalformedQuery, error.to_string()).with("query", text);
    let (term, offset) = match error {
        ParseQueryError::UnknownTerm { term } | ParseQueryError::Value { term, .. } => {
            (Some(term.as_str()), text.find(term.as_str()))
        }
        ParseQueryError::Twice { key } => (None, text.rfind(&format!("{key}:"))),
        ParseQueryError::OpenQuote { offset } => (None, Some(*offset)),
        _ => (None, None),
    };
    let problem = if let Some(term) = term { problem.with("term", term) } else { problem };
    let problem = if let Some(at) = offset { problem.with("offset", at) } else { problem };
    problem.because_of(error)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use quipu_core::{Position, Revision, StreamName};

    use super::*;

    fn value(problem: impl Into<Problem>) -> Value {
        serde_json::to_value(problem.into()).unwrap()
    }

    fn storage() -> StorageError {
        StorageError::new("the disk of shelf 7 broke")
    }

    #[test]
    fn every_error_of_an_append_has_its_kind() {
        let stream = StreamName::new("order-1").unwrap();
        let found = StreamState::Live { last: Revision::new(4) };
        let over = StreamState::Tombstoned { last: Revision::new(4) };
        let expected = ExpectedRevision::NoStream;
        let violation = |found| Violation::Stream { stream: stream.clone(), expected, found };
        let conflict = |found| AppendError::Conflict { violations: vec![violation(found)] };
        let denied = |denied: Denied| AppendError::Storage(StorageError::new(denied));
        let forbidden = Denied::Forbidden { principal: "ada".into(), what: "append".into() };
        let cases = [
            (conflict(found), 409, "conflict"),
            (conflict(over), 410, "tombstoned"),
            (AppendError::Overloaded, 503, "overloaded"),
            (AppendError::DiskFull, 507, "disk-full"),
            (AppendError::ReadOnly, 403, "read-only"),
            (AppendError::Closed, 503, "closed"),
            (AppendError::OutcomeUnknown(storage()), 500, "outcome-unknown"),
            (AppendError::Storage(storage()), 500, "storage-failed"),
            (denied(Denied::Unauthenticated), 401, "unauthenticated"),
            (denied(forbidden), 403, "forbidden"),
            (AppendError::Invalid(InvalidAppend::MalformedMetadata), 400, "invalid-append"),
        ];
        for (error, status, name) in cases {
            let text = error.to_string();
            let problem = Problem::from(error);
            let value = serde_json::to_value(&problem).unwrap();

            assert_eq!(value["type"], format!("/problems/{name}"), "{text}");
            assert_eq!(problem.into_response().status(), status, "{text}");
            assert!(!value.to_string().contains("shelf"), "causes below are not the caller's");
        }
    }

    #[test]
    fn a_conflict_carries_its_violations_as_data() {
        let violations = vec![
            Violation::Stream {
                stream: StreamName::new("order-1").unwrap(),
                expected: ExpectedRevision::Exactly(Revision::new(3)),
                found: StreamState::Live { last: Revision::new(4) },
            },
            Violation::Query { index: 0, position: Position::new(9) },
        ];

        let value = value(AppendError::Conflict { violations });

        let expected = json!([
            {"stream": "order-1", "expected": 3, "found": {"state": "live", "last": 4}},
            {"condition": 0, "position": 9},
        ]);
        assert_eq!(value["violations"], expected);
    }

    #[test]
    fn every_invalid_append_says_what_is_wrong_with_it() {
        let stream = StreamName::new("order-1").unwrap();
        let at = Position::new(3);
        let cases = [
            (InvalidAppend::EventTooLarge { index: 1, size: 9, size_max: 8 }, 413, "size_max"),
            (InvalidAppend::TooLarge { size: 9, size_max: 8 }, 413, "size"),
            (InvalidAppend::TooManyEvents { count: 9, count_max: 8 }, 413, "count"),
            (InvalidAppend::TooManyTags { index: 1, count: 9, count_max: 8 }, 400, "index"),
            (InvalidAppend::ReservedName { name: "$a".to_owned() }, 400, "name"),
            (InvalidAppend::MetadataStream { stream: stream.clone() }, 400, "stream"),
            (InvalidAppend::NameTooLong { stream: stream.clone() }, 400, "stream"),
            (InvalidAppend::TwoExpectations { stream }, 400, "stream"),
            (
                InvalidAppend::RecordedInFuture {
                    index: 1,
                    recorded_at: quipu_core::Timestamp::from_micros(1),
                },
                400,
                "index",
            ),
            (
                InvalidAppend::AfterBeyondFrontier { index: 1, after: at, frontier: at },
                400,
                "frontier",
            ),
        ];
        for (invalid, status, member) in cases {
            let cause = invalid.to_string();
            let value = value(AppendError::Invalid(invalid));

            assert_eq!(value["status"], status, "{cause}");
            assert_eq!(value["cause"], cause);
            assert!(!value[member].is_null(), "{cause}");
        }
    }

    #[test]
    fn every_error_of_a_read_or_a_subscription_has_its_kind() {
        let frontier = Position::new(7);
        let stream = StreamName::new("order-1").unwrap();

        let reads = [
            (value(ReadError::AsOfInFuture { frontier }), "moment-in-future"),
            (value(ReadError::Closed), "closed"),
            (value(ReadError::Storage(storage())), "storage-failed"),
            (value(SubscribeError::BeyondEnd { after: frontier, frontier }), "beyond-end"),
            (value(SubscribeError::StreamTombstoned { stream }), "tombstoned"),
            (value(SubscribeError::Closed), "closed"),
            (value(SubscribeError::Storage(storage())), "storage-failed"),
        ];

        for (value, name) in reads {
            assert_eq!(value["type"], format!("/problems/{name}"));
        }
    }

    #[test]
    fn a_wrong_query_is_shown_with_the_place_in_it() {
        let cases = [
            ("type:A tagg:x", 7, "tagg:x"),
            ("type:A,", 0, "type:A,"),
            ("tag:\"open", 4, ""),
            ("stream:a stream:b", 9, ""),
        ];
        for (text, offset, term) in cases {
            let error = text.parse::<quipu_core::QueryItem>().unwrap_err();
            let value = value(of_query(text, &error));

            assert_eq!(value["offset"], offset, "{text}");
            assert_eq!(value["query"], text);
            assert_eq!(value["term"].as_str().unwrap_or_default(), term);
        }
    }
}
