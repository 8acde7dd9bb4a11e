//! `quipu schemas`: which schema versions of which types the log holds.
//!
//! The framework notes the version of an event's data in its metadata. The data itself stays
//! opaque here as everywhere.

use std::collections::BTreeMap;

use futures_lite::future::block_on;
use quipu_core::{EventRef, LogRead, Position, Query, ReadAll};
use serde_json::Value as Json;

use super::{Answer, Context, is_reserved};
use crate::cli::{Format, SchemasArgs};
use crate::output::{Align, Bar, Column, Fact, Table, Value, fact, group_digits, plain};

/// The key of the metadata that tells the version.
const VERSION_KEY: &str = "$schemaVersion";

const COLUMNS: &[Column] = &[
    Column { title: "type", align: Align::Left },
    Column { title: "version", align: Align::Right },
    Column { title: "events", align: Align::Right },
    Column { title: "first position", align: Align::Right },
    Column { title: "last position", align: Align::Right },
];

pub(crate) fn run(args: &SchemasArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let LogRead { frontier, mut batches } = block_on(store.read_all(ReadAll::new(Query::all())))?;
    let bar = Bar::new();
    let mut schemas = Schemas::new();
    while let Some(batch) = block_on(batches.next())? {
        for event in batch.iter().filter(|event| args.system || !is_reserved(*event)) {
            count(&mut schemas, event);
        }
        if let Some(last) = batch.last() {
            bar.advance(last.position().get(), frontier.get(), "events");
        }
    }
    drop(bar);
    let mut table = Table::new(COLUMNS);
    for (event_type, versions) in &schemas {
        for (version, seen) in versions {
            if context.output.format() == Format::Jsonl {
                context.output.object(&facts(event_type, *version, seen))?;
            } else {
                table.push(vec![
                    plain(event_type).into_owned(),
                    version.to_text(),
                    group_digits(seen.count),
                    seen.first.to_string(),
                    seen.last.to_string(),
                ]);
            }
        }
    }
    context.output.table(&mut table)?;
    Ok(Answer::Yes)
}

fn facts(event_type: &str, version: Version, seen: &Seen) -> [Fact; 5] {
    let version = match version {
        Version::Untold => Value::Nothing,
        Version::Told(number) => Value::Place(number),
        Version::Malformed => Value::Text(version.to_text()),
    };
    [
        fact("type", Value::Text(event_type.to_owned())),
        fact("version", version),
        fact("events", Value::Count(seen.count)),
        fact("first_position", Value::Place(seen.first.get())),
        fact("last_position", Value::Place(seen.last.get())),
    ]
}

/// What was seen of each type, by version.
type Schemas = BTreeMap<String, BTreeMap<Version, Seen>>;

/// What an event's metadata says of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    /// Nothing, as where other programs appended it.
    Untold,
    Told(u64),
    /// Something that is not a version.
    Malformed,
}

impl Version {
    fn of(event: EventRef<'_>) -> Self {
        let Ok(Json::Object(metadata)) = serde_json::from_slice(event.metadata_bytes()) else {
            return Self::Untold;
        };
        match metadata.get(VERSION_KEY) {
            None | Some(Json::Null) => Self::Untold,
            Some(version) => match version.as_u64() {
                Some(number) if number > 0 => Self::Told(number),
                _ => Self::Malformed,
            },
        }
    }

    fn to_text(self) -> String {
        match self {
            Self::Untold => "-".to_owned(),
            Self::Told(number) => number.to_string(),
            Self::Malformed => "malformed".to_owned(),
        }
    }
}

/// The events of one type and version.
#[derive(Debug)]
struct Seen {
    count: u64,
    first: Position,
    last: Position,
}

fn count(schemas: &mut Schemas, event: EventRef<'_>) {
    let version = Version::of(event);
    let position = event.position();
    let versions = match schemas.get_mut(event.event_type()) {
        Some(versions) => versions,
        None => schemas.entry(event.event_type().to_owned()).or_default(),
    };
    let seen =
        versions.entry(version).or_insert(Seen { count: 0, first: position, last: position });
    seen.count += 1;
    seen.last = position;
}
