//! Appends: one stream, one call.

use quipu_core::{
    Append, AppendError, Appended, ExpectedRevision, InvalidAppend, NewEvent, ReadStream,
    StreamName, StreamState, TOMBSTONE_TYPE, Violation, limits,
};
use tonic::{Status, Streaming};

use crate::caller::Caller;
use crate::convert::{expectation, new_event, position};
use crate::failure::Failure;
use crate::proto::event_store::client::AllStreamPosition;
use crate::proto::event_store::client::streams as wire;
use wire::append_req::Content;
use wire::append_resp::{Success, WrongExpectedVersion, success, wrong_expected_version as wrong};

pub(super) async fn append(
    caller: &dyn Caller,
    mut requests: Streaming<wire::AppendReq>,
) -> Result<wire::AppendResp, Status> {
    let first = requests.message().await?.and_then(|request| request.content);
    let Some(Content::Options(options)) = first else {
        return Err(Failure::invalid("an append begins with its options").into());
    };
    let (stream, expected) = expectation(Some(&options))?;
    let mut events = Gathered::default();
    while let Some(request) = requests.message().await? {
        let Some(Content::ProposedMessage(proposed)) = request.content else {
            return Err(Failure::invalid("events follow the options of an append").into());
        };
        events.push(new_event(proposed)?)?;
    }
    let result = match append_to(caller, stream, expected, events.events).await? {
        Outcome::Done { revision, position } => wire::append_resp::Result::Success(Success {
            current_revision_option: Some(match revision {
                Some(revision) => success::CurrentRevisionOption::CurrentRevision(revision),
                None => success::CurrentRevisionOption::NoStream(()),
            }),
            position_option: Some(match position {
                Some(position) => success::PositionOption::Position(position),
                None => success::PositionOption::NoPosition(()),
            }),
        }),
        Outcome::Wrong { expected, found } => {
            wire::append_resp::Result::WrongExpectedVersion(wrong_version(expected, found))
        }
    };
    Ok(wire::AppendResp { result: Some(result) })
}

/// The events of an append on their way in, within the limits.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) events: Vec<NewEvent>,
    size: usize,
}

impl Gathered {
    /// The bytes of the events.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn push(&mut self, event: NewEvent) -> Result<(), Failure> {
        if event.size() > limits::EVENT_SIZE_MAX {
            return Err(Failure::EventTooLarge {
                id: event.id.to_string(),
                size: event.size(),
                size_max: limits::EVENT_SIZE_MAX,
            });
        }
        self.size += event.size();
        if self.size > limits::APPEND_SIZE_MAX {
            return Err(Failure::AppendTooLarge { size_max: limits::APPEND_SIZE_MAX });
        }
        if self.events.len() == limits::APPEND_COUNT_MAX {
            let (count, count_max) = (self.events.len() + 1, limits::APPEND_COUNT_MAX);
            let error = InvalidAppend::TooManyEvents { count, count_max };
            return Err(Failure::invalid(error.to_string()));
        }
        if event.event_type == TOMBSTONE_TYPE {
            let reason = "events of the type $streamDeleted are written by Tombstone only";
            return Err(Failure::invalid(reason));
        }
        self.events.push(event);
        Ok(())
    }
}

/// What became of an append.
pub(super) enum Outcome {
    /// The stream's last revision, and the place of the last event that was appended.
    Done { revision: Option<u64>, position: Option<AllStreamPosition> },
    /// The stream is not as expected.
    Wrong { expected: ExpectedRevision, found: StreamState },
}

/// Appends to one stream. That it is not as expected is an outcome; that it is tombstoned, a failure.
pub(super) async fn append_to(
    caller: &dyn Caller,
    stream: StreamName,
    expected: ExpectedRevision,
    events: Vec<NewEvent>,
) -> Result<Outcome, Failure> {
    let is_check = events.is_empty();
    let append = Append::to_stream(stream.clone(), expected, events);
    match caller.reserved().append(append).await {
        Ok(_) if is_check => check_only(caller, stream).await,
        Ok(appended) => Ok(done(&appended)),
        Err(AppendError::Conflict { violations }) => {
            let own = violations.iter().find_map(|violation| match violation {
                Violation::Stream { expected, found, .. } => Some((*expected, *found)),
                Violation::Query { .. } => None,
            });
            match own {
                Some((expected, found)) if !matches!(found, StreamState::Tombstoned { .. }) => {
                    Ok(Outcome::Wrong { expected, found })
                }
                _ => Err(Failure::StreamDeleted { stream: stream.to_string() }),
            }
        }
        Err(error) => Err(Failure::of_append(caller, &error)),
    }
}

fn done(appended: &Appended) -> Outcome {
    let revision = appended.streams.last().map(|stream| stream.revision.get());
    Outcome::Done { revision, position: appended.last.map(position) }
}

/// An append without events: what the stream is like.
async fn check_only(caller: &dyn Caller, stream: StreamName) -> Result<Outcome, Failure> {
    let read = ReadStream::new(stream.clone()).limit(0);
    let read = caller.store().read_stream(read).await;
    let state = read.map_err(|error| Failure::of_read(caller, &error))?.state;
    if let StreamState::Tombstoned { .. } = state {
        return Err(Failure::StreamDeleted { stream: stream.to_string() });
    }
    Ok(Outcome::Done { revision: state.last().map(quipu_core::Revision::get), position: None })
}

/// The answer to an append that expected something else, for clients of all ages.
fn wrong_version(expected: ExpectedRevision, found: StreamState) -> WrongExpectedVersion {
    use wrong::{
        CurrentRevisionOption as Current, CurrentRevisionOption2060 as OldCurrent,
        ExpectedRevisionOption as Expected, ExpectedRevisionOption2060 as OldExpected,
    };
    let (current, old_current) = match found.last() {
        Some(last) => {
            (Current::CurrentRevision(last.get()), OldCurrent::CurrentRevision2060(last.get()))
        }
        None => (Current::CurrentNoStream(()), OldCurrent::NoStream2060(())),
    };
    let (expected, old_expected) = match expected {
        ExpectedRevision::Exactly(revision) => (
            Expected::ExpectedRevision(revision.get()),
            OldExpected::ExpectedRevision2060(revision.get()),
        ),
        ExpectedRevision::StreamExists => {
            (Expected::ExpectedStreamExists(()), OldExpected::StreamExists2060(()))
        }
        // Clients of that age know no other word for it.
        ExpectedRevision::NoStream => {
            (Expected::ExpectedNoStream(()), OldExpected::ExpectedRevision2060(u64::MAX))
        }
        ExpectedRevision::Any | ExpectedRevision::Deleted | ExpectedRevision::Tombstoned => {
            (Expected::ExpectedAny(()), OldExpected::Any2060(()))
        }
    };
    WrongExpectedVersion {
        current_revision_option: Some(current),
        current_revision_option_20_6_0: Some(old_current),
        expected_revision_option: Some(expected),
        expected_revision_option_20_6_0: Some(old_expected),
    }
}
