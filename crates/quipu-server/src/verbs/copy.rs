//! `quipu copy`: a log into another store, whatever the two are.
//!
//! 1. Batches are read in the order of the log and appended as they are: with their ids, so that what
//!    is there already is found and not added, and with their times.
//! 2. How far the copy has come is kept in the target, beside its log, so that it goes on there. Were
//!    that lost, it would begin again and find everything there.
//! 3. Checkpoints of the source become those of the places that the events have in the target.
//! 4. Both logs are read again, side by side.

mod places;
mod verify;

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_lite::future::block_on;
use quipu_core::{
    Append, AppendError, Appended, Checkpoint, CheckpointError, EventBatch, EventData, EventStore,
    NewEvent, Position, Query, ReadAll, RecordedEvent, Rights, Snapshot, SwapCheckpoint,
};
use quipu_server::config::DatabaseUrl;

use self::places::Places;
use self::verify::{Compared, Events, compare};
use super::{Answer, Context};
use crate::cli::CopyArgs;
use crate::output::{Bar, Value, fact};
use crate::report::Refusal;

/// After so many events it is noted how far the copy has come.
const NOTE_INTERVAL: u64 = 10_000;

pub(crate) fn run(args: &CopyArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let target = context.target.clone();
    let source = target.named(&args.from).and_then(|source| source.for_reading());
    let source = source.with_context(|| format!("could not open {}", shown(&args.from)))?;
    let copy = target.named(&args.to).and_then(|copy| copy.for_writing_or_new(Rights::System));
    let copy = copy.with_context(|| format!("could not open {}", shown(&args.to)))?;
    if source.identity().log == copy.identity().log {
        return Err(Refusal("the two are the same log".to_owned()).into());
    }
    let places = args.map.as_deref().map(|path| {
        let file = File::create(path);
        file.with_context(|| format!("could not write {}", path.display()))
    });
    let places = places.transpose()?.map_or_else(Places::default, Places::into_file);
    let mut copying = Copying::new(&*source, &*copy, places);
    let outcome = copying.run();
    let compared = match &outcome {
        Ok(()) if !args.no_verify => Some(compare(&*source, &*copy)?),
        _ => None,
    };
    // Whatever happened: it says how far the copy came.
    copying.summarize(compared.as_ref(), context)?;
    outcome?;
    copy.close()?;
    source.close()?;
    match compared.and_then(|compared| compared.difference) {
        None => Ok(Answer::Yes),
        Some(difference) => Err(Refusal(format!("the copy differs: {difference}")).into()),
    }
}

/// A place without what may be secret in it.
fn shown(text: &str) -> String {
    let is_database = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_database { DatabaseUrl::new(text).to_string() } else { text.to_owned() }
}

struct Copying<'a> {
    source: &'a dyn EventStore,
    target: &'a dyn EventStore,
    places: Places,
    /// Where the source's consumers are, and where that is in the target as far as it was copied.
    consumers: BTreeMap<String, (Position, Position)>,
    /// The place in the source of the event that was copied last.
    last: Option<Position>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    copied: u64,
    present: u64,
    clamped: u64,
    renumbered: u64,
    checkpoints: u64,
}

impl<'a> Copying<'a> {
    fn new(source: &'a dyn EventStore, target: &'a dyn EventStore, places: Places) -> Self {
        let (consumers, counts) = (BTreeMap::new(), Counts::default());
        Self { source, target, places, consumers, last: None, counts }
    }

    /// Under which key the target keeps how far this source was copied.
    fn key(&self) -> String {
        format!("$quipu.copy/{}", self.source.identity().log)
    }

    fn run(&mut self) -> anyhow::Result<()> {
        self.find_consumers()?;
        let read = ReadAll::new(Query::all()).from(self.begin()?.next());
        let mut read = block_on(self.source.read_all(read))?;
        let bar = Bar::new();
        let mut noted = 0;
        while let Some(batch) = block_on(read.batches.next())? {
            self.copy_batch(&batch)?;
            let place = self.last.map_or(0, Position::get);
            bar.advance(place, read.frontier.get(), "positions");
            let done = self.counts.copied + self.counts.present;
            if done >= noted + NOTE_INTERVAL {
                noted = done;
                self.note()?;
            }
        }
        drop(bar);
        self.note()?;
        self.places.finish()?;
        self.move_checkpoints()
    }

    /// Where an earlier run has come to. Who wants to know the places, for a map or for checkpoints,
    /// begins at the start, finds the events there and learns where they are.
    fn begin(&self) -> anyhow::Result<Position> {
        if self.places.is_wanted() || !self.consumers.is_empty() {
            return Ok(Position::START);
        }
        let noted = block_on(self.target.snapshots().get(&self.key(), Position::MAX))?;
        Ok(noted.map_or(Position::START, |noted| noted.position))
    }

    fn note(&self) -> anyhow::Result<()> {
        let Some(position) = self.last else { return Ok(()) };
        let snapshots = self.target.snapshots();
        block_on(snapshots.put(&self.key(), Snapshot { position, data: Bytes::new() }))?;
        block_on(snapshots.prune(&self.key(), 1))?;
        Ok(())
    }

    fn copy_batch(&mut self, batch: &EventBatch) -> anyhow::Result<()> {
        let events = batch.to_vec();
        let mut append = Append::new();
        for event in &events {
            append = append.event(event.stream.clone(), copy_of(event)?);
        }
        match block_on(self.target.append(append)) {
            Ok(appended) => self.follow(&events, &appended),
            // Some of it is there: an earlier run was cut off between batches of another size.
            Err(AppendError::Conflict { .. }) => {
                events.iter().try_for_each(|event| self.copy_one(event))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn copy_one(&mut self, event: &RecordedEvent) -> anyhow::Result<()> {
        let append = Append::new().event(event.stream.clone(), copy_of(event)?);
        let appended = block_on(self.target.append(append)).with_context(|| {
            format!("could not copy the event at position {} of {}", event.position, event.stream)
        })?;
        self.follow(std::slice::from_ref(event), &appended)
    }

    /// Takes note of where events are in the target: one behind the other, be there others between.
    fn follow(&mut self, events: &[RecordedEvent], appended: &Appended) -> anyhow::Result<()> {
        let count = events.len() as u64;
        *(if appended.replayed { &mut self.counts.present } else { &mut self.counts.copied }) +=
            count;
        self.counts.clamped += appended.clamped_count as u64;
        let (Some(first), Some(last)) = (appended.first, appended.last) else { return Ok(()) };
        block_on(self.target.wait_visible(last))?;
        let read = ReadAll::new(Query::all()).from(first).limit(4 * count);
        let mut copies = Events::new(block_on(self.target.read_all(read))?.batches);
        for event in events {
            let copy = loop {
                match copies.next()? {
                    Some(copy) if copy.id == event.id && copy.stream == event.stream => break copy,
                    Some(_) => {}
                    None => {
                        bail!("the copy of position {} is not where it was put", event.position)
                    }
                }
            };
            self.counts.renumbered += u64::from(copy.revision != event.revision);
            self.places.push(event.position, copy.position)?;
            for (at, place) in self.consumers.values_mut() {
                if event.position <= *at {
                    *place = copy.position;
                }
            }
            self.last = Some(event.position);
        }
        Ok(())
    }

    fn find_consumers(&mut self) -> anyhow::Result<()> {
        let checkpoints = self.source.checkpoints();
        for name in block_on(checkpoints.list())? {
            // One of another life of the log leads nowhere, here as there.
            if let Ok(Some(own)) = block_on(checkpoints.get(&name)) {
                self.consumers.insert(name, (own.position, Position::START));
            }
        }
        Ok(())
    }

    /// Sets checkpoints to where the source's consumers are. Those that the target has already stay.
    fn move_checkpoints(&mut self) -> anyhow::Result<()> {
        let identity = self.target.identity();
        let checkpoints = self.target.checkpoints();
        for (name, (_, place)) in &self.consumers {
            let new = Checkpoint::new(*place, &identity);
            let swap = SwapCheckpoint { name: name.clone(), epoch: 0, old: None, new };
            match block_on(checkpoints.swap(swap)) {
                Ok(()) => self.counts.checkpoints += 1,
                Err(CheckpointError::Moved { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn summarize(&self, compared: Option<&Compared>, context: &mut Context) -> anyhow::Result<()> {
        let positions = if self.places.are_kept() { "kept" } else { "changed" };
        let same = compared.map_or(Value::Nothing, |found| Value::Count(found.same_count));
        Ok(context.output.facts(&[
            fact("copied", Value::Count(self.counts.copied)),
            fact("already_there", Value::Count(self.counts.present)),
            fact("clamped", Value::Count(self.counts.clamped)),
            fact("renumbered", Value::Count(self.counts.renumbered)),
            fact("positions", Value::Text(positions.to_owned())),
            fact("checkpoints", Value::Count(self.counts.checkpoints)),
            fact("verified", same),
        ])?)
    }
}

fn copy_of(event: &RecordedEvent) -> anyhow::Result<NewEvent> {
    let EventData::Present(data) = &event.data else {
        bail!("the event at position {} was erased and cannot be copied", event.position);
    };
    Ok(NewEvent {
        id: event.id,
        event_type: event.event_type.clone(),
        tags: event.tags.clone(),
        content_type: event.content_type.clone(),
        data: data.clone(),
        metadata: event.metadata.clone(),
        recorded_at: Some(event.recorded_at),
    })
}
