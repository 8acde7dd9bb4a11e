//! `quipu projections`: which projections follow the log, how they are, and what they are to do.
//!
//! They run in other processes. What is known of them is what they report to the store's registry,
//! and what is asked of them is left there until they look.

use futures_lite::future::block_on;
use quipu_core::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentStatus, EventStore, Position,
};

use super::{Answer, Context};
use crate::cli::{Format, ProjectionArgs, ProjectionsArgs, ProjectionsVerb};
use crate::output::{Align, Column, Fact, Table, Value, fact, group_digits, note, plain};
use crate::report::Refusal;
use crate::time;

const COLUMNS: &[Column] = &[
    Column { title: "name", align: Align::Left },
    Column { title: "version", align: Align::Right },
    Column { title: "state", align: Align::Left },
    Column { title: "position", align: Align::Right },
    Column { title: "lag", align: Align::Right },
    Column { title: "parked", align: Align::Right },
    Column { title: "reported", align: Align::Left },
    Column { title: "owner", align: Align::Left },
    Column { title: "last error", align: Align::Left },
];

pub(crate) fn run(args: &ProjectionsArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let (which, request) = match &args.verb {
        None => return list(context, ComponentKind::Projection),
        Some(ProjectionsVerb::Pause(which)) => (which, ComponentRequest::Pause),
        Some(ProjectionsVerb::Resume(which)) => (which, ComponentRequest::Resume),
        Some(ProjectionsVerb::Retry(which)) => (which, ComponentRequest::Retry(None)),
        Some(ProjectionsVerb::Promote(which)) => (which, ComponentRequest::Promote),
        Some(ProjectionsVerb::Rebuild(which)) => {
            (which, ComponentRequest::ReplayFrom(Position::START))
        }
    };
    ask(context, &[ComponentKind::Projection], which, request)
}

/// Leaves a request with a component of one of these kinds.
pub(super) fn ask(
    context: &Context,
    kinds: &[ComponentKind],
    which: &ProjectionArgs,
    request: ComponentRequest,
) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let key = find(&components(&*store, kinds)?, which)?.key.clone();
    block_on(store.registry().request(&key, request))?;
    note("asked; the process that runs it looks every half second");
    Ok(Answer::Yes)
}

/// Lists the components of a kind.
pub(super) fn list(context: &mut Context, kind: ComponentKind) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let frontier = block_on(store.frontier())?;
    let mut table = Table::new(COLUMNS);
    for status in components(&*store, &[kind])? {
        // What it said of its lag is as old as its report.
        let lag = frontier.get().saturating_sub(status.position.get());
        if context.output.format() == Format::Jsonl {
            context.output.object(&facts(&status, lag))?;
        } else {
            table.push(vec![
                plain(&status.key.name).into_owned(),
                status.key.version.to_string(),
                status.state.as_str().to_owned(),
                status.position.to_string(),
                group_digits(lag),
                group_digits(status.parked_count),
                time::to_seconds_text(status.reported_at),
                plain(&status.owner).into_owned(),
                status.last_error.as_deref().map_or("-".into(), plain).into_owned(),
            ]);
        }
    }
    context.output.table(&mut table)?;
    Ok(Answer::Yes)
}

fn facts(status: &ComponentStatus, lag: u64) -> [Fact; 9] {
    let text = |text: &str| Value::Text(text.to_owned());
    [
        fact("name", text(&status.key.name)),
        fact("version", Value::Place(status.key.version.into())),
        fact("state", text(status.state.as_str())),
        fact("position", Value::Place(status.position.get())),
        fact("lag", Value::Count(lag)),
        fact("parked", Value::Count(status.parked_count)),
        fact("reported_at", Value::Text(time::to_text(status.reported_at))),
        fact("owner", text(&status.owner)),
        fact("last_error", status.last_error.as_deref().map_or(Value::Nothing, text)),
    ]
}

/// What every component of these kinds reported.
pub(super) fn components(
    store: &dyn EventStore,
    kinds: &[ComponentKind],
) -> anyhow::Result<Vec<ComponentStatus>> {
    let mut all = block_on(store.registry().components())?;
    all.retain(|status| kinds.contains(&status.key.kind));
    Ok(all)
}

/// The component that is meant: of that name, and of that version if there are several.
pub(super) fn find<'a>(
    all: &'a [ComponentStatus],
    which: &ProjectionArgs,
) -> Result<&'a ComponentStatus, Refusal> {
    let is_meant = |key: &ComponentKey| {
        key.name == which.name && which.version.is_none_or(|version| version == key.version)
    };
    let meant: Vec<_> = all.iter().filter(|status| is_meant(&status.key)).collect();
    match meant.as_slice() {
        [one] => Ok(one),
        [] => Err(Refusal(format!("nothing of that name has reported: \"{}\"", which.name))),
        several => {
            let versions: Vec<String> = several
                .iter()
                .map(|status| format!("{} {}", status.key.kind.as_str(), status.key.version))
                .collect();
            Err(Refusal(format!(
                "\"{}\" runs in versions {}: name one with --version",
                which.name,
                versions.join(", ")
            )))
        }
    }
}
