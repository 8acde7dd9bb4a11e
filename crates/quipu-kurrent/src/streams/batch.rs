//! Many appends over one call.
//!
//! Each append has an id of the client's and may come in several messages. Answers come in any
//! order; appends take their places in the order in which their last messages came.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::poll_once;
use futures_lite::stream;
use prost_types::Any;
use quipu_core::{BoxFuture, ExpectedRevision, Revision, StreamName, StreamState, Timestamp};
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::caller::Caller;
use crate::convert::{id, new_event, stream_name};
use crate::failure::Failure;
use crate::proto::event_store::client::streams as wire;
use crate::proto::event_store::client::{self as shared, BatchStatus};
use wire::batch_append_req::options::{DeadlineOption, ExpectedStreamPosition};
use wire::batch_append_resp::{
    ExpectedStreamPosition as Echo, Result as Answered, Success, success,
};

use super::Answers;
use super::appending::{Gathered, Outcome, append_to};

/// The most appends under way at once in one call; beyond that, requests wait in the transport.
const UNDER_WAY_MAX: usize = 256;
/// The most appends of one call whose last message has not come yet.
const OPEN_MAX: usize = 256;
/// The longest that an append may take, whatever its client says.
const DEADLINE_MAX: Duration = Duration::from_mins(5);

/// Answers each append when it is made.
pub(super) fn answers(
    caller: Arc<dyn Caller>,
    requests: Streaming<wire::BatchAppendReq>,
) -> Answers<wire::BatchAppendResp> {
    let call = Call {
        stopping: caller.stopping(),
        caller,
        requests: Some(requests),
        open: HashMap::new(),
        open_size: 0,
        ready: Vec::new(),
        under_way: JoinSet::new(),
        is_over: false,
    };
    Box::pin(stream::unfold(Box::new(call), |mut call| async move {
        let answer = call.next().await?;
        Some((answer, call))
    }))
}

/// One call, and the appends in it.
struct Call {
    caller: Arc<dyn Caller>,
    requests: Option<Streaming<wire::BatchAppendReq>>,
    /// Appends whose last message has not come yet.
    open: HashMap<Uuid, Open>,
    /// The bytes of their events.
    open_size: usize,
    ready: Vec<wire::BatchAppendResp>,
    under_way: JoinSet<wire::BatchAppendResp>,
    stopping: BoxFuture<'static, ()>,
    is_over: bool,
}

/// An append on its way in.
struct Open {
    head: Head,
    events: Gathered,
    /// Why it will fail; its other messages are passed over.
    failure: Option<Failure>,
}

/// What an append is about.
#[derive(Clone)]
struct Head {
    correlation: Option<shared::Uuid>,
    identifier: Option<shared::StreamIdentifier>,
    echo: Option<Echo>,
    /// `None` where it is no name: the append then has a failure.
    stream: Option<StreamName>,
    expected: ExpectedRevision,
    deadline: Duration,
}

enum Step {
    Made(Result<wire::BatchAppendResp, tokio::task::JoinError>),
    Asked(Result<Option<wire::BatchAppendReq>, Status>),
    Stopping,
    Done,
}

impl Call {
    async fn next(&mut self) -> Option<Result<wire::BatchAppendResp, Status>> {
        while !self.is_over {
            if let Some(answer) = self.ready.pop() {
                return Some(Ok(answer));
            }
            match self.step().await {
                Step::Made(Ok(answer)) => return Some(Ok(answer)),
                Step::Made(Err(error)) => {
                    self.is_over = true;
                    return Some(Err(Status::internal(error.to_string())));
                }
                Step::Asked(Ok(Some(request))) => {
                    let taken = self.caller.still_holds().map_err(Failure::from);
                    let taken = match taken {
                        Ok(()) => self.take(request).await,
                        Err(denied) => Err(denied),
                    };
                    if let Err(failure) = taken {
                        self.is_over = true;
                        return Some(Err(failure.into()));
                    }
                }
                // What is under way is still answered.
                Step::Asked(Ok(None)) => self.requests = None,
                // The client is gone: nobody waits for the answers.
                Step::Asked(Err(_)) | Step::Done => self.is_over = true,
                Step::Stopping => {
                    self.requests = None;
                    if self.under_way.is_empty() {
                        self.is_over = true;
                        return Some(Err(Failure::NotReady.into()));
                    }
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Step {
        let has_room = self.under_way.len() < UNDER_WAY_MAX;
        let Some(requests) = &mut self.requests else {
            return self.under_way.join_next().await.map_or(Step::Done, Step::Made);
        };
        // None of these loses anything when another comes first.
        tokio::select! {
            Some(made) = self.under_way.join_next() => Step::Made(made),
            asked = requests.message(), if has_room => Step::Asked(asked),
            () = &mut self.stopping => Step::Stopping,
        }
    }

    /// Takes one message. A failure is one of the whole call.
    async fn take(&mut self, request: wire::BatchAppendReq) -> Result<(), Failure> {
        let key = id(request.correlation_id.as_ref())?;
        if let Some(options) = request.options {
            let (head, failure) = Head::from_proto(request.correlation_id, options);
            if self.open.len() >= OPEN_MAX {
                return Err(Failure::Busy);
            }
            let open = Open { head, events: Gathered::default(), failure };
            if let Some(before) = self.open.insert(key, open) {
                self.open_size -= before.events.size();
            }
        }
        let Some(open) = self.open.get_mut(&key) else {
            return Err(Failure::invalid("the first message of an append has its options"));
        };
        let before = open.events.size();
        for proposed in request.proposed_messages {
            if open.failure.is_some() {
                break;
            }
            let pushed = new_event(proposed).and_then(|event| open.events.push(event));
            open.failure = pushed.err();
        }
        self.open_size += open.events.size() - before;
        if self.open_size > 2 * quipu_core::limits::APPEND_SIZE_MAX {
            return Err(Failure::Busy);
        }
        if request.is_final
            && let Some(open) = self.open.remove(&key)
        {
            self.open_size -= open.events.size();
            self.begin(open).await;
        }
        Ok(())
    }

    /// Makes an append as far as it goes without waiting, so that appends are queued in the order
    /// of their last messages; the rest of it goes on beside the others.
    async fn begin(&mut self, open: Open) {
        let caller = Arc::clone(&self.caller);
        let mut made: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(make(caller, open));
        match poll_once(&mut made).await {
            Some(answer) => self.ready.push(answer),
            None => {
                self.under_way.spawn(made);
            }
        }
    }
}

impl Head {
    /// What an append is about, and why it will fail, if that is known already. The other appends
    /// of the call go on.
    fn from_proto(
        correlation: Option<shared::Uuid>,
        options: wire::batch_append_req::Options,
    ) -> (Self, Option<Failure>) {
        use ExpectedStreamPosition as E;
        let (expected, echo) = match options.expected_stream_position {
            Some(E::StreamPosition(revision)) => (
                ExpectedRevision::Exactly(Revision::new(revision)),
                Some(Echo::StreamPosition(revision)),
            ),
            Some(E::NoStream(())) => (ExpectedRevision::NoStream, Some(Echo::NoStream(()))),
            Some(E::Any(())) => (ExpectedRevision::Any, Some(Echo::Any(()))),
            Some(E::StreamExists(())) => {
                (ExpectedRevision::StreamExists, Some(Echo::StreamExists(())))
            }
            None => (ExpectedRevision::Any, None),
        };
        let (stream, mut failure) = match stream_name(options.stream_identifier.as_ref()) {
            Ok(stream) => (Some(stream), None),
            Err(failure) => (None, Some(failure)),
        };
        if echo.is_none() {
            failure = Some(Failure::invalid("the append does not say what it expects"));
        }
        let identifier = options.stream_identifier;
        let deadline = deadline(options.deadline_option);
        (Self { correlation, identifier, echo, stream, expected, deadline }, failure)
    }

    fn answer(self, result: Answered) -> wire::BatchAppendResp {
        wire::BatchAppendResp {
            correlation_id: self.correlation,
            result: Some(result),
            stream_identifier: self.identifier,
            expected_stream_position: self.echo,
        }
    }
}

/// How long an append may take. What is over already may take no time at all.
fn deadline(option: Option<DeadlineOption>) -> Duration {
    let asked = match option {
        Some(DeadlineOption::Deadline(duration)) => {
            Duration::try_from(duration).unwrap_or(Duration::ZERO)
        }
        Some(DeadlineOption::Deadline21100(moment)) => {
            let now = Timestamp::now().as_micros();
            let end = moment.seconds.saturating_mul(1_000_000);
            Duration::from_micros(u64::try_from(end.saturating_sub(now)).unwrap_or_default())
        }
        None => DEADLINE_MAX,
    };
    asked.min(DEADLINE_MAX)
}

async fn make(caller: Arc<dyn Caller>, open: Open) -> wire::BatchAppendResp {
    let Open { head, events, failure } = open;
    if head.deadline.is_zero() {
        return head.answer(Answered::Error(timeout()));
    }
    let stream = match (head.stream.clone(), failure) {
        (Some(stream), None) => stream,
        (_, failure) => {
            let failure = failure.unwrap_or(Failure::Storage);
            return head.answer(Answered::Error(status_of(failure)));
        }
    };
    let append = append_to(&*caller, stream, head.expected, events.events);
    let result = match tokio::time::timeout(head.deadline, append).await {
        Err(_) => Answered::Error(timeout()),
        Ok(Err(failure)) => Answered::Error(status_of(failure)),
        Ok(Ok(Outcome::Wrong { expected, found })) => {
            let details = wrong_version(expected, found);
            Answered::Error(status(Code::AlreadyExists, "WrongExpectedVersion", &details))
        }
        Ok(Ok(Outcome::Done { revision, position })) => Answered::Success(Success {
            current_revision_option: Some(match revision {
                Some(revision) => success::CurrentRevisionOption::CurrentRevision(revision),
                None => success::CurrentRevisionOption::NoStream(()),
            }),
            position_option: Some(match position {
                Some(position) => success::PositionOption::Position(position),
                None => success::PositionOption::NoPosition(()),
            }),
        }),
    };
    head.answer(result)
}

fn status<M: prost::Name>(code: Code, text: &str, details: &M) -> BatchStatus {
    let details = Any { type_url: M::type_url(), value: details.encode_to_vec() };
    BatchStatus { code: code as i32, message: text.to_owned(), details: Some(details) }
}

fn timeout() -> BatchStatus {
    status(Code::DeadlineExceeded, "Timeout", &shared::Timeout {})
}

/// A failure as the answer to one append of a batch.
fn status_of(failure: Failure) -> BatchStatus {
    let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    match failure {
        Failure::AccessDenied | Failure::Unauthenticated => {
            status(Code::PermissionDenied, "AccessDenied", &shared::AccessDenied {})
        }
        Failure::StreamDeleted { stream } => {
            let stream_identifier = Some(crate::convert::stream_identifier(&stream));
            let details = shared::StreamDeleted { stream_identifier };
            status(Code::NotFound, "StreamDeleted", &details)
        }
        Failure::AppendTooLarge { size_max } => {
            let details = shared::MaximumAppendSizeExceeded { max_append_size: small(size_max) };
            status(Code::InvalidArgument, "MaximumAppendSizeExceeded", &details)
        }
        Failure::EventTooLarge { id, size, size_max } => {
            let details = shared::MaximumAppendEventSizeExceeded {
                event_id: id,
                proposed_event_size: small(size),
                max_append_event_size: small(size_max),
            };
            status(Code::InvalidArgument, "MaximumAppendEventSizeExceeded", &details)
        }
        Failure::OutcomeUnknown => timeout(),
        failure => {
            let own = Status::from(failure);
            if own.code() == Code::InvalidArgument {
                let details = shared::BadRequest { message: own.message().to_owned() };
                return status(Code::InvalidArgument, "BadRequest", &details);
            }
            status(Code::Unknown, own.message(), &shared::Unknown {})
        }
    }
}

fn wrong_version(expected: ExpectedRevision, found: StreamState) -> shared::WrongExpectedVersion {
    use shared::wrong_expected_version::{
        CurrentStreamRevisionOption as Current, ExpectedStreamPositionOption as Expected,
    };
    let current = match found.last() {
        Some(last) => Current::CurrentStreamRevision(last.get()),
        None => Current::CurrentNoStream(()),
    };
    let expected = match expected {
        ExpectedRevision::Exactly(revision) => Expected::ExpectedStreamPosition(revision.get()),
        ExpectedRevision::NoStream => Expected::ExpectedNoStream(()),
        ExpectedRevision::StreamExists => Expected::ExpectedStreamExists(()),
        ExpectedRevision::Any | ExpectedRevision::Deleted | ExpectedRevision::Tombstoned => {
            Expected::ExpectedAny(())
        }
    };
    shared::WrongExpectedVersion {
        current_stream_revision_option: Some(current),
        expected_stream_position_option: Some(expected),
    }
}
