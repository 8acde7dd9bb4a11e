//! A batch of lines on its way into the store.
//!
//! Most batches are appended as one. The store answers an append whose ids it has with their
//! places, and refuses one of which it has some; such a batch is appended event by event. So is a
//! batch for one stream that is there already, since the store looks only for the first id of
//! such an append.

use std::collections::{HashMap, HashSet};

use futures_lite::future;
use quipu_core::decide;
use quipu_core::{
    Append, AppendError, Appended, Batches, Change, EventId, ExpectedRevision, InvalidAppend,
    NewEvent, Position, Query, ReadAll, ReadError, ReadStream, Rights, StreamName, StreamState,
    Timestamp, Violation,
};

use crate::open::Store;

/// The most lines in a batch.
const COUNT_MAX: usize = 1_000;
/// A batch takes no more lines once it has so many bytes: 4 MiB.
const SIZE_MAX: usize = 4 << 20;
/// How many appends of one event are under way at once. They share a sync.
const UNDER_WAY_COUNT: usize = 64;

/// A line, parsed.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) line_number: u64,
    pub(super) stream: StreamName,
    pub(super) event: NewEvent,
}

/// What came of the lines so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) imported_count: u64,
    pub(super) present_count: u64,
    pub(super) clamped_count: u64,
    pub(super) last: Option<Position>,
}

impl Tally {
    pub(super) fn event_count(&self) -> u64 {
        self.imported_count + self.present_count
    }

    fn add(&mut self, appended: &Appended, count: u64) {
        if appended.replayed {
            self.present_count += count;
        } else {
            self.imported_count += count;
        }
        self.clamped_count += appended.clamped_count as u64;
        self.last = self.last.max(appended.last);
    }
}

/// Lines that are appended together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    size: usize,
}

/// Why a batch failed: the line at which, and the error.
type Failed = (u64, AppendError);

impl Batch {
    pub(super) fn push(&mut self, item: Item) {
        self.size += item.event.size();
        self.items.push(item);
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= COUNT_MAX || self.size >= SIZE_MAX
    }

    pub(super) fn count(&self) -> u64 {
        self.items.len() as u64
    }

    /// The streams of the batch, some of them repeatedly.
    pub(super) fn streams(&self) -> Vec<StreamName> {
        self.items.iter().map(|item| item.stream.clone()).collect()
    }

    pub(super) fn line_number(&self, index: usize) -> Option<u64> {
        self.items.get(index).map(|item| item.line_number)
    }

    /// Checks each event as the store would, and says which one is wrong.
    pub(super) fn check(&self, rights: Rights) -> Result<(), (usize, InvalidAppend)> {
        let now = Timestamp::now();
        for (index, item) in self.items.iter().enumerate() {
            let change = Change::Append(item.to_append());
            decide::validate(&change, rights, now).map_err(|invalid| (index, invalid))?;
        }
        Ok(())
    }

    /// Appends what is not there yet, in the order of the lines.
    pub(super) async fn append(mut self, store: &Store, tally: &mut Tally) -> Result<(), Failed> {
        tally.present_count += self.drop_repeated();
        let first_line = self.items.first().map_or(0, |item| item.line_number);
        if self.may_go_as_one(store).await.map_err(|error| (first_line, failed_read(error)))? {
            let events = self.items.iter().map(|item| (item.stream.clone(), item.event.clone()));
            let append = Append { events: events.collect(), ..Append::default() };
            match store.append(append).await {
                Ok(appended) => {
                    tally.add(&appended, self.count());
                    return Ok(());
                }
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => return Err((first_line, error)),
            }
        }
        self.append_each(store, tally).await
    }

    /// Drops events whose stream and id stand in the batch before, and says how many. The store
    /// compares an append with the log, not with itself.
    fn drop_repeated(&mut self) -> u64 {
        let count = self.items.len();
        let mut seen = HashSet::with_capacity(count);
        self.items.retain(|item| seen.insert((item.stream.clone(), item.event.id)));
        (count - self.items.len()) as u64
    }

    /// Whether the store would find each event of the batch that it has already. It does when
    /// there are several streams; of one stream, it looks for the first id only.
    async fn may_go_as_one(&self, store: &Store) -> Result<bool, ReadError> {
        let (Some(first), Some(last)) = (self.items.first(), self.items.last()) else {
            return Ok(true);
        };
        let is_one_stream = self.items.iter().all(|item| item.stream == first.stream);
        if !is_one_stream || first.line_number == last.line_number {
            return Ok(true);
        }
        let read = store.read_stream(ReadStream::new(first.stream.clone()).limit(1)).await?;
        Ok(read.state == StreamState::Absent)
    }

    async fn append_each(self, store: &Store, tally: &mut Tally) -> Result<(), Failed> {
        let mut ended = EndedStreams::default();
        let count = if store.keeps_order() { UNDER_WAY_COUNT } else { 1 };
        for items in self.items.chunks(count) {
            for (item, answer) in items.iter().zip(append_in_order(store, items).await) {
                match answer {
                    Ok(appended) => tally.add(&appended, 1),
                    Err(error) if is_tombstoned(&error) => {
                        let present = ended.has(store, item).await;
                        if !present.map_err(|error| (item.line_number, failed_read(error)))? {
                            return Err((item.line_number, error));
                        }
                        tally.present_count += 1;
                    }
                    Err(error) => return Err((item.line_number, error)),
                }
            }
        }
        Ok(())
    }
}

impl Item {
    fn to_append(&self) -> Append {
        let event = [self.event.clone()];
        Append::to_stream(self.stream.clone(), ExpectedRevision::Any, event)
    }
}

/// Appends each item on its own. All are handed to the store, in their order, before the first
/// answer is awaited, so that one sync serves many.
async fn append_in_order(store: &Store, items: &[Item]) -> Vec<Result<Appended, AppendError>> {
    let mut under_way: Vec<_> = items.iter().map(|item| store.append(item.to_append())).collect();
    let mut answers = Vec::with_capacity(under_way.len());
    for append in &mut under_way {
        answers.push(future::poll_once(append).await);
    }
    let mut ordered = Vec::with_capacity(answers.len());
    for (append, answer) in under_way.into_iter().zip(answers) {
        ordered.push(match answer {
            Some(answer) => answer,
            None => append.await,
        });
    }
    ordered
}

fn failed_read(error: ReadError) -> AppendError {
    AppendError::Storage(quipu_core::StorageError::new(error))
}

fn is_tombstoned(error: &AppendError) -> bool {
    let is_over = |violation: &Violation| {
        matches!(violation, Violation::Stream { found: StreamState::Tombstoned { .. }, .. })
    };
    error.violations().is_some_and(|violations| violations.iter().all(is_over))
}

/// The events of streams that are tombstoned. The store refuses every append to such a stream,
/// also one that it has; the log says which those are.
#[derive(Debug, Default)]
struct EndedStreams {
    ids: HashMap<StreamName, HashSet<EventId>>,
}

impl EndedStreams {
    async fn has(&mut self, store: &Store, item: &Item) -> Result<bool, ReadError> {
        if !self.ids.contains_key(&item.stream) {
            let query = Query::stream(item.stream.clone());
            let mut batches: Box<dyn Batches> = store.read_all(ReadAll::new(query)).await?.batches;
            let mut ids = HashSet::new();
            while let Some(batch) = batches.next().await? {
                ids.extend(batch.iter().map(quipu_core::EventRef::id));
            }
            self.ids.insert(item.stream.clone(), ids);
        }
        Ok(self.ids.get(&item.stream).is_some_and(|ids| ids.contains(&item.event.id)))
    }
}
