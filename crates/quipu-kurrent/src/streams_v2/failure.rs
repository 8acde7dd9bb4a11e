//! What an append of version 2 failed with: a code, a text, and details as messages.

use prost::{Message, Name};
use prost_types::Any;
use quipu_core::{
    Append, AppendError, ExpectedRevision, InvalidAppend, StreamName, StreamState, Violation,
};
use tonic::{Code, Status};

use super::expected_of;
use crate::caller::Caller;
use crate::failure::{Failure as Common, expected_number};
use crate::proto::google::rpc;
use crate::proto::kurrent::rpc::AccessDeniedErrorDetails;
use crate::proto::kurrentdb::protocol::v2::streams::errors as wire;

/// Why an append of version 2 did not succeed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The request is wrong.
    BadRequest { field: String, reason: String },
    /// A session ended without a request.
    NoRequests,
    /// A stream comes twice in a session.
    TwiceInSession { stream: String },
    /// A record is too large.
    RecordTooLarge { stream: String, id: String, size: usize, size_max: usize },
    /// All records together are too large.
    AppendTooLarge { size: usize, size_max: usize },
    /// A stream of a session is not as expected.
    RevisionConflict { stream: String, expected: i64, actual: i64 },
    /// A stream of a session is tombstoned.
    Tombstoned { stream: String },
    /// Checks do not hold.
    Violations { violations: Vec<Violated> },
    /// The caller may not do it.
    AccessDenied { user: String },
    /// What is no matter of version 2.
    Common(Common),
}

/// How a failure looks: its code, its reason, its text and the detail that comes last.
type Look = (Code, &'static str, String, Option<Any>);

/// A check that does not hold.
#[derive(Clone, Debug)]
pub(super) struct Violated {
    index: usize,
    stream: String,
    expected: i64,
    actual: i64,
}

/// A stream that is not as expected.
pub(super) struct Wrong {
    pub(super) stream: String,
    pub(super) expected: ExpectedRevision,
}

impl Violated {
    /// The violations of an append, each with the number of its check. Streams that were only
    /// written to are numbered behind the checks.
    pub(super) fn of(
        violations: &[Violation],
        checked: &[(StreamName, ExpectedRevision)],
    ) -> Vec<Self> {
        let mut unchecked = checked.len()..;
        let violated = |violation: &Violation| {
            let Violation::Stream { stream, expected, found } = violation else { return None };
            let own = checked.iter().position(|(own, _)| own == stream);
            let (index, expected) = match own {
                Some(index) => (index, expected_number(*expected)),
                None => (unchecked.next()?, expected_number(ExpectedRevision::Any)),
            };
            Some(Self { index, stream: stream.to_string(), expected, actual: state_number(*found) })
        };
        let mut violated: Vec<Self> = violations.iter().filter_map(violated).collect();
        violated.sort_by_key(|own| own.index);
        violated
    }
}

/// A stream's state by its number.
fn state_number(state: StreamState) -> i64 {
    match state {
        StreamState::Absent => -1,
        StreamState::Live { last } => i64::try_from(last.get()).unwrap_or(i64::MAX),
        StreamState::Deleted { .. } => -5,
        StreamState::Tombstoned { .. } => -6,
    }
}

impl Failure {
    pub(super) fn bad(field: &str, reason: &str) -> Self {
        Self::BadRequest { field: field.to_owned(), reason: reason.to_owned() }
    }

    /// The first demand of a session that does not hold.
    pub(super) fn of_session(violations: &[Violation], append: &Append) -> Self {
        let own = violations.iter().find_map(|violation| match violation {
            Violation::Stream { stream, found, .. } => Some((stream, *found)),
            Violation::Query { .. } => None,
        });
        let Some((stream, found)) = own else { return Self::Common(Common::Storage) };
        let Wrong { stream, expected } = expected_of(append, stream);
        if let StreamState::Tombstoned { .. } = found {
            return Self::Tombstoned { stream };
        }
        let actual = crate::failure::last_number(found);
        Self::RevisionConflict { stream, expected: expected_number(expected), actual }
    }

    /// Any other reason that the store gives.
    pub(super) fn of_append(caller: &dyn Caller, error: &AppendError, append: &Append) -> Self {
        if let AppendError::Invalid(invalid) = error {
            match invalid {
                InvalidAppend::EventTooLarge { index, size, size_max } => {
                    let at = append.events.get(*index);
                    return Self::RecordTooLarge {
                        stream: at.map(|(stream, _)| stream.to_string()).unwrap_or_default(),
                        id: at.map(|(_, event)| event.id.to_string()).unwrap_or_default(),
                        size: *size,
                        size_max: *size_max,
                    };
                }
                InvalidAppend::TooLarge { size, size_max } => {
                    return Self::AppendTooLarge { size: *size, size_max: *size_max };
                }
                _ => {}
            }
        }
        match Common::of_append(caller, error) {
            Common::AccessDenied => Self::AccessDenied { user: caller.name().to_owned() },
            common => Self::Common(common),
        }
    }

    /// The table.
    fn look(&self) -> Option<Look> {
        Some(match self {
            Self::BadRequest { field, reason } => {
                let violation = rpc::bad_request::FieldViolation {
                    field: field.clone(),
                    description: reason.clone(),
                };
                let details = rpc::BadRequest { field_violations: vec![violation] };
                let text = format!("{field}: {reason}");
                (Code::InvalidArgument, "BAD_REQUEST", text, Some(pack(&details)))
            }
            Self::NoRequests => {
                let text = "the append session ended without a request".to_owned();
                (Code::FailedPrecondition, "APPEND_SESSION_NO_REQUESTS", text, None)
            }
            Self::TwiceInSession { stream } => {
                let text = format!("the stream '{stream}' is in the append session already");
                let stream = stream.clone();
                let details = wire::StreamAlreadyInAppendSessionErrorDetails { stream };
                let reason = "STREAM_ALREADY_IN_APPEND_SESSION";
                (Code::Aborted, reason, text, Some(pack(&details)))
            }
            Self::RecordTooLarge { .. } | Self::AppendTooLarge { .. } => self.look_of_size()?,
            Self::RevisionConflict { stream, expected, actual } => {
                let text = format!(
                    "the stream '{stream}' is at revision {actual}, expected was {expected}"
                );
                let details = wire::StreamRevisionConflictErrorDetails {
                    stream: stream.clone(),
                    expected_revision: *expected,
                    actual_revision: *actual,
                };
                let reason = "STREAM_REVISION_CONFLICT";
                (Code::FailedPrecondition, reason, text, Some(pack(&details)))
            }
            Self::Tombstoned { stream } => {
                let text = format!("the stream '{stream}' is tombstoned");
                let details = wire::StreamTombstonedErrorDetails { stream: stream.clone() };
                (Code::FailedPrecondition, "STREAM_TOMBSTONED", text, Some(pack(&details)))
            }
            Self::Violations { violations } => {
                let details = wire::AppendConsistencyViolationErrorDetails {
                    violations: violations.iter().map(Violated::to_proto).collect(),
                };
                let text = format!("{} checks do not hold", violations.len());
                let reason = "APPEND_CONSISTENCY_VIOLATION";
                (Code::FailedPrecondition, reason, text, Some(pack(&details)))
            }
            Self::AccessDenied { user } => {
                let details = AccessDeniedErrorDetails {
                    operation: "append".to_owned(),
                    username: Some(user.clone()),
                    permission: None,
                };
                let text = "Access Denied".to_owned();
                (Code::PermissionDenied, "ACCESS_DENIED", text, Some(pack(&details)))
            }
            Self::Common(_) => return None,
        })
    }

    fn look_of_size(&self) -> Option<Look> {
        let small = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
        Some(match self {
            Self::RecordTooLarge { stream, id, size, size_max } => {
                let text = format!(
                    "record {id} of the stream '{stream}' has {size} bytes, at most {size_max} are \
                     allowed"
                );
                let details = wire::AppendRecordSizeExceededErrorDetails {
                    stream: stream.clone(),
                    record_id: id.clone(),
                    size: small(*size),
                    max_size: small(*size_max),
                };
                let reason = "APPEND_RECORD_SIZE_EXCEEDED";
                (Code::InvalidArgument, reason, text, Some(pack(&details)))
            }
            Self::AppendTooLarge { size, size_max } => {
                let text = format!("the append has {size} bytes, at most {size_max} are allowed");
                let (size, max_size) = (small(*size), small(*size_max));
                let details = wire::AppendTransactionSizeExceededErrorDetails { size, max_size };
                (Code::Aborted, "APPEND_TRANSACTION_SIZE_EXCEEDED", text, Some(pack(&details)))
            }
            _ => return None,
        })
    }

    /// Whose failure it is.
    fn domain(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } | Self::AccessDenied { .. } | Self::Common(_) => "server",
            _ => "streams",
        }
    }
}

impl Violated {
    fn to_proto(&self) -> wire::ConsistencyViolation {
        use wire::consistency_violation::{StreamStateViolation, Type};
        wire::ConsistencyViolation {
            check_index: i32::try_from(self.index).unwrap_or(i32::MAX),
            r#type: Some(Type::StreamState(StreamStateViolation {
                stream: self.stream.clone(),
                expected_state: self.expected,
                actual_state: self.actual,
            })),
        }
    }
}

fn pack<M: Name>(details: &M) -> Any {
    Any { type_url: M::type_url(), value: details.encode_to_vec() }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let domain = failure.domain().to_owned();
        let Some((code, reason, text, detail)) = failure.look() else {
            let Failure::Common(common) = failure else { unreachable!("all others have a look") };
            return common.into();
        };
        let reason = reason.to_owned();
        let info = rpc::ErrorInfo { reason, domain, metadata: std::collections::HashMap::new() };
        let details = std::iter::once(pack(&info)).chain(detail).collect();
        let status = rpc::Status { code: code as i32, message: text.clone(), details };
        Self::with_details(code, text, status.encode_to_vec().into())
    }
}
