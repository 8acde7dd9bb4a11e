//! From one ownership to the next.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ComponentState, LeaseError, ParkedItem, Position, StreamName, SubscribeFrom};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::drive::{Drive, End};
use super::execute::{Hands, describe};
use super::report::Reporter;
use super::{Phase, RunError, Runner, RunnerStatus};
use crate::checkpoints::StorePlaces;
use crate::machine::{Keeping, Machine};
use crate::ownership::Ownership;
use crate::parking::{StreamParking, UnparkReason};
use crate::places::{KeepError, SlicePlaces};
use crate::slice::divide;

/// How long to wait before something is tried again for which nobody else has a say.
const PAUSE: Duration = Duration::from_millis(200);

/// The most partitions that save as often as they are told to.
const CROWD: usize = 16;

/// Runs until it is stopped or cannot go on.
pub(super) async fn run(
    runner: &Runner,
    mut stopping: watch::Receiver<bool>,
    tell: &watch::Sender<RunnerStatus>,
) -> Result<(), RunError> {
    loop {
        tell.send_modify(|status| status.phase = Phase::Waiting);
        let owned = tokio::select! {
            owned = acquire(runner) => owned?,
            () = asked_to_stop(&mut stopping) => return Ok(()),
        };
        let outcome = tokio::select! {
            outcome = own(runner, owned.epoch(), &stopping, tell) => outcome,
            // Dropping the works under way is what stepping down is.
            () = owned.lost() => Ok(Own::Lost),
        };
        match outcome {
            Ok(Own::Lost) => {}
            Ok(Own::Stopped) => {
                owned.release().await;
                return Ok(());
            }
            Err(error) => {
                tell_end(runner, owned.epoch(), &error, tell).await;
                owned.release().await;
                return Err(error);
            }
        }
    }
}

/// Lets everybody know why the runner does not go on.
async fn tell_end(
    runner: &Runner,
    epoch: u64,
    error: &RunError,
    tell: &watch::Sender<RunnerStatus>,
) {
    tell.send_modify(|status| {
        status.epoch = epoch;
        status.state = ComponentState::Stopped;
        status.last_error = Some(describe(error));
    });
    let status = tell.borrow().clone();
    let mut reporter = Reporter::new(runner, epoch, Instant::now());
    // What is parked is not known any more but for its count; the error matters more.
    reporter.report(&*runner.store, &status, Vec::new).await.ok();
}

pub(super) async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    // Without a sender nobody waits for the runner to go on.
    stopping.wait_for(|is_asked| *is_asked).await.ok();
}

async fn acquire(runner: &Runner) -> Result<Ownership, RunError> {
    let options = &runner.options;
    let (name, ttl) = (component_name(runner), options.lease_ttl);
    loop {
        match Ownership::acquire(Arc::clone(&runner.store), &name, &options.owner, ttl).await {
            Ok(owned) => return Ok(owned),
            Err(LeaseError::Held { .. }) => sleep((ttl / 4).min(PAUSE)).await,
            Err(LeaseError::Storage(_)) => sleep(PAUSE).await,
            Err(other) => return Err(RunError::Lease(other)),
        }
    }
}

/// What the lease and the checkpoints are called.
fn component_name(runner: &Runner) -> String {
    let key = &runner.options.key;
    format!("{}/{}/v{}", key.kind.as_str(), key.name, key.version)
}

/// How an ownership ended.
enum Own {
    Lost,
    Stopped,
}

/// Runs under one epoch.
async fn own(
    runner: &Runner,
    epoch: u64,
    stopping: &watch::Receiver<bool>,
    tell: &watch::Sender<RunnerStatus>,
) -> Result<Own, RunError> {
    let name = component_name(runner);
    let places = StorePlaces::new(Arc::clone(&runner.store), &name);
    let stream = StreamName::new(format!("$quipu.parked-{name}"))
        .map_err(|error| RunError::Keep(KeepError::Refused(error.into())))?;
    let hands = Arc::new(Hands {
        store: Arc::clone(&runner.store),
        handler: Arc::clone(&runner.handler),
        places,
        parking: StreamParking::new(Arc::clone(&runner.store), stream),
        epoch,
    });
    let mut stopping = stopping.clone();
    let mut request_error = None;
    loop {
        let begun = tokio::select! {
            begun = begin(runner, &hands, tell) => begun,
            () = asked_to_stop(&mut stopping) => return Ok(Own::Stopped),
        };
        let machine = match begun {
            Ok(machine) => machine,
            Err(Begin::Lost) => return Ok(Own::Lost),
            Err(Begin::Error(error)) => return Err(error),
        };
        let drive = Drive::new(runner, Arc::clone(&hands), machine, tell);
        let drive = drive.after(request_error.take());
        match drive.run(&mut stopping).await? {
            End::Stopped => return Ok(Own::Stopped),
            End::Fenced => return Ok(Own::Lost),
            End::Replay(position) => {
                // Where the handler refuses, it goes on where it was, and says so.
                let replayed = replay(runner, &hands, position).await;
                request_error = replayed.err().map(|error| describe(&error));
            }
        }
    }
}

enum Begin {
    Lost,
    Error(RunError),
}

/// Loads what is kept and takes it over.
async fn begin(
    runner: &Runner,
    hands: &Hands,
    tell: &watch::Sender<RunnerStatus>,
) -> Result<Machine<super::execute::Payload>, Begin> {
    let options = &runner.options;
    let mut reporter = Reporter::new(runner, hands.epoch, Instant::now());
    let partitions = divide(options.partitions);
    loop {
        match load(runner, hands).await {
            Ok((places, parked)) => {
                let mut settings = options.settings;
                // Each saving is a sync: many partitions save more rarely, not more often together.
                let crowds = (partitions.len() / CROWD).max(1);
                let crowds = u32::try_from(crowds).unwrap_or(u32::MAX);
                settings.save_interval = settings.save_interval.saturating_mul(crowds);
                let is_own = runner.handler.places().is_some();
                settings.keeping = if is_own { Keeping::WithWork } else { Keeping::Apart };
                let seed = hands.epoch ^ u64::from(std::process::id()) << 32;
                return Ok(Machine::new(settings, &partitions, &places, parked, seed));
            }
            Err(KeepError::Fenced) => return Err(Begin::Lost),
            Err(KeepError::Moved) => sleep(PAUSE).await,
            Err(error @ KeepError::Unavailable(_)) => {
                tell.send_modify(|status| {
                    status.state = ComponentState::Retrying;
                    status.last_error = Some(describe(&error));
                });
                let status = tell.borrow().clone();
                if reporter.report(&*runner.store, &status, Vec::new).await.is_err() {
                    return Err(Begin::Lost);
                }
                sleep(PAUSE).await;
            }
            Err(refused @ KeepError::Refused(_)) => {
                return Err(Begin::Error(RunError::Keep(refused)));
            }
        }
    }
}

async fn load(runner: &Runner, hands: &Hands) -> Result<(SlicePlaces, Vec<ParkedItem>), KeepError> {
    let loaded = hands.places().load().await?;
    let first = match runner.options.from {
        SubscribeFrom::Start => Position::START,
        SubscribeFrom::After(position) => position,
        SubscribeFrom::End if !loaded.is_empty() => Position::START,
        SubscribeFrom::End => {
            let frontier = runner.store.frontier().await;
            frontier.map_err(|error| KeepError::Unavailable(error.into()))?
        }
    };
    let places = SlicePlaces::from_rows(&loaded, first);
    let rows = places.rows(&divide(runner.options.partitions));
    hands.places().claim(hands.epoch, &loaded, &rows).await?;
    Ok((places, hands.parking().load().await?))
}

/// Puts the checkpoints back. Nothing is under way.
async fn replay(runner: &Runner, hands: &Hands, position: Position) -> Result<(), KeepError> {
    let epoch = hands.epoch;
    let prepared = runner.handler.replay_from(epoch, position).await;
    prepared.map_err(|error| KeepError::Unavailable(error.into()))?;
    // What is parked behind the place comes from the log again.
    for item in hands.parking().load().await? {
        if item.position > position {
            hands.parking().unpark(epoch, item.position, UnparkReason::Replayed).await?;
        }
    }
    hands.places().reset(epoch, position).await
}
