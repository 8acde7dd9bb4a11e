//! Every error of the contract goes over the network and comes back as it was.

use std::fmt::Debug;

use quipu_core::{
    AppendError, CheckpointError, ComponentKey, ComponentKind, ExpectedRevision, Incarnation,
    InvalidAppend, LeaseError, LogId, Position, ReadError, RegistryError, Revision, StorageError,
    StreamName, StreamState, SubscribeError, Timestamp, Violation,
};
use tonic::{Code, Status};

use super::{
    ContractError, Failure, Refused, RemoteError, TABLE, TaskError, details, from_status, meaning,
};
use crate::proto::{self, ErrorCode};

fn stream() -> StreamName {
    StreamName::new("order-1").unwrap()
}

fn place(number: u64) -> Position {
    Position::new(number)
}

fn cause() -> StorageError {
    StorageError::new("the cable is cut")
}

/// What comes back of an error that goes over the network, and the status it was on the way.
fn there_and_back<E: ContractError + Into<Failure>>(error: E) -> (Status, E) {
    let failure: Failure = error.into();
    let (there, again) = (failure.to_status(), failure.to_status());
    (there, from_status(again))
}

fn assert_same<E>(errors: Vec<E>)
where
    E: ContractError + Into<Failure> + Debug,
{
    for error in errors {
        let text = format!("{error:?}");
        let (status, back) = there_and_back(error);
        assert_eq!(format!("{back:?}"), text);
        assert_eq!(status.code(), meaning(details(&status).unwrap().code()).grpc);
    }
}

fn invalid_appends() -> Vec<InvalidAppend> {
    let (index, size, size_max, count, count_max) = (3, 17, 16, 66, 64);
    vec![
        InvalidAppend::EventTooLarge { index, size, size_max },
        InvalidAppend::TooLarge { size, size_max },
        InvalidAppend::TooManyEvents { count, count_max },
        InvalidAppend::TooManyTags { index, count, count_max },
        InvalidAppend::ReservedName { name: "$x".to_owned() },
        InvalidAppend::MetadataStream { stream: stream() },
        InvalidAppend::NameTooLong { stream: stream() },
        InvalidAppend::TwoExpectations { stream: stream() },
        InvalidAppend::RecordedInFuture { index, recorded_at: Timestamp::from_micros(-5) },
        InvalidAppend::AfterBeyondFrontier { index, after: place(9), frontier: place(8) },
        InvalidAppend::MalformedMetadata,
    ]
}

fn violations() -> Vec<Violation> {
    let revision = Revision::new(7);
    let found = [
        StreamState::Absent,
        StreamState::Live { last: revision },
        StreamState::Deleted { last: Some(revision) },
        StreamState::Deleted { last: None },
        StreamState::Tombstoned { last: revision },
        StreamState::Live { last: Revision::FIRST },
    ];
    let expected = [
        ExpectedRevision::Any,
        ExpectedRevision::NoStream,
        ExpectedRevision::StreamExists,
        ExpectedRevision::Exactly(revision),
        ExpectedRevision::Deleted,
        ExpectedRevision::Tombstoned,
    ];
    let of_streams = expected.into_iter().zip(found).map(|(expected, found)| Violation::Stream {
        stream: stream(),
        expected,
        found,
    });
    of_streams.chain([Violation::Query { index: 2, position: place(40) }]).collect()
}

#[test]
fn every_error_of_an_append_survives() {
    let mut errors: Vec<AppendError> =
        invalid_appends().into_iter().map(AppendError::Invalid).collect();
    errors.push(AppendError::Conflict { violations: violations() });
    errors.extend([AppendError::Overloaded, AppendError::DiskFull]);
    errors.extend([AppendError::ReadOnly, AppendError::Closed]);
    assert_same(errors);
}

#[test]
fn every_error_of_a_read_survives() {
    assert_same(vec![ReadError::AsOfInFuture { frontier: place(4) }, ReadError::Closed]);
}

#[test]
fn every_error_of_a_subscription_survives() {
    assert_same(vec![
        SubscribeError::BeyondEnd { after: place(9), frontier: place(8) },
        SubscribeError::StreamTombstoned { stream: stream() },
        SubscribeError::Closed,
    ]);
}

#[test]
fn every_error_of_a_checkpoint_survives() {
    let name = "mailer".to_owned();
    let found = Incarnation::new(2);
    assert_same(vec![
        CheckpointError::Moved { name: name.clone(), actual: Some(place(3)) },
        CheckpointError::Moved { name: name.clone(), actual: None },
        CheckpointError::StaleEpoch { name, epoch: 1, current: 2 },
        CheckpointError::OtherLog { found: LogId::generate(), own: LogId::generate() },
        CheckpointError::OtherLife { position: place(3), found, began_at: Some(place(2)) },
        CheckpointError::OtherLife { position: place(3), found, began_at: None },
        CheckpointError::BeyondEnd { position: place(3), frontier: place(2) },
        CheckpointError::InvalidName,
        CheckpointError::ReadOnly,
    ]);
}

#[test]
fn every_error_of_a_lease_survives() {
    let (name, owner) = ("mailer".to_owned(), "host-1".to_owned());
    let expires_at = Timestamp::from_micros(1_750_000_000_000_000);
    assert_same(vec![
        LeaseError::Held { name: name.clone(), owner, expires_at },
        LeaseError::Lost { name, epoch: 3 },
        LeaseError::InvalidName,
        LeaseError::ReadOnly,
    ]);
}

#[test]
fn every_error_of_the_registry_survives() {
    let kind = ComponentKind::Relay;
    let key = ComponentKey { kind, name: "kafka".to_owned(), version: 2 };
    assert_same(vec![
        RegistryError::Unknown { key },
        RegistryError::InvalidName,
        RegistryError::StaleEpoch { epoch: 1, current: 2 },
        RegistryError::TooManyRequests,
        RegistryError::ReadOnly,
    ]);
}

#[test]
fn every_error_of_work_on_the_store_survives() {
    let name = || "monday".to_owned();
    assert_same(vec![
        TaskError::Unsupported { what: "the server has no directory of backups".to_owned() },
        TaskError::InvalidName { name: name() },
        TaskError::Exists { name: name() },
        TaskError::Credentials { reason: "there is no principal \"monday\"".to_owned() },
        TaskError::Busy,
        TaskError::DiskFull,
        TaskError::Closed,
    ]);
}

fn remote_text(cause: &StorageError) -> String {
    cause.downcast_ref::<RemoteError>().unwrap().to_string()
}

#[test]
fn a_failure_below_the_contract_keeps_its_text() {
    let (status, back) = there_and_back(AppendError::OutcomeUnknown(cause()));
    assert_eq!(status.code(), Code::Unknown);
    assert!(matches!(back, AppendError::OutcomeUnknown(it) if remote_text(&it).contains("cable")));

    let (status, back) = there_and_back(AppendError::Storage(cause()));
    assert_eq!(status.code(), Code::Internal);
    assert!(matches!(back, AppendError::Storage(it) if remote_text(&it).contains("cable")));
    let (_, back) = there_and_back(ReadError::Storage(cause()));
    assert!(matches!(back, ReadError::Storage(it) if remote_text(&it).contains("cable")));
    let (_, back) = there_and_back(SubscribeError::Storage(cause()));
    assert!(matches!(back, SubscribeError::Storage(it) if remote_text(&it).contains("cable")));
    let (_, back) = there_and_back(CheckpointError::Storage(cause()));
    assert!(matches!(back, CheckpointError::Storage(it) if remote_text(&it).contains("cable")));
    let (_, back) = there_and_back(LeaseError::Storage(cause()));
    assert!(matches!(back, LeaseError::Storage(it) if remote_text(&it).contains("cable")));
    let (_, back) = there_and_back(RegistryError::Storage(cause()));
    assert!(matches!(back, RegistryError::Storage(it) if remote_text(&it).contains("cable")));
    let (_, back) = there_and_back(cause());
    assert!(remote_text(&back).contains("cable"));
}

#[test]
fn a_refused_call_is_found_in_the_storage_variant() {
    let forbidden = Refused::Forbidden { message: "ada may not read".to_owned() };
    for refused in [Refused::Unauthenticated, forbidden] {
        let status = Failure::Refused(refused.clone()).to_status();
        match from_status(status) {
            ReadError::Storage(cause) => assert_eq!(cause.downcast_ref(), Some(&refused)),
            other => panic!("a refusal was expected, got {other:?}"),
        }
    }
}

#[test]
fn a_refusal_without_details_is_found_too() {
    match from_status(Status::permission_denied("not you")) {
        AppendError::Storage(cause) => {
            let message = "not you".to_owned();
            assert_eq!(cause.downcast_ref(), Some(&Refused::Forbidden { message }));
        }
        other => panic!("a refusal was expected, got {other:?}"),
    }
}

#[test]
fn a_code_of_a_later_version_keeps_its_text() {
    let message = "the moon is in the way".to_owned();
    let error = proto::Error { code: 9_999, message: message.clone(), ..proto::Error::default() };
    match from_status(super::to_status(error)) {
        LeaseError::Storage(cause) => assert_eq!(remote_text(&cause), message),
        other => panic!("a failure was expected, got {other:?}"),
    }
}

#[test]
fn every_code_has_one_row_and_a_hint() {
    let codes: Vec<ErrorCode> = (0..200).filter_map(|it| ErrorCode::try_from(it).ok()).collect();
    let rows: Vec<ErrorCode> = TABLE.iter().map(|row| row.code).collect();
    assert_eq!(rows, codes);
    let mut names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len(), "names are not given twice");
    assert!(TABLE.iter().all(|row| !row.hint.is_empty()));
}

#[test]
fn a_status_has_room_for_its_details_whatever_the_conflict() {
    let violations = vec![violations(); 1_000].concat();
    let count = violations.len();
    let status = Failure::Append(AppendError::Conflict { violations }).to_status();

    let error = details(&status).unwrap();

    assert!(status.details().len() < 10 << 10);
    assert!(!error.violations.is_empty());
    assert_eq!(error.violation_count as usize, count);
}
