//! Subscriptions: what is there, then what comes, until the client goes or the server stops.

use std::collections::VecDeque;

use futures_lite::{StreamExt, stream};
use quipu_core::{
    Delivery, EventBatch, Position, ReadStream, Revision, Subscribe, SubscribeError, SubscribeFrom,
    Subscription,
};
use quipu_wire::proto::subscribe_response::Delivery as Message;
use quipu_wire::proto::{CaughtUp, FellBehind, SubscribeResponse};
use quipu_wire::status::Failure;
use quipu_wire::to_proto;
use tonic::Status;

use super::answering::{Answers, check, failed};
use crate::security::Access;
use crate::slots::Slot;

/// A subscription under way.
struct Feed {
    access: Access,
    subscription: Box<dyn Subscription>,
    is_of_stream: bool,
    stopping: stream::Boxed<()>,
    /// What is to be sent before more is pulled: each message with the place reached by it.
    ready: VecDeque<(Message, Option<u64>)>,
    /// The place to resume after: of the last message sent.
    place: Option<u64>,
    is_over: bool,
    _slot: Slot,
}

/// Begins a subscription. The first message is where it begins.
pub(super) async fn begin(
    access: Access,
    mut to: Subscribe,
) -> Result<Answers<SubscribeResponse>, Status> {
    let service = access.service().clone();
    let slot = service.subscription_slot(access.principal()).ok_or_else(|| {
        let count_max = service.limits().subscription_count_max;
        failed(Failure::TooManySubscriptions {
            principal: access.principal().to_owned(),
            count_max,
        })
    })?;
    let store = access.store();
    let place = settle(&access, &mut to).await?;
    let is_of_stream = matches!(to, Subscribe::Stream { .. });
    let subscription = store.subscribe(to).await.map_err(failed)?;
    let begun = Message::Begun(to_proto::begun(place, &store.identity()));
    let stopping = Box::pin(stream::once_future(async move { service.stopping().await }));
    let ready = VecDeque::from([(begun, place)]);
    let feed = Feed {
        access,
        subscription,
        is_of_stream,
        stopping,
        ready,
        place,
        is_over: false,
        _slot: slot,
    };
    Ok(Box::pin(stream::unfold(feed, |mut feed| async move {
        let answer = feed.next().await?;
        Some((answer, feed))
    })))
}

/// The place behind which a subscription begins. The end becomes the place that it is now, so that
/// a client whose connection breaks can resume before the first delivery.
async fn settle(access: &Access, to: &mut Subscribe) -> Result<Option<u64>, Status> {
    match to {
        Subscribe::Stream { stream, from } => {
            if *from == SubscribeFrom::End {
                let read = ReadStream::new(stream.clone()).limit(0);
                let read = access.store().read_stream(read).await.map_err(failed)?;
                *from = read.state.last().map_or(SubscribeFrom::Start, SubscribeFrom::After);
            }
            Ok(place_of(*from, Revision::get))
        }
        Subscribe::All { from, .. } => {
            if *from == SubscribeFrom::End {
                *from = SubscribeFrom::After(access.store().frontier().await.map_err(failed)?);
            }
            Ok(place_of(*from, Position::get))
        }
    }
}

fn place_of<P>(from: SubscribeFrom<P>, number: fn(P) -> u64) -> Option<u64> {
    match from {
        SubscribeFrom::After(place) => Some(number(place)),
        SubscribeFrom::Start | SubscribeFrom::End => None,
    }
}

impl Feed {
    async fn next(&mut self) -> Option<Result<SubscribeResponse, Status>> {
        if self.is_over {
            return None;
        }
        let message = self.pull().await;
        self.is_over = message.is_err();
        Some(message.map(|message| SubscribeResponse { delivery: Some(message) }))
    }

    async fn pull(&mut self) -> Result<Message, Status> {
        loop {
            check(&self.access)?;
            if let Some((message, place)) = self.ready.pop_front() {
                self.place = place.or(self.place);
                return Ok(message);
            }
            let pulled = tokio::select! {
                biased;
                Some(()) = self.stopping.next() => None,
                pulled = self.subscription.next() => Some(pulled),
            };
            match pulled {
                Some(pulled) => self.make_ready(pulled)?,
                None => return Err(failed(Failure::Stopping { resume_after: self.place })),
            }
        }
    }

    fn make_ready(&mut self, pulled: Result<Delivery, SubscribeError>) -> Result<(), Status> {
        match pulled.map_err(failed)? {
            Delivery::Events(batch) => self.make_pages(&batch),
            Delivery::Checkpoint(position) => {
                let place = position.get();
                self.ready.push_back((Message::Checkpoint(place), Some(place)));
            }
            Delivery::CaughtUp => self.ready.push_back((Message::CaughtUp(CaughtUp {}), None)),
            Delivery::FellBehind => {
                self.ready.push_back((Message::FellBehind(FellBehind {}), None));
            }
        }
        Ok(())
    }

    fn make_pages(&mut self, batch: &EventBatch) {
        let size_max = self.access.service().limits().page_size_max;
        for page in to_proto::events(batch, size_max) {
            let places = if self.is_of_stream { &page.revisions } else { &page.positions };
            let place = places.last().copied();
            self.ready.push_back((Message::Events(page), place));
        }
    }
}
