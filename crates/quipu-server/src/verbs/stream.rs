//! `quipu stream`: shows or changes one stream.

use futures_lite::future::block_on;
use quipu_core::{ExpectedRevision, StreamInfo, StreamName, StreamState};

use super::{Answer, Context, streams};
use crate::cli::{Format, StreamArgs, StreamVerb};
use crate::output::{Value, fact};
use crate::report::Refusal;

pub(crate) fn run(args: &StreamArgs, context: &mut Context) -> anyhow::Result<Answer> {
    match &args.verb {
        StreamVerb::Info { stream } => info(stream, context),
        StreamVerb::Metadata { stream, set: None, .. } => show_metadata(stream, context),
        StreamVerb::Metadata { stream, set: Some(json), expect } => {
            set_metadata(stream, json, *expect, context)
        }
        StreamVerb::Truncate { stream, before } => truncate(stream, *before, context),
        StreamVerb::Delete { stream, expect } => {
            let store = context.target.for_writing()?;
            block_on(store.delete(stream.clone(), *expect))?;
            store.close()?;
            print_state(stream, "deleted", context)
        }
        StreamVerb::Tombstone { stream, expect } => {
            let store = context.target.for_writing()?;
            block_on(store.tombstone(stream.clone(), *expect))?;
            store.close()?;
            print_state(stream, "tombstoned", context)
        }
    }
}

fn info(stream: &StreamName, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let StreamInfo { state, first, metadata, metadata_revision, count, size, .. } =
        block_on(store.stream_info(stream.clone()))?;
    let place = |place: Option<u64>| place.map_or(Value::Nothing, Value::Place);
    let age = metadata.max_age().map(|age| age.as_secs());
    context.output.facts(&[
        fact("stream", Value::Text(stream.to_string())),
        fact("category", Value::Text(stream.category().to_owned())),
        fact("state", Value::Text(streams::word(state).to_owned())),
        fact("events", Value::Count(count)),
        fact("size", Value::Size(size)),
        fact("first_revision", place(first.map(quipu_core::Revision::get))),
        fact("last_revision", place(state.last().map(quipu_core::Revision::get))),
        fact("metadata_revision", place(metadata_revision.map(quipu_core::Revision::get))),
        fact("max_count", metadata.max_count().map_or(Value::Nothing, Value::Count)),
        fact("max_age_seconds", age.map_or(Value::Nothing, Value::Count)),
        fact("truncate_before", place(metadata.truncate_before())),
    ])?;
    Ok(Answer::Yes)
}

fn show_metadata(stream: &StreamName, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let info = block_on(store.stream_info(stream.clone()))?;
    let object = serde_json::Value::Object(info.metadata.object().clone());
    match context.output.format() {
        Format::Table => {
            context.output.text(&crate::output::plain(&serde_json::to_string(&object)?))?;
        }
        Format::Jsonl => {
            let line = serde_json::json!({
                "stream": stream.as_str(),
                "metadata_revision": info.metadata_revision.map(quipu_core::Revision::get),
                "metadata": object,
            });
            context.output.text(&line.to_string())?;
        }
    }
    Ok(Answer::Yes)
}

fn set_metadata(
    stream: &StreamName,
    json: &str,
    expected: ExpectedRevision,
    context: &mut Context,
) -> anyhow::Result<Answer> {
    let store = context.target.for_writing()?;
    let change = store.set_metadata(stream.clone(), expected, json.to_owned().into());
    let appended = block_on(change)?;
    store.close()?;
    let revision = appended.streams.first().map(|own| own.revision.get());
    context.output.facts(&[
        fact("stream", Value::Text(stream.to_string())),
        fact("metadata_revision", revision.map_or(Value::Nothing, Value::Place)),
    ])?;
    Ok(Answer::Yes)
}

fn truncate(stream: &StreamName, before: u64, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_writing()?;
    let info = block_on(store.stream_info(stream.clone()))?;
    if !matches!(info.state, StreamState::Live { .. }) {
        let message = format!("stream \"{stream}\": expected events to hide, found {}", info.state);
        return Err(Refusal(message).into());
    }
    // Nobody may change the metadata between the look and this.
    let expected =
        info.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
    let metadata = info.metadata.json_with_truncate_before(before);
    block_on(store.set_metadata(stream.clone(), expected, metadata))?;
    store.close()?;
    context.output.facts(&[
        fact("stream", Value::Text(stream.to_string())),
        fact("truncate_before", Value::Place(before)),
    ])?;
    Ok(Answer::Yes)
}

fn print_state(stream: &StreamName, state: &str, context: &mut Context) -> anyhow::Result<Answer> {
    context.output.facts(&[
        fact("stream", Value::Text(stream.to_string())),
        fact("state", Value::Text(state.to_owned())),
    ])?;
    Ok(Answer::Yes)
}
