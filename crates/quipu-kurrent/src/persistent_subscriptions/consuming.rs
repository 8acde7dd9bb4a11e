//! A consumer's call: events to it, answers from it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_lite::stream;
use quipu_core::{BoxFuture, EventRef, Position};
use quipu_groups::group::{Answers as MemberAnswers, Dispatch, Joining, Membership, Nack};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::backing::Delivered;
use super::settings::Key;
use super::subsystem::failure_of;
use super::{may_read, no_options};
use crate::caller::Caller;
use crate::convert::{self, IdForm, recorded};
use crate::failure::Failure;
use crate::indexes::{Kind, entry_id};
use crate::proto::event_store::client::persistent_subscriptions as wire;
use crate::streams::Answers;
use wire::read_resp::{Content, ReadEvent, SubscriptionConfirmation};
use wire::{read_req, read_resp};

/// How long what a consumer said before it went is still listened to.
const FAREWELL: Duration = Duration::from_secs(1);
/// The most bytes of a reason that are kept.
const REASON_SIZE_MAX: usize = 2_000;

/// Who consumes.
pub(super) struct Consumer {
    pub(super) caller: Arc<dyn Caller>,
    pub(super) peer: String,
    pub(super) name: String,
}

pub(super) async fn begin(
    consumer: Consumer,
    mut words: Streaming<wire::ReadReq>,
) -> Result<Answers<wire::ReadResp>, Status> {
    use read_req::options::StreamOption;
    let first = words.message().await?.and_then(|first| first.content);
    let Some(read_req::Content::Options(options)) = first else {
        return Err(no_options().into());
    };
    let form = IdForm::from_proto(options.uuid_option.as_ref())?;
    let key = match &options.stream_option {
        Some(StreamOption::StreamIdentifier(own)) => Key::of_stream(Some(own), options.group_name)?,
        Some(StreamOption::All(())) => Key::of_all(options.group_name)?,
        None => return Err(Failure::invalid("the request has no stream_option").into()),
    };
    let capacity = usize::try_from(options.buffer_size).ok().filter(|size| *size > 0);
    let capacity = capacity.ok_or_else(|| Failure::invalid("the buffer_size must be above 0"))?;
    let Consumer { caller, peer, name } = consumer;
    may_read(&*caller, &key.origin).await?;
    let joining =
        Joining { name, peer, principal: caller.name().to_owned(), ..Joining::new(capacity) };
    let (config, membership) = caller.subscriptions().join(&key, joining).await?;
    let given = Arc::new(Given::new(capacity));
    let listening = tokio::spawn(listen(membership.answers(), Arc::clone(&given), words));
    let index = Kind::of(key.origin.name()).map(|(kind, _)| kind);
    let confirmation = SubscriptionConfirmation { subscription_id: key.id() };
    let seat = Seat {
        stopping: caller.stopping(),
        caller,
        key,
        form,
        resolves_links: config.resolves_links,
        index,
        membership: Some(membership),
        given,
        listening: Some(listening),
        ready: VecDeque::from([Content::SubscriptionConfirmation(confirmation)]),
        is_over: false,
    };
    Ok(Box::pin(stream::unfold(Box::new(seat), |mut seat| async move {
        let answer = seat.next().await?;
        Some((answer, seat))
    })))
}

/// What a consumer was given, by the ids that it answers with.
struct Given {
    /// Guards the rows; nothing is awaited while it is held.
    rows: Mutex<Rows>,
    count_max: usize,
}

#[derive(Default)]
struct Rows {
    /// For each id the events that have it, of several streams perhaps, and their last dispatches.
    by_id: HashMap<Uuid, Vec<(Position, u64)>>,
    /// The ids in the order of dispatch: the oldest are forgotten where nobody answers.
    by_number: BTreeMap<u64, Uuid>,
}

impl Given {
    fn new(capacity: usize) -> Self {
        Self { rows: Mutex::default(), count_max: capacity.saturating_mul(4).max(1_000) }
    }

    fn give(&self, id: Uuid, place: Position, number: u64) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let own = rows.by_id.entry(id).or_default();
        let before = own.iter().position(|(own, _)| *own == place).map(|at| own.remove(at));
        own.push((place, number));
        if let Some((_, before)) = before {
            rows.by_number.remove(&before);
        }
        rows.by_number.insert(number, id);
        if rows.by_number.len() > self.count_max
            && let Some((oldest, id)) = rows.by_number.pop_first()
            && let Some(own) = rows.by_id.get_mut(&id)
        {
            own.retain(|(_, number)| *number != oldest);
            if own.is_empty() {
                rows.by_id.remove(&id);
            }
        }
    }

    /// The dispatches that these ids mean. Ids that were not given mean nothing.
    fn take(&self, ids: &[Uuid]) -> Vec<u64> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(own) = rows.by_id.get_mut(id) else { continue };
            let (_, number) = own.remove(0);
            if own.is_empty() {
                rows.by_id.remove(id);
            }
            rows.by_number.remove(&number);
            numbers.push(number);
        }
        numbers
    }
}

/// Takes what a consumer says, until it says no more.
async fn listen(
    answers: MemberAnswers<Delivered>,
    given: Arc<Given>,
    mut words: Streaming<wire::ReadReq>,
) -> Result<(), Status> {
    while let Some(word) = words.message().await? {
        let told = match word.content {
            Some(read_req::Content::Ack(ack)) => answers.ack(given.take(&ids(&ack.ids)?)).await,
            Some(read_req::Content::Nack(nack)) => {
                let numbers = given.take(&ids(&nack.ids)?);
                let end = nack.reason.floor_char_boundary(REASON_SIZE_MAX);
                let reason = nack.reason.get(..end).unwrap_or_default();
                answers.nack(numbers, action(nack.action()), reason).await
            }
            Some(read_req::Content::Options(_)) => {
                return Err(Failure::invalid("the call has options already").into());
            }
            None => return Err(Failure::invalid("the message has no content").into()),
        };
        // Why the subscription ended is told with what comes.
        if told.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn ids(ids: &[crate::proto::event_store::client::Uuid]) -> Result<Vec<Uuid>, Failure> {
    ids.iter().map(|own| convert::id(Some(own))).collect()
}

fn action(action: read_req::nack::Action) -> Nack {
    use read_req::nack::Action;
    match action {
        Action::Unknown | Action::Retry => Nack::Retry,
        Action::Park => Nack::Park,
        Action::Skip | Action::Stop => Nack::Skip,
    }
}

/// A consumer at the other end of a call.
struct Seat {
    caller: Arc<dyn Caller>,
    key: Key,
    form: IdForm,
    resolves_links: bool,
    /// Where the stream is an index: which one.
    index: Option<Kind>,
    /// There until the seat is dropped.
    membership: Option<Membership<Delivered>>,
    given: Arc<Given>,
    /// There until the seat is dropped.
    listening: Option<JoinHandle<Result<(), Status>>>,
    stopping: BoxFuture<'static, ()>,
    ready: VecDeque<Content>,
    is_over: bool,
}

impl Drop for Seat {
    /// What a consumer said before it went still counts, so that it leaves once that was heard.
    fn drop(&mut self) {
        let (membership, listening) = (self.membership.take(), self.listening.take());
        if let (Some(membership), Some(mut listening)) = (membership, listening)
            && !listening.is_finished()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if tokio::time::timeout(FAREWELL, &mut listening).await.is_err() {
                    listening.abort();
                }
                drop(membership);
            });
        }
    }
}

impl Seat {
    async fn next(&mut self) -> Option<Result<wire::ReadResp, Status>> {
        if self.is_over {
            return None;
        }
        let content = self.content().await;
        self.is_over = !matches!(content, Ok(Some(_)));
        let content = content.transpose()?;
        Some(content.map(read_resp_of))
    }

    /// The next message; `None` once the consumer says no more.
    async fn content(&mut self) -> Result<Option<Content>, Status> {
        loop {
            if let Some(content) = self.ready.pop_front() {
                return Ok(Some(content));
            }
            let (Some(membership), Some(listening)) = (&mut self.membership, &mut self.listening)
            else {
                return Ok(None);
            };
            let dispatches = tokio::select! {
                biased;
                () = &mut self.stopping => return Err(Failure::NotReady.into()),
                // A task that panicked or was stopped said nothing of its own.
                said = &mut *listening => return said.unwrap_or(Ok(())).map(|()| None),
                next = membership.next() => next,
            };
            let dispatches = dispatches.map_err(|end| failure_of(&self.key, &end))?;
            self.caller.still_holds().map_err(Failure::from)?;
            for dispatch in &dispatches {
                let message = self.message(dispatch);
                self.ready.push_back(Content::Event(message));
            }
        }
    }

    fn message(&self, dispatch: &Dispatch<Delivered>) -> ReadEvent {
        use read_resp::read_event::{Count, Position as WirePosition};
        let delivered = &dispatch.item.event;
        let own = delivered.event();
        let stream = self.key.origin.name();
        let id = match delivered.ordinal() {
            Some(_) => entry_id(stream, own),
            None => own.id().as_uuid(),
        };
        self.given.give(id, dispatch.item.position, dispatch.number);
        let shown = |event: EventRef<'_>| recorded(event, self.form);
        let (event, link) = match self.index.as_ref().zip(delivered.ordinal()) {
            Some((index, ordinal)) => {
                let link = index.record(stream, own, ordinal, self.form);
                if self.resolves_links && !index.names_streams() {
                    (Some(shown(own)), Some(link))
                } else {
                    (Some(link), None)
                }
            }
            None if delivered.is_resolved() => (delivered.target().map(shown), Some(shown(own))),
            None => (Some(shown(own)), None),
        };
        let retry_count = i32::try_from(dispatch.retry_count).unwrap_or(i32::MAX);
        ReadEvent {
            event,
            link,
            position: Some(WirePosition::CommitPosition(own.position().get())),
            count: Some(Count::RetryCount(retry_count)),
        }
    }
}

fn read_resp_of(content: Content) -> wire::ReadResp {
    wire::ReadResp { content: Some(content) }
}
