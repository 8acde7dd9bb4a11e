//! Serves the timers of a process: what was set and neither fired nor was taken back, by the log.
//!
//! A timer that is due becomes an event in its instance's stream, which comes to the instance like
//! every other input. The event's id comes from that of the event that set the timer, so that it is
//! there once, however many wheels turn.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use quipu_core::{
    Append, AppendError, Delivery, EventId, EventType, ExpectedRevision, NameError, Position,
    QueryItem, RecordedEvent, StreamName, Subscribe, SubscribeFrom, Subscription, Timestamp,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::record::{self, CancelledRecord, FiredRecord, TimerRecord};
use super::run::TimerStatus;
use crate::app::Quipu;
use crate::metadata::Metadata;

/// How long to wait before something is tried again that did not work.
const PAUSE: Duration = Duration::from_millis(500);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The timers of one process.
pub(super) struct Wheel {
    app: Quipu,
    process: &'static str,
    /// The longest time between two looks at the clock while a timer is set.
    tick: Duration,
    status: watch::Sender<TimerStatus>,
    /// By the moment that they are due, and the event that set them.
    timers: BTreeMap<(Timestamp, EventId), Timer>,
    due: HashMap<EventId, Timestamp>,
}

struct Timer {
    stream: StreamName,
    record: TimerRecord,
    metadata: Metadata,
}

impl Wheel {
    pub(super) fn new(
        app: Quipu,
        process: &'static str,
        tick: Duration,
        status: watch::Sender<TimerStatus>,
    ) -> Self {
        Self { app, process, tick, status, timers: BTreeMap::new(), due: HashMap::new() }
    }

    /// Turns for ever. Where something does not work it says so, and begins anew.
    pub(super) async fn turn(mut self) {
        loop {
            let outcome = self.serve().await;
            let error = outcome.err().map(|error| error.to_string());
            self.status.send_modify(|status| status.last_error = error);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn serve(&mut self) -> Result<(), Cause> {
        self.timers.clear();
        self.due.clear();
        let mut subscription = self.subscribe().await?;
        let mut is_caught_up = false;
        let mut place = Position::START;
        loop {
            let next = self.timers.keys().next().map(|(due, _)| *due).filter(|_| is_caught_up);
            let delivery = match next.map(|due| self.wait_of(due)) {
                Some(Duration::ZERO) => {
                    self.fire().await?;
                    continue;
                }
                Some(wait) => match tokio::time::timeout(wait, subscription.next()).await {
                    Ok(delivery) => delivery?,
                    Err(_elapsed) => continue,
                },
                None => subscription.next().await?,
            };
            match delivery {
                Delivery::Events(batch) => {
                    for event in batch.iter() {
                        self.apply(&event.to_recorded())?;
                        place = event.position();
                    }
                }
                // What was taken back or fired must be known before anything fires.
                Delivery::CaughtUp => is_caught_up = true,
                Delivery::FellBehind => is_caught_up = false,
                Delivery::Checkpoint(position) => place = position,
            }
            if is_caught_up {
                self.tell();
                self.status.send_modify(|status| status.position = place);
            }
        }
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, Cause> {
        let types = [record::SCHEDULED, record::CANCELLED, record::FIRED].map(EventType::new);
        let types = types.into_iter().collect::<Result<Vec<_>, NameError>>()?;
        let item = QueryItem { types, tags: record::tags(self.process)?, ..QueryItem::default() };
        let subscribe = Subscribe::All { query: item.into(), from: SubscribeFrom::Start };
        Ok(self.app.store().subscribe(subscribe).await?)
    }

    /// How long to wait before looking at the clock again; nothing where the time has come. The
    /// application's clock need not go as the machine's does, so it is looked at now and then.
    fn wait_of(&self, due: Timestamp) -> Duration {
        let micros = due.as_micros().saturating_sub(self.app.now().as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or_default()).min(self.tick)
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), Cause> {
        match event.event_type.as_str() {
            record::SCHEDULED => {
                let record: TimerRecord = record::parse(event)?;
                let due = Timestamp::from_micros(record.due);
                let stream = event.stream.clone();
                let metadata = Metadata::parse(&event.metadata).unwrap_or_default();
                self.due.insert(event.id, due);
                self.timers.insert((due, event.id), Timer { stream, record, metadata });
            }
            record::CANCELLED => {
                let record: CancelledRecord = record::parse(event)?;
                self.forget(EventId::from_uuid(record.scheduled));
            }
            _ => {
                let record: FiredRecord = record::parse(event)?;
                self.forget(EventId::from_uuid(record.scheduled));
            }
        }
        Ok(())
    }

    fn forget(&mut self, scheduled: EventId) {
        if let Some(due) = self.due.remove(&scheduled) {
            self.timers.remove(&(due, scheduled));
        }
    }

    /// Fires the timer that is due first.
    async fn fire(&mut self) -> Result<(), Cause> {
        let Some((&(_, scheduled), timer)) = self.timers.first_key_value() else { return Ok(()) };
        let record = FiredRecord { scheduled: scheduled.as_uuid(), timer: timer.record.clone() };
        let metadata = Metadata {
            causation: Some(scheduled.to_string()),
            actor: Some(format!("process/{}", self.process)),
            ..timer.metadata.clone()
        };
        let mut event = record::event(self.process, record::FIRED, &record, &metadata)?;
        event.id = EventId::from_uuid(Uuid::new_v5(&scheduled.as_uuid(), b"fired"));
        let stream = timer.stream.clone();
        let append = Append::to_stream(stream, ExpectedRevision::Any, [event]);
        match self.app.store().append(append).await {
            // A stream that takes nothing any more was tombstoned, and its timers with it.
            Ok(_) | Err(AppendError::Conflict { .. }) => self.forget(scheduled),
            Err(error) => return Err(error.into()),
        }
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        self.status.send_modify(|status| {
            status.count = self.timers.len();
            status.next_due = self.timers.keys().next().map(|(due, _)| *due);
            status.last_error = None;
        });
    }
}
