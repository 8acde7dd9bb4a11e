//! Subscriptions: what is there, then what comes, until the client goes or the server stops.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_lite::stream;
use quipu_core::{
    BoxFuture, Delivery, EventBatch, Position, Query, ReadStream, Revision, StreamName,
    StreamState, Subscribe, SubscribeError, SubscribeFrom, Subscription, Timestamp,
};
use tonic::Status;
use uuid::Uuid;

use crate::caller::Caller;
use crate::convert::{IdForm, position, timestamp};
use crate::failure::Failure;
use crate::indexes::{self, Shape};
use crate::proto::event_store::client::streams::{ReadResp, read_resp};
use read_resp::{CaughtUp, Checkpoint, Content};

use super::Answers;
use super::deleting::tombstone_of;
use super::filter::Filter;
use super::links::{Links, read_event};
use super::request::{From, Place, ReadRequest};

pub(super) async fn begin(
    caller: Arc<dyn Caller>,
    read: ReadRequest,
) -> Result<Answers<ReadResp>, Status> {
    let links = if read.links { Links::Resolved } else { Links::Kept };
    let (subscription, what) = match read.from {
        From::Stream { stream, place } => {
            if let Some(index) = indexes::of_stream(&*caller, &stream).await? {
                let from = match place {
                    Place::Start => SubscribeFrom::Start,
                    Place::At(revision) => SubscribeFrom::After(revision.get()),
                    Place::End => SubscribeFrom::End,
                };
                let shape = Shape { links, form: read.form, wants_places: read.wants_places };
                return indexes::subscribe(caller, index, from, shape).await;
            }
            of_stream(&*caller, stream, place).await?
        }
        From::All { place, filter } => of_log(&*caller, place, filter).await?,
    };
    let feed = Feed {
        stopping: caller.stopping(),
        caller,
        subscription,
        what,
        links,
        form: read.form,
        ready: VecDeque::from([confirmation()]),
        batch: EventBatch::default(),
        next: 0,
        end: None,
        is_over: false,
    };
    Ok(Box::pin(stream::unfold(Box::new(feed), |mut feed| async move {
        let answer = feed.next().await?;
        Some((answer, feed))
    })))
}

/// The first message of a subscription.
pub(crate) fn confirmation() -> Content {
    let subscription_id = Uuid::new_v4().hyphenated().to_string();
    Content::Confirmation(read_resp::SubscriptionConfirmation { subscription_id })
}

/// What is subscribed to, and how far it has come.
enum What {
    Stream {
        stream: StreamName,
        /// The stream's last revision that is known.
        last: Option<u64>,
    },
    All {
        filter: Option<Filter>,
        /// Everything up to here was shown or passed over.
        reached: Position,
        /// The last checkpoint that was told, or where it began.
        told: Position,
    },
}

async fn of_stream(
    caller: &dyn Caller,
    stream: StreamName,
    place: Place<Revision>,
) -> Result<(Box<dyn Subscription>, What), Failure> {
    let read = ReadStream::new(stream.clone()).limit(0);
    let read = caller.store().read_stream(read).await;
    let state = read.map_err(|error| Failure::of_read(caller, &error))?.state;
    if let StreamState::Tombstoned { .. } = state {
        return Err(Failure::StreamDeleted { stream: stream.to_string() });
    }
    let from = match place {
        Place::Start => SubscribeFrom::Start,
        Place::At(revision) => SubscribeFrom::After(revision),
        Place::End => SubscribeFrom::End,
    };
    let subscribe = Subscribe::Stream { stream: stream.clone(), from };
    let subscription = caller.store().subscribe(subscribe).await;
    let subscription = subscription.map_err(|error| Failure::of_subscribe(caller, &error))?;
    Ok((subscription, What::Stream { stream, last: state.last().map(Revision::get) }))
}

async fn of_log(
    caller: &dyn Caller,
    place: Place<Position>,
    filter: Option<Filter>,
) -> Result<(Box<dyn Subscription>, What), Failure> {
    let store = caller.store();
    let begin = match place {
        Place::Start => Position::START,
        Place::At(position) => position,
        Place::End => store.frontier().await.map_err(|error| Failure::of_read(caller, &error))?,
    };
    let from = match place {
        Place::Start => SubscribeFrom::Start,
        // The end becomes the place that it is now, so that checkpoints have where to begin.
        Place::At(_) | Place::End => SubscribeFrom::After(begin),
    };
    let query = filter.as_ref().map_or_else(Query::all, Filter::query);
    let subscription = store.subscribe(Subscribe::All { query, from }).await;
    let subscription = subscription.map_err(|error| Failure::of_subscribe(caller, &error))?;
    Ok((subscription, What::All { filter, reached: begin, told: begin }))
}

/// A subscription under way.
struct Feed {
    caller: Arc<dyn Caller>,
    stopping: BoxFuture<'static, ()>,
    subscription: Box<dyn Subscription>,
    what: What,
    links: Links,
    form: IdForm,
    ready: VecDeque<Content>,
    batch: EventBatch,
    /// The next event of the batch.
    next: usize,
    /// Why the subscription ends once everything before is sent.
    end: Option<Failure>,
    is_over: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<ReadResp, Status>> {
        if self.is_over {
            return None;
        }
        let content = self.content().await;
        self.is_over = content.is_err();
        Some(content.map(|content| ReadResp { content: Some(content) }).map_err(Status::from))
    }

    async fn content(&mut self) -> Result<Content, Failure> {
        loop {
            if let Some(content) = self.ready.pop_front() {
                return Ok(content);
            }
            if let Some(event) = self.event().await? {
                return Ok(event);
            }
            if let Some(failure) = self.end.take() {
                return Err(failure);
            }
            self.pull().await?;
        }
    }

    /// The next event of the batch that is to be shown. A checkpoint may follow it.
    async fn event(&mut self) -> Result<Option<Content>, Failure> {
        while let Some(event) = self.batch.get(self.next) {
            self.next += 1;
            if self.what.shows(event)? {
                let shown = read_event(&*self.caller, event, self.links, self.form).await?;
                self.ready.extend(self.what.pass(event));
                return Ok(Some(Content::Event(shown)));
            }
            if let Some(checkpoint) = self.what.pass(event) {
                return Ok(Some(checkpoint));
            }
        }
        Ok(None)
    }

    async fn pull(&mut self) -> Result<(), Failure> {
        let pulled = tokio::select! {
            biased;
            () = &mut self.stopping => return Err(Failure::NotReady),
            pulled = self.subscription.next() => pulled,
        };
        match pulled {
            Ok(Delivery::Events(batch)) => (self.batch, self.next) = (batch, 0),
            Ok(Delivery::Checkpoint(position)) => self.ready.extend(self.what.pass_to(position)),
            Ok(Delivery::CaughtUp) => self.ready.extend(self.what.caught_up()),
            // Clients are not told: what they get has no gap.
            Ok(Delivery::FellBehind) => {}
            Err(error) => return self.end(&error).await,
        }
        Ok(())
    }

    /// The subscription is over. Of a stream that was tombstoned, the tombstone is still shown.
    async fn end(&mut self, error: &SubscribeError) -> Result<(), Failure> {
        let failure = Failure::of_subscribe(&*self.caller, error);
        if let (SubscribeError::StreamTombstoned { .. }, What::Stream { stream, .. }) =
            (error, &self.what)
        {
            let read = self.caller.store().read_all(tombstone_of(stream)).await;
            let mut read = read.map_err(|error| Failure::of_read(&*self.caller, &error))?;
            let batch = read.batches.next().await;
            let batch = batch.map_err(|error| Failure::of_read(&*self.caller, &error))?;
            (self.batch, self.next) = (batch.unwrap_or_default(), 0);
        }
        self.end = Some(failure);
        Ok(())
    }
}

impl What {
    fn shows(&self, event: quipu_core::EventRef<'_>) -> Result<bool, Failure> {
        match self {
            Self::All { filter: Some(filter), .. } => Ok(filter.shows(event)?),
            Self::All { filter: None, .. } | Self::Stream { .. } => Ok(true),
        }
    }

    /// Notes that an event was shown or passed over. A checkpoint may be due.
    fn pass(&mut self, event: quipu_core::EventRef<'_>) -> Option<Content> {
        match self {
            Self::Stream { last, .. } => {
                *last = Some(event.revision().get());
                None
            }
            Self::All { .. } => self.pass_to(event.position()),
        }
    }

    fn pass_to(&mut self, position: Position) -> Option<Content> {
        let Self::All { filter, reached, told } = self else { return None };
        *reached = position.max(*reached);
        let filter = filter.as_ref()?;
        if reached.get().saturating_sub(told.get()) < filter.checkpoint_interval {
            return None;
        }
        *told = *reached;
        Some(checkpoint(*reached))
    }

    /// What the client is told when it has everything that is there.
    fn caught_up(&mut self) -> Vec<Content> {
        let now = Some(timestamp(Timestamp::now()));
        match self {
            Self::Stream { last, .. } => {
                let stream_revision = last.and_then(|last| i64::try_from(last).ok());
                let caught_up = CaughtUp { timestamp: now, stream_revision, position: None };
                vec![Content::CaughtUp(caught_up)]
            }
            Self::All { filter, reached, told } => {
                let place = Some(position(*reached));
                let caught_up = CaughtUp { timestamp: now, stream_revision: None, position: place };
                let mut contents = Vec::new();
                if filter.is_some() {
                    *told = *reached;
                    contents.push(checkpoint(*reached));
                }
                contents.push(Content::CaughtUp(caught_up));
                contents
            }
        }
    }
}

fn checkpoint(reached: Position) -> Content {
    let place = reached.get();
    Content::Checkpoint(Checkpoint {
        commit_position: place,
        prepare_position: place,
        timestamp: Some(timestamp(Timestamp::now())),
    })
}
