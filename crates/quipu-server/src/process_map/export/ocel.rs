//! OCEL 2.0 as JSON: events, and the objects that they are about.
//!
//! Each stream is an object, of the type `CATEGORY stream`; each tag with a colon is one, of the type
//! that stands before the colon. Events come first, as they are read; what they were about follows.

use std::collections::{BTreeSet, HashSet};

use axum::body::Bytes;
use quipu_core::{Batches, EventBatch, EventRef, category};
use serde_json::{Value, json};

use super::{ExportError, NAME_COUNT_MAX, Pieces, Source};
use crate::derived::is_reserved;
use crate::time;

struct Export {
    batches: Box<dyn Batches>,
    first: Option<EventBatch>,
    written_count: u64,
    types: BTreeSet<Box<str>>,
    objects: HashSet<Box<str>>,
    object_types: BTreeSet<Box<str>>,
    state: State,
}

enum State {
    Events,
    Objects(std::vec::IntoIter<Box<str>>),
    Over,
}

pub(super) async fn export(source: Source) -> Result<Pieces, ExportError> {
    let read = source.read(source.query.clone());
    let mut batches = source.store.read_all(read).await?.batches;
    // Read before the head of the answer is sent, so that a refusal is one.
    let first = batches.next().await?;
    let export = Export {
        batches,
        first,
        written_count: 0,
        types: BTreeSet::new(),
        objects: HashSet::new(),
        object_types: BTreeSet::new(),
        state: State::Events,
    };
    Ok(Box::pin(futures_lite::stream::try_unfold(export, |mut export| async {
        let piece = export.next().await?;
        Ok(piece.map(|piece| (piece, export)))
    })))
}

impl Export {
    async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        match &mut self.state {
            State::Events => {
                let batch = match self.first.take() {
                    Some(batch) => Some(batch),
                    None => self.batches.next().await?,
                };
                match batch {
                    Some(batch) => self.write_events(&batch).map(Some),
                    None => Ok(Some(self.end_events())),
                }
            }
            State::Objects(objects) => {
                let some: Vec<Box<str>> = objects.by_ref().take(4_096).collect();
                let is_last = objects.len() == 0;
                let mut text = some.iter().map(|id| object(id)).collect::<Vec<_>>().join(",\n");
                if is_last {
                    text += "]}\n";
                    self.state = State::Over;
                } else {
                    text += ",\n";
                }
                Ok(Some(text.into()))
            }
            State::Over => Ok(None),
        }
    }

    fn write_events(&mut self, batch: &EventBatch) -> Result<Bytes, ExportError> {
        let mut text = String::new();
        if self.written_count == 0 {
            text += "{\"events\":[\n";
        }
        for event in batch.iter().filter(|event| !is_reserved(*event)) {
            if self.written_count > 0 {
                text += ",\n";
            }
            self.written_count += 1;
            text += &self.event(event)?.to_string();
        }
        Ok(text.into())
    }

    fn event(&mut self, event: EventRef<'_>) -> Result<Value, ExportError> {
        self.types.insert(event.event_type().into());
        let stream = stream_object(event.stream());
        let mut relationships = Vec::new();
        self.note(&stream)?;
        relationships.push(json!({"objectId": stream, "qualifier": "stream"}));
        for tag in event.tags().filter(|tag| !tag.starts_with('$')) {
            let Some((key, _)) = tag.split_once(':') else { continue };
            self.note(tag)?;
            relationships.push(json!({"objectId": tag, "qualifier": key}));
        }
        Ok(json!({
            "id": event.position().to_string(),
            "type": event.event_type(),
            "time": time::to_text(event.recorded_at()),
            "attributes": [
                {"name": "event_id", "value": event.id().to_string()},
                {"name": "revision", "value": event.revision().get()},
            ],
            "relationships": relationships,
        }))
    }

    fn note(&mut self, object: &str) -> Result<(), ExportError> {
        if self.objects.contains(object) {
            return Ok(());
        }
        if self.objects.len() >= NAME_COUNT_MAX {
            return Err(ExportError::TooMany);
        }
        self.objects.insert(object.into());
        self.object_types.insert(type_of(object).into());
        Ok(())
    }

    fn end_events(&mut self) -> Bytes {
        let begin = if self.written_count == 0 { "{\"events\":[" } else { "" };
        let attributes = json!([
            {"name": "event_id", "type": "string"},
            {"name": "revision", "type": "integer"},
        ]);
        let types = self.types.iter().map(|name| json!({"name": name, "attributes": attributes}));
        let types = Value::Array(types.collect());
        let object_types =
            self.object_types.iter().map(|own| json!({"name": own, "attributes": []}));
        let object_types = Value::Array(object_types.collect());
        let mut objects: Vec<Box<str>> = std::mem::take(&mut self.objects).into_iter().collect();
        objects.sort_unstable();
        self.state = State::Objects(objects.into_iter());
        let middle = format!("],\n\"eventTypes\":{types},\n\"objectTypes\":{object_types},\n");
        format!("{begin}{middle}\"objects\":[\n").into()
    }
}

/// The id of a stream as an object. It has a space before its first colon, which keys of tags in use
/// seldom have, so that a stream and a tag of one name are two objects.
fn stream_object(stream: &str) -> String {
    format!("{} stream:{stream}", category(stream))
}

fn type_of(object: &str) -> &str {
    object.split_once(':').map_or(object, |(own, _)| own)
}

fn object(id: &str) -> String {
    json!({"id": id, "type": type_of(id), "attributes": [], "relationships": []}).to_string()
}
