//! Importing a foreign log: JSON lines, gzip or plain, each an event with its own id and time.

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use quipu::core::{Append, NewEvent, Tags};
use quipu::{EventId, Position, Quipu, StreamName, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// How many events are appended together: one sync for all of them.
const BATCH_COUNT: usize = 1_000;

/// An event as the log has it.
#[derive(Deserialize)]
struct Line {
    stream: String,
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    time: String,
    tags: Vec<String>,
    // Taken as it is, byte for byte.
    data: Box<RawValue>,
}

/// What came of an import.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) event_count: usize,
    pub(crate) stream_count: usize,
    /// When the first event happened.
    pub(crate) first: Timestamp,
    /// When the last one did.
    pub(crate) last: Timestamp,
    /// The place of the last event.
    pub(crate) position: Position,
}

/// The lines of a file.
pub(crate) fn lines(path: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<String>>>> {
    let mut file = BufReader::new(File::open(path)?);
    let is_gzip = file.fill_buf()?.starts_with(&[0x1F, 0x8B]);
    if is_gzip {
        Ok(Box::new(BufReader::new(MultiGzDecoder::new(file)).lines()))
    } else {
        Ok(Box::new(file.lines()))
    }
}

/// Appends each line as an event with the time it has in the log, so that the store can be read as
/// of a time then. The ids are those of the log too: the same log is not added a second time.
pub(crate) async fn import(
    app: &Quipu,
    lines: impl Iterator<Item = io::Result<String>>,
) -> Result<Imported, Box<dyn Error>> {
    let mut streams = HashSet::new();
    let mut times = None;
    let (mut event_count, mut position) = (0, Position::START);
    let mut batch = Append::new();
    let mut lines = lines.enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let (stream, event) =
            parse(&line?).map_err(|error| format!("line {}: {error}", index + 1))?;
        let time = event.recorded_at.unwrap_or_default();
        let (first, _) = times.unwrap_or((time, time));
        times = Some((first, time));
        streams.insert(stream.clone());
        event_count += 1;
        batch = batch.event(stream, event);
        if batch.events.len() == BATCH_COUNT || lines.peek().is_none() {
            let appended = app.store().append(std::mem::take(&mut batch)).await?;
            position = position.max(appended.last.unwrap_or_default());
        }
    }
    let (first, last) = times.ok_or("the log has no events")?;
    Ok(Imported { event_count, stream_count: streams.len(), first, last, position })
}

fn parse(text: &str) -> Result<(StreamName, NewEvent), Box<dyn Error>> {
    let line: Line = serde_json::from_str(text)?;
    let time: jiff::Timestamp = line.time.parse()?;
    let data = String::from(Box::<str>::from(line.data));
    let mut event = NewEvent::json(&line.event_type, data)?;
    event.id = EventId::from_uuid(line.id);
    event.tags = Tags::parse(line.tags)?;
    event.recorded_at = Some(Timestamp::from_micros(time.as_microsecond()));
    Ok((StreamName::new(line.stream)?, event))
}
