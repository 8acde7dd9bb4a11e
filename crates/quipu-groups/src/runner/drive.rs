//! The loop: between the log, the machine, the works under way and the operators.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    ComponentRequest, Delivery, EventBatch, Position, Subscribe, SubscribeError, SubscribeFrom,
    Subscription,
};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::execute::{Hands, Payload, Undone, describe};
use super::report::Reporter;
use super::session::asked_to_stop;
use super::{Phase, RunError, Runner, RunnerStatus};
use crate::machine::{Action, Failure, Fault, Item, Machine};

/// How long to wait before a log that could not be read is read again.
const READ_PAUSE: Duration = Duration::from_millis(500);

/// About what an event takes beside its data and metadata.
const EVENT_SIZE: usize = 512;

/// How a drive ended.
pub(super) enum End {
    Stopped,
    Fenced,
    Replay(Position),
}

/// A work's task that ended.
type Joined = Result<(Id, Result<(), Undone>), JoinError>;

/// What happened.
enum Event {
    Ended(Option<Joined>),
    Delivered(Result<Delivery, SubscribeError>),
    Wake,
    Stop,
}

pub(super) struct Drive<'a> {
    runner: &'a Runner,
    hands: Arc<Hands>,
    machine: Machine<Payload>,
    subscription: Option<Box<dyn Subscription>>,
    /// When to subscribe again after the log could not be read.
    subscribe_at: Instant,
    /// Dropped with the drive, and all of them with it: nothing outlives a step down.
    works: JoinSet<Result<(), Undone>>,
    partition_of: HashMap<Id, usize>,
    reporter: Reporter,
    tell: &'a watch::Sender<RunnerStatus>,
    look_at: Instant,
    started: Instant,
    read_error: Option<String>,
    /// Why the last request could not be carried out.
    request_error: Option<String>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        runner: &'a Runner,
        hands: Arc<Hands>,
        machine: Machine<Payload>,
        tell: &'a watch::Sender<RunnerStatus>,
    ) -> Self {
        let now = Instant::now();
        Self {
            runner,
            reporter: Reporter::new(runner, hands.epoch, now),
            hands,
            machine,
            subscription: None,
            subscribe_at: now,
            works: JoinSet::new(),
            partition_of: HashMap::new(),
            tell,
            look_at: now,
            started: now,
            read_error: None,
            request_error: None,
        }
    }

    /// The same after a request that could not be carried out.
    pub(super) fn after(mut self, request_error: Option<String>) -> Self {
        self.request_error = request_error;
        self
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) async fn run(
        mut self,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<End, RunError> {
        loop {
            if Instant::now() >= self.look_at
                && let Some(end) = self.look_up().await?
            {
                return Ok(end);
            }
            self.begin_works();
            self.show();
            let Some(event) = self.wait(stopping).await? else { continue };
            let end = match event {
                Event::Ended(ended) => self.take_ended(ended)?,
                Event::Delivered(Ok(delivery)) => {
                    self.take_delivery(&delivery);
                    None
                }
                Event::Delivered(Err(error)) => {
                    self.take_read_error(error)?;
                    None
                }
                Event::Wake => None,
                Event::Stop => return self.finish().await,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Waits for what happens next; `None` where it only got ready to.
    async fn wait(
        &mut self,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<Option<Event>, RunError> {
        let wants_more = self.machine.has_room();
        if self.machine.take_rewind() {
            self.subscription = None;
        }
        if wants_more && self.subscription.is_none() && Instant::now() >= self.subscribe_at {
            self.subscribe().await?;
            return Ok(None);
        }
        let mut wake = self.look_at;
        if let Some(at) = self.machine.next_wake(self.now()) {
            wake = wake.min(self.started + at);
        }
        if wants_more && self.subscription.is_none() {
            wake = wake.min(self.subscribe_at);
        }
        let subscription = self.subscription.as_mut().filter(|_| wants_more);
        let delivery = async {
            match subscription {
                Some(subscription) => subscription.next().await,
                None => std::future::pending().await,
            }
        };
        // What ended comes first: it makes room, and its partition idle.
        Ok(Some(tokio::select! {
            biased;
            () = asked_to_stop(stopping) => Event::Stop,
            ended = self.works.join_next_with_id(), if !self.works.is_empty() => {
                Event::Ended(ended)
            }
            () = sleep_until(wake) => Event::Wake,
            delivered = delivery => Event::Delivered(delivered),
        }))
    }

    async fn subscribe(&mut self) -> Result<(), RunError> {
        let Some(after) = self.machine.resume_after() else { return Ok(()) };
        let from = SubscribeFrom::After(after);
        let subscribe = Subscribe::All { query: self.runner.options.query.clone(), from };
        match self.runner.store.subscribe(subscribe).await {
            Ok(subscription) => self.subscription = Some(subscription),
            Err(error) => self.take_read_error(error)?,
        }
        Ok(())
    }

    fn take_read_error(&mut self, error: SubscribeError) -> Result<(), RunError> {
        self.subscription = None;
        if !matches!(error, SubscribeError::Storage(_)) {
            return Err(RunError::Subscribe(error));
        }
        self.read_error = Some(describe(&error));
        self.subscribe_at = Instant::now() + READ_PAUSE;
        Ok(())
    }

    fn take_delivery(&mut self, delivery: &Delivery) {
        self.read_error = None;
        match delivery {
            Delivery::Events(batch) => self.offer(batch),
            Delivery::Checkpoint(position) => self.machine.reached(*position),
            Delivery::CaughtUp => self.machine.set_caught_up(true),
            Delivery::FellBehind => self.machine.set_caught_up(false),
        }
    }

    fn offer(&mut self, batch: &EventBatch) {
        for event in batch.iter() {
            if let Some(key) = self.runner.handler.key(event) {
                let position = event.position();
                let size = event.data_bytes().len() + event.metadata_bytes().len() + EVENT_SIZE;
                let event = Arc::new(event.to_recorded());
                self.machine.offer(Item { position, key, size, event });
            }
        }
        if let Some(last) = batch.last() {
            self.machine.reached(last.position());
        }
    }

    fn begin_works(&mut self) {
        for index in 0..self.machine.partition_count() {
            if let Some(action) = self.machine.next(index, self.now()) {
                self.begin(index, action);
            }
        }
    }

    fn begin(&mut self, index: usize, action: Action<Payload>) {
        let hands = Arc::clone(&self.hands);
        let task = self.works.spawn(async move { hands.carry_out(action).await });
        self.partition_of.insert(task.id(), index);
    }

    fn take_ended(&mut self, ended: Option<Joined>) -> Result<Option<End>, RunError> {
        let Some(ended) = ended else { return Ok(None) };
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(panic) => {
                let cause = format!("the handler panicked: {panic}");
                let failure = Failure { handled: 0, fault: Fault::Event, cause };
                (panic.id(), Err(Undone::Failed(failure)))
            }
        };
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(Undone::Failed(failure)) => Err(failure),
            Err(Undone::Fenced) => return Ok(Some(End::Fenced)),
            Err(Undone::Refused(error)) => return Err(RunError::Keep(error)),
        };
        if let Some(index) = self.partition_of.remove(&id) {
            self.machine.finish(index, outcome, self.now());
        }
        Ok(None)
    }

    /// Reports, and takes what operators ask for.
    async fn look_up(&mut self) -> Result<Option<End>, RunError> {
        let options = &self.runner.options;
        self.look_at = Instant::now() + options.request_interval.min(options.report_interval);
        let status = self.status();
        let store = &*self.runner.store;
        if self.reporter.report(store, &status, || self.machine.parked()).await.is_err() {
            return Ok(Some(End::Fenced));
        }
        let Ok(requests) = store.registry().take_requests(&options.key).await else {
            return Ok(None);
        };
        let mut replay = None;
        for request in requests {
            self.reporter.report_soon();
            match request {
                ComponentRequest::ReplayFrom(position) => replay = Some(position),
                ComponentRequest::Promote => {
                    if let Err(error) = self.runner.handler.promote(self.hands.epoch).await {
                        self.request_error = Some(describe(&error));
                    }
                }
                other => self.machine.request(other),
            }
        }
        if let Some(position) = replay {
            return Ok(Some(match self.drain(false).await? {
                End::Fenced => End::Fenced,
                End::Stopped | End::Replay(_) => End::Replay(position),
            }));
        }
        Ok(None)
    }

    fn status(&self) -> RunnerStatus {
        let own = self.read_error.as_deref().or(self.request_error.as_deref());
        let last_error = own.or(self.machine.last_error());
        RunnerStatus {
            phase: Phase::Running,
            epoch: self.hands.epoch,
            state: self.machine.state(),
            position: self.machine.position(),
            last_error: last_error.map(str::to_owned),
            parked_count: self.machine.parked_count(),
            stopped: self.machine.stopped().cloned().collect(),
        }
    }

    /// Shows the status to those who wait in this process.
    fn show(&self) {
        let status = self.status();
        self.tell.send_if_modified(|shown| {
            let is_other = *shown != status;
            if is_other {
                *shown = status;
            }
            is_other
        });
    }

    /// Lets the works under way end and saves the checkpoints, as long as that may take.
    async fn finish(&mut self) -> Result<End, RunError> {
        let timeout = self.runner.options.stop_timeout;
        let drained = tokio::time::timeout(timeout, self.drain(true)).await;
        let end = match drained {
            Ok(end) => end?,
            Err(_) => End::Stopped,
        };
        self.show();
        if matches!(end, End::Stopped) {
            let status = self.status();
            self.reporter.report_soon();
            let store = &*self.runner.store;
            // The runner ends whether or not anybody hears of it.
            self.reporter.report(store, &status, || self.machine.parked()).await.ok();
        }
        Ok(end)
    }

    /// Waits for the works under way and then, unless it is not wanted, saves the checkpoints.
    async fn drain(&mut self, saves: bool) -> Result<End, RunError> {
        for is_last in [false, true] {
            while !self.works.is_empty() {
                let ended = self.works.join_next_with_id().await;
                if let Some(end) = self.take_ended(ended)? {
                    return Ok(end);
                }
            }
            if is_last || !saves {
                break;
            }
            for index in 0..self.machine.partition_count() {
                if let Some(action) = self.machine.next_last(index) {
                    self.begin(index, action);
                }
            }
        }
        Ok(End::Stopped)
    }
}
