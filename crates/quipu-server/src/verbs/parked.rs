//! `quipu parked`: the events that components set aside, and what is to become of them.

use quipu_core::{ComponentKind, ComponentRequest, ComponentStatus, ParkedItem, Position};

use super::projections::{ask, components, find};
use super::{Answer, Context};
use crate::cli::{Format, ParkedArgs, ParkedVerb, ParkedWhich, ProjectionArgs};
use crate::output::{Align, Column, Fact, Table, Value, fact, note, plain};

const COLUMNS: &[Column] = &[
    Column { title: "kind", align: Align::Left },
    Column { title: "name", align: Align::Left },
    Column { title: "version", align: Align::Right },
    Column { title: "position", align: Align::Right },
    Column { title: "key", align: Align::Left },
    Column { title: "cause", align: Align::Left },
];

/// Every kind sets events aside.
const KINDS: &[ComponentKind] = &ComponentKind::ALL;

pub(crate) fn run(args: &ParkedArgs, context: &mut Context) -> anyhow::Result<Answer> {
    match &args.verb {
        ParkedVerb::List { name, version } => list(context, name.as_deref(), *version),
        ParkedVerb::Retry(which) => {
            ask(context, KINDS, &which.projection, ComponentRequest::Retry(position(which)))
        }
        ParkedVerb::Drop(which) => {
            ask(context, KINDS, &which.projection, ComponentRequest::Drop(position(which)))
        }
    }
}

/// The event that is meant; `None` for all.
fn position(which: &ParkedWhich) -> Option<Position> {
    which.position.map(Position::new)
}

fn list(context: &mut Context, name: Option<&str>, version: Option<u32>) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let all = components(&*store, KINDS)?;
    let meant: Vec<&ComponentStatus> = match name {
        Some(name) => {
            vec![find(&all, &ProjectionArgs { name: name.to_owned(), version })?]
        }
        None => all.iter().collect(),
    };
    let mut table = Table::new(COLUMNS);
    for status in meant {
        for item in &status.parked {
            if context.output.format() == Format::Jsonl {
                context.output.object(&facts(status, item))?;
            } else {
                table.push(vec![
                    status.key.kind.as_str().to_owned(),
                    plain(&status.key.name).into_owned(),
                    status.key.version.to_string(),
                    item.position.to_string(),
                    plain(&item.key).into_owned(),
                    plain(&item.cause).into_owned(),
                ]);
            }
        }
        let untold = status.parked_count.saturating_sub(status.parked.len() as u64);
        if untold > 0 {
            note(&format!("\"{}\" has {untold} more parked events", status.key.name));
        }
    }
    context.output.table(&mut table)?;
    Ok(Answer::Yes)
}

fn facts(status: &ComponentStatus, item: &ParkedItem) -> [Fact; 6] {
    [
        fact("kind", Value::Text(status.key.kind.as_str().to_owned())),
        fact("name", Value::Text(status.key.name.clone())),
        fact("version", Value::Place(status.key.version.into())),
        fact("position", Value::Place(item.position.get())),
        fact("key", Value::Text(item.key.clone())),
        fact("cause", Value::Text(item.cause.clone())),
    ]
}
