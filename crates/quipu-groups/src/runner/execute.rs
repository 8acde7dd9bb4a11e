//! Carries out the machine's actions.

use std::error::Error;
use std::sync::Arc;

use quipu_core::{EventStore, ParkedItem, Query, ReadAll, RecordedEvent, collect};

use crate::checkpoints::StorePlaces;
use crate::handler::{HandleError, Handler, Origin, Work};
use crate::machine::{Action, Failure, Fault, Item};
use crate::parking::{Parking, StreamParking, UnparkReason};
use crate::places::{KeepError, PlaceKeeper};

/// What the runner's machine carries.
pub(super) type Payload = Arc<RecordedEvent>;

/// All that actions need.
pub(super) struct Hands {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) places: StorePlaces,
    pub(super) parking: StreamParking,
    pub(super) epoch: u64,
}

/// Why an action was not done.
pub(super) enum Undone {
    /// Tell the machine.
    Failed(Failure),
    /// Step down.
    Fenced,
    /// It will never work: end.
    Refused(KeepError),
}

impl Hands {
    pub(super) fn places(&self) -> &dyn PlaceKeeper {
        self.handler.places().unwrap_or(&self.places)
    }

    pub(super) fn parking(&self) -> &dyn Parking {
        self.handler.parking().unwrap_or(&self.parking)
    }

    pub(super) async fn carry_out(&self, action: Action<Payload>) -> Result<(), Undone> {
        let epoch = self.epoch;
        match action {
            Action::Handle { items, moves } => {
                let work = Work { epoch, events: items, moves, origin: Origin::Log };
                Ok(self.handler.handle(&work).await?)
            }
            Action::Retry(item) => self.retry(item).await,
            Action::Park(items) => Ok(self.parking().park(epoch, &items).await?),
            Action::Skip(item) => Ok(self.parking().skip(epoch, &item).await?),
            Action::Unpark(item) => {
                let reason = UnparkReason::Dropped;
                Ok(self.parking().unpark(epoch, item.position, reason).await?)
            }
            Action::Save(moves) => Ok(self.places().advance(epoch, &moves).await?),
        }
    }

    async fn retry(&self, parked: ParkedItem) -> Result<(), Undone> {
        let read = ReadAll::new(Query::all()).from(parked.position).limit(1);
        let unavailable = |error| Undone::of_world(0, &error);
        let read = self.store.read_all(read).await.map_err(unavailable)?;
        let events = collect(read.batches).await.map_err(unavailable)?;
        // An event that was scavenged meanwhile has nothing left to handle.
        if let Some(event) = events.into_iter().find(|event| event.position == parked.position) {
            let item = Item {
                position: parked.position,
                key: parked.key.as_str().into(),
                size: 0,
                event: Arc::new(event),
            };
            let work = Work {
                epoch: self.epoch,
                events: [item].into(),
                moves: Vec::new(),
                origin: Origin::Parked,
            };
            self.handler.handle(&work).await?;
        }
        let reason = UnparkReason::Handled;
        Ok(self.parking().unpark(self.epoch, parked.position, reason).await?)
    }
}

impl Undone {
    fn of_world(handled: usize, error: &dyn Error) -> Self {
        let fault = Fault::World { retry_after: None };
        Self::Failed(Failure { handled, fault, cause: describe(error) })
    }
}

impl From<HandleError> for Undone {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Failed { handled, source } => {
                let cause = describe(&*source);
                Self::Failed(Failure { handled, fault: Fault::Event, cause })
            }
            HandleError::Unavailable { handled, retry_after, source } => {
                let fault = Fault::World { retry_after };
                Self::Failed(Failure { handled, fault, cause: describe(&*source) })
            }
            HandleError::Fenced => Self::Fenced,
        }
    }
}

impl From<KeepError> for Undone {
    fn from(error: KeepError) -> Self {
        match error {
            // Only a claim has another try; what moves apart from it was moved by another instance.
            KeepError::Fenced | KeepError::Moved => Self::Fenced,
            refused @ KeepError::Refused(_) => Self::Refused(refused),
            error @ KeepError::Unavailable(_) => Self::of_world(0, &error),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
