//! `quipu relay`: publishes events elsewhere, and controls those who do.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use quipu_core::{ComponentKind, ComponentRequest, ComponentState, EventStore, Position};
use quipu_groups::{Phase, RunnerStatus, Running};
use quipu_server::metrics::PublishCounts;
use quipu_server::relays::RelayConfig;
use tokio::runtime::Runtime;

use super::projections::{ask, list};
use super::{Answer, Context};
use crate::cli::{ProjectionArgs, RelayArgs, RelayName, RelayVerb};
use crate::interrupt::Interrupt;
use crate::open::Store;
use crate::output::{Value, fact, note};

pub(crate) fn run(args: &RelayArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let (name, request) = match &args.verb {
        RelayVerb::Run { config, once } => return publish(config, *once, context),
        RelayVerb::Check { config } => return check(config, context),
        RelayVerb::List => return list(context, ComponentKind::Relay),
        RelayVerb::Pause(name) => (name, ComponentRequest::Pause),
        RelayVerb::Resume(name) => (name, ComponentRequest::Resume),
        RelayVerb::Retry(name) => (name, ComponentRequest::Retry(None)),
        RelayVerb::Replay { name, after } => {
            (name, ComponentRequest::ReplayFrom(Position::new(*after)))
        }
    };
    let RelayName { name } = name;
    let which = ProjectionArgs { name: name.clone(), version: None };
    ask(context, &[ComponentKind::Relay], &which, request)
}

fn check(path: &Path, context: &mut Context) -> anyhow::Result<Answer> {
    let config = RelayConfig::load(path)?;
    context.output.facts(&[
        fact("name", Value::Text(config.name().to_owned())),
        fact("sink", Value::Text(config.sink().to_owned())),
        fact("events", Value::Text(config.events())),
    ])?;
    Ok(Answer::Yes)
}

fn publish(path: &Path, once: bool, context: &mut Context) -> anyhow::Result<Answer> {
    let config = RelayConfig::load(path)?;
    let store = context.target.for_writing()?;
    let interrupt = Interrupt::on_signal().context("could not watch for signals")?;
    let runtime = Runtime::new().context("could not start the relay's threads")?;
    let published = runtime.block_on(async {
        let all: Arc<dyn EventStore> = match store.clone() {
            Store::Here(engine) => Arc::new(engine),
            Store::There(client) => Arc::new(client),
            Store::Base(base) => Arc::new(base),
        };
        let end = if once { Some(all.frontier().await?) } else { None };
        let mut running = config.relay(all, PublishCounts::default())?.spawn();
        let came = tokio::select! {
            came = follow(&mut running, end) => came,
            () = interrupt.wait() => Ok(running.status()),
        };
        let Ok(status) = came else {
            running.ended().await.context("the relay cannot go on")?;
            return Ok(None);
        };
        running.stop().await.context("the relay had ended")?;
        Ok::<_, anyhow::Error>(Some(status))
    })?;
    drop(runtime);
    store.close()?;
    if let Some(status) = published {
        context.output.facts(&[
            fact("name", Value::Text(config.name().to_owned())),
            fact("position", Value::Place(status.position.get())),
            fact("parked", Value::Count(status.parked_count as u64)),
        ])?;
        let is_whole = status.parked_count == 0 && status.stopped.is_empty();
        return Ok(if is_whole || !once { Answer::Yes } else { Answer::No });
    }
    Ok(Answer::Yes)
}

/// Says how the relay is whenever that changes, until it has come to `end`, or is at its own end.
async fn follow(running: &mut Running, end: Option<Position>) -> Result<RunnerStatus, ()> {
    let mut told = None;
    loop {
        let is_new = |it: &RunnerStatus| told.as_ref() != Some(&saying(it));
        let is_there = |it: &RunnerStatus| end.is_some_and(|end| it.position >= end);
        // Where a partition is stopped, nothing goes on without somebody who asks for it.
        let is_stuck = |it: &RunnerStatus| end.is_some() && it.state == ComponentState::Stopped;
        let wanted = |it: &RunnerStatus| is_new(it) || is_there(it) || is_stuck(it);
        let status = running.wait_until(wanted).await.map_err(drop)?;
        if status.phase == Phase::Ended {
            return Err(());
        }
        if is_new(&status) {
            note(&saying(&status));
        }
        if is_there(&status) || is_stuck(&status) {
            return Ok(status);
        }
        told = Some(saying(&status));
    }
}

fn saying(status: &RunnerStatus) -> String {
    let state = match status.phase {
        Phase::Waiting => "waiting: another one publishes",
        Phase::Running | Phase::Ended => status.state.as_str(),
    };
    match &status.last_error {
        Some(error) => format!("{state}: {error}"),
        None => state.to_owned(),
    }
}
