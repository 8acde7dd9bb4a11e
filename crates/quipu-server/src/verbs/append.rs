//! `quipu append`: adds one event to a stream.

use std::io::Read;
use std::{fs, io};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_lite::future::block_on;
use quipu_core::{Append, ContentType, EventId, NewEvent, Position, Query, Rights, limits};
use serde::de::IgnoredAny;

use super::{Answer, Context};
use crate::cli::AppendArgs;
use crate::output::{Value, fact};

pub(crate) fn run(args: &AppendArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let data = read_data(args)?;
    let event = NewEvent {
        id: args.id.unwrap_or_else(EventId::generate),
        event_type: args.event_type.clone(),
        tags: args.tags.iter().cloned().collect(),
        content_type: args.content_type.clone().unwrap_or_else(|| content_type_of(&data)),
        data,
        metadata: args.metadata.clone().unwrap_or_default().into(),
        recorded_at: None,
    };
    let id = event.id;
    let mut append = Append::to_stream(args.stream.clone(), args.expect, [event]);
    if !args.fail_if.is_empty() {
        let query = Query { items: args.fail_if.clone() };
        append = append.fail_if(query, args.after.map(Position::new));
    }
    let store = context.target.for_writing_or_new(Rights::Application)?;
    let appended = block_on(store.append(append)).context("nothing was appended")?;
    let Some(place) = appended.streams.first() else {
        bail!("the store answered an append of one event with none");
    };
    context.output.facts(&[
        fact("position", Value::Place(place.position.get())),
        fact("revision", Value::Place(place.revision.get())),
        fact("stream", Value::Text(place.stream.to_string())),
        fact("id", Value::Text(id.to_string())),
        fact("already_there", Value::Flag(appended.replayed)),
    ])?;
    store.close()?;
    Ok(Answer::Yes)
}

fn read_data(args: &AppendArgs) -> anyhow::Result<Bytes> {
    if let Some(json) = &args.json {
        return Ok(json.clone().into());
    }
    let (name, source): (String, Box<dyn Read>) = match &args.file {
        Some(path) => {
            let name = path.display().to_string();
            let file = fs::File::open(path).with_context(|| format!("could not open {name}"))?;
            (name, Box::new(file))
        }
        None => ("standard input".to_owned(), Box::new(io::stdin().lock())),
    };
    let mut data = Vec::new();
    // One byte over the limit is enough for the store to say what is wrong.
    let room = limits::EVENT_SIZE_MAX as u64 + 1;
    source.take(room).read_to_end(&mut data).with_context(|| format!("could not read {name}"))?;
    Ok(data.into())
}

fn content_type_of(data: &[u8]) -> ContentType {
    match serde_json::from_slice::<IgnoredAny>(data) {
        Ok(_) => ContentType::json(),
        Err(_) => ContentType::octets(),
    }
}
