//! A subscription that goes on when its connection breaks.

use quipu_core::{
    BoxFuture, Delivery, Position, Revision, StorageError, Subscribe, SubscribeError,
    SubscribeFrom, Subscription,
};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::calls::{Backoff, Fate, fate};
use super::{Client, not_valid};
use crate::proto::subscribe_response::Delivery as Message;
use crate::proto::{self, ErrorCode};
use crate::status::{details, from_error, from_status};
use crate::{from_proto, to_proto};

/// A subscription over the network.
///
/// # Invariants
///
/// `to` begins behind everything that was delivered, so that it can be sent again at any time.
/// Nothing is taken from `messages` and lost when a pull is dropped.
pub(super) struct RemoteSubscription {
    client: Client,
    to: Subscribe,
    messages: Option<Streaming<proto::SubscribeResponse>>,
    /// The end of the log was reached, and nothing else was told since.
    is_caught_up: bool,
    /// The connection was made again since the last delivery.
    is_resumed: bool,
    /// What comes after a `FellBehind` that this side added.
    held: Option<Delivery>,
    /// What ended the subscription for good.
    end: Option<proto::Error>,
}

/// Why a subscription cannot go on by itself.
#[derive(Debug, thiserror::Error)]
#[error("the server holds another log or another life of it by now: subscribe again")]
struct OtherLife;

impl RemoteSubscription {
    pub(super) async fn begin(client: Client, to: Subscribe) -> Result<Self, SubscribeError> {
        let mut subscription = Self {
            client,
            to,
            messages: None,
            is_caught_up: false,
            is_resumed: false,
            held: None,
            end: None,
        };
        subscription.connect_patiently().await?;
        subscription.is_resumed = false;
        Ok(subscription)
    }

    /// Sends the subscription, and again until it is answered or patience ends.
    async fn connect_patiently(&mut self) -> Result<(), SubscribeError> {
        let until = Instant::now() + self.client.inner.options.reconnect_timeout;
        let mut backoff = Backoff::new();
        loop {
            let begun = tokio::time::timeout_at(until, self.connect()).await;
            let late = || Status::deadline_exceeded("the server took too long to answer");
            let status = match begun.unwrap_or_else(|_| Err(Stop::Status(late()))) {
                Ok(()) => return Ok(()),
                Err(Stop::Error(error)) => return Err(error),
                Err(Stop::Status(status)) => status,
            };
            if !is_break(&status) || Instant::now() >= until {
                return Err(self.end_with(status));
            }
            backoff.wait().await;
        }
    }

    async fn connect(&mut self) -> Result<(), Stop> {
        let mut store = self.client.store_over(&self.client.inner.subscriptions);
        let answer = store.subscribe(to_proto::subscribe(&self.to)).await?;
        let mut messages = answer.into_inner();
        let first = messages.message().await?.and_then(|first| first.delivery);
        let Some(Message::Begun(begun)) = first else {
            return Err(Stop::storage("the server did not say where the subscription begins"));
        };
        let identity = self.client.known_identity();
        let log = from_proto::log_id(&begun.log).map_err(|error| Stop::Error(invalid(error)))?;
        if log != identity.log || begun.incarnation != identity.incarnation.get() {
            return Err(Stop::storage(OtherLife));
        }
        if let Some(after) = begun.after {
            self.resume_after(after);
        } else if is_from_end(&self.to) {
            self.resume_from_start();
        }
        self.messages = Some(messages);
        self.is_resumed = true;
        Ok(())
    }

    fn resume_after(&mut self, place: u64) {
        match &mut self.to {
            Subscribe::Stream { from, .. } => *from = SubscribeFrom::After(Revision::new(place)),
            Subscribe::All { from, .. } => *from = SubscribeFrom::After(Position::new(place)),
        }
    }

    /// Where the subscription began at the end, and nothing was there, everything comes after it.
    fn resume_from_start(&mut self) {
        match &mut self.to {
            Subscribe::Stream { from, .. } => *from = SubscribeFrom::Start,
            Subscribe::All { from, .. } => *from = SubscribeFrom::Start,
        }
    }

    async fn pull(&mut self) -> Result<Delivery, SubscribeError> {
        if let Some(error) = &self.end {
            return Err(from_error(error.clone()));
        }
        loop {
            if let Some(held) = self.held.take() {
                return Ok(held);
            }
            let Some(messages) = &mut self.messages else {
                self.connect_patiently().await?;
                continue;
            };
            match messages.message().await {
                Ok(Some(message)) => {
                    if let Some(delivery) = self.take(message)? {
                        return Ok(delivery);
                    }
                }
                // Never by itself: whatever ended it, it goes on.
                Ok(None) => self.messages = None,
                Err(status) if is_break(&status) => self.messages = None,
                Err(status) => return Err(self.end_with(status)),
            }
        }
    }

    /// What a message delivers, if it is anything that was not told yet.
    fn take(
        &mut self,
        message: proto::SubscribeResponse,
    ) -> Result<Option<Delivery>, SubscribeError> {
        let delivery = match message.delivery {
            Some(Message::Events(events)) => {
                Delivery::Events(from_proto::events(events).map_err(invalid)?)
            }
            Some(Message::Checkpoint(position)) => Delivery::Checkpoint(Position::new(position)),
            Some(Message::CaughtUp(_)) => Delivery::CaughtUp,
            Some(Message::FellBehind(_)) => Delivery::FellBehind,
            // Of a later version of the protocol, which lets clients pass over it.
            Some(Message::Begun(_)) | None => return Ok(None),
        };
        let was_caught_up = self.is_caught_up;
        let is_first = std::mem::take(&mut self.is_resumed);
        match &delivery {
            Delivery::Events(batch) => {
                let Some(last) = batch.last() else { return Ok(None) };
                let place = match &self.to {
                    Subscribe::Stream { .. } => last.revision().get(),
                    Subscribe::All { .. } => last.position().get(),
                };
                self.resume_after(place);
            }
            Delivery::Checkpoint(position) => self.resume_after(position.get()),
            // It was told before the connection broke, and nothing came since.
            Delivery::CaughtUp if is_first && was_caught_up => return Ok(None),
            Delivery::CaughtUp => self.is_caught_up = true,
            Delivery::FellBehind => self.is_caught_up = false,
        }
        let is_news = matches!(delivery, Delivery::Events(_) | Delivery::Checkpoint(_));
        if is_first && was_caught_up && is_news {
            // The server will say that the end is reached: it does not know that it said so before.
            self.is_caught_up = false;
            self.held = Some(delivery);
            return Ok(Some(Delivery::FellBehind));
        }
        Ok(Some(delivery))
    }

    /// Ends the subscription with what the server says, for good if it is about what is followed.
    fn end_with(&mut self, status: Status) -> SubscribeError {
        self.messages = None;
        if let Some(error) = details(&status)
            && error.code() == ErrorCode::StreamTombstoned
        {
            self.end = Some(error);
        }
        from_status(status)
    }
}

impl Subscription for RemoteSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(self.pull())
    }
}

/// Why an attempt to subscribe did not succeed.
enum Stop {
    Status(Status),
    Error(SubscribeError),
}

impl Stop {
    fn storage(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Error(SubscribeError::Storage(StorageError::new(cause)))
    }
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

fn invalid(error: from_proto::Malformed) -> SubscribeError {
    SubscribeError::Storage(not_valid(error))
}

/// Whether the connection broke or the server stops, so that it is worth connecting again.
fn is_break(status: &Status) -> bool {
    match details(status) {
        Some(error) => error.code() == ErrorCode::Stopping,
        None => fate(status) != Fate::Answered && status.code() != Code::DeadlineExceeded,
    }
}

fn is_from_end(to: &Subscribe) -> bool {
    matches!(
        to,
        Subscribe::Stream { from: SubscribeFrom::End, .. }
            | Subscribe::All { from: SubscribeFrom::End, .. }
    )
}
