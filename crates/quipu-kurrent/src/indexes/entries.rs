//! The entries of an index, a page at a time.

use std::collections::HashMap;

use quipu_core::{
    Direction, EventBatch, EventRef, EventStore, EventType, METADATA_TYPE, Position, ReadAll,
    ReadIndex, ReadStream, StreamName, TOMBSTONE_TYPE, Term,
};

use super::{Entry, Index};
use crate::caller::Caller;
use crate::convert::IdForm;
use crate::failure::Failure;
use crate::proto::event_store::client::streams::read_resp::Content;
use crate::streams::Links;

/// The most entries that are read at once.
const PAGE: u64 = 512;

/// A read of an index under way.
pub(crate) struct Entries {
    index: Index,
    direction: Direction,
    /// The next ordinal wanted; `None` once a read backward has passed the first.
    next: Option<u64>,
    /// How many entries there were at the beginning.
    count: u64,
    /// Where entries are counted: the next place to look at, and the ordinal of the next entry.
    scan: Option<(Position, u64)>,
    /// The last ordinal that was shown.
    reached: Option<u64>,
}

impl Entries {
    /// A read from an ordinal on, `None` for the end.
    pub(crate) async fn begin(
        caller: &dyn Caller,
        index: Index,
        from: Option<u64>,
        direction: Direction,
    ) -> Result<Self, Failure> {
        let count = match index.kind.term() {
            Some(term) => count_of_term(caller, &*caller.store(), &term, index.end).await?,
            None => count_all(caller, &index).await?,
        };
        let next = match (from, direction) {
            (Some(from), Direction::Forward) => Some(from),
            (None, Direction::Forward) => Some(count),
            (from, Direction::Backward) => {
                count.checked_sub(1).map(|last| from.unwrap_or(last).min(last))
            }
        };
        let scan = index.kind.term().is_none().then(|| match direction {
            Direction::Forward => (Position::FIRST, 0),
            Direction::Backward => (index.end.unwrap_or(Position::MAX), count),
        });
        Ok(Self { index, direction, next, count, scan, reached: count.checked_sub(1) })
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The last ordinal at the beginning; `None` where there was no entry.
    pub(crate) fn last(&self) -> Option<u64> {
        self.count.checked_sub(1)
    }

    /// The last ordinal that was shown, or that there was at the beginning.
    pub(crate) fn reached(&self) -> Option<u64> {
        self.reached
    }

    /// Looks again whether the projection is enabled.
    pub(crate) async fn refresh(&mut self, caller: &dyn Caller) -> Result<(), Failure> {
        self.index.end = self.index.projection.standing(caller).await?.stopped_at;
        Ok(())
    }

    /// Some more entries, at most `limit`; none at the end.
    pub(crate) async fn page(
        &mut self,
        caller: &dyn Caller,
        limit: u64,
        links: Links,
        form: IdForm,
    ) -> Result<Vec<Content>, Failure> {
        loop {
            let Some(page) = self.read(caller, limit.min(PAGE)).await? else {
                return Ok(Vec::new());
            };
            let hiding = Hiding::of(caller, links, &page).await?;
            let shown = page.entries.iter().filter_map(|(ordinal, at)| {
                let event = page.batch.get(*at)?;
                let entry = Entry { ordinal: *ordinal, is_hidden: hiding.hides(event) };
                let shown = self.index.shown(event, &entry, links, form);
                Some(Content::Event(shown.at(event.position().get())))
            });
            let shown: Vec<Content> = shown.collect();
            if let Some((ordinal, _)) = page.entries.last() {
                self.reached = Some(*ordinal);
            }
            if !shown.is_empty() {
                return Ok(shown);
            }
        }
    }

    async fn read(&mut self, caller: &dyn Caller, limit: u64) -> Result<Option<Page>, Failure> {
        let Some(next) = self.next else { return Ok(None) };
        match self.index.kind.term() {
            Some(term) => self.read_term(caller, term, next, limit).await,
            None => self.read_scan(caller, next, limit).await,
        }
    }

    async fn read_term(
        &mut self,
        caller: &dyn Caller,
        term: Term,
        next: u64,
        limit: u64,
    ) -> Result<Option<Page>, Failure> {
        let read = ReadIndex { term, from: Some(next), direction: self.direction, limit };
        let read = caller.store().read_index(read).await;
        let read = read.map_err(|error| Failure::of_read(caller, &error))?;
        let end = self.index.end.unwrap_or(Position::MAX);
        let own = read.entries.iter().take_while(|entry| entry.position <= end);
        let (mut entries, mut last) = (Vec::new(), None);
        for entry in own {
            last = Some(entry.ordinal);
            entries.extend(entry.event.map(|at| (entry.ordinal, at)));
        }
        let Some(last) = last else { return Ok(None) };
        self.next = match self.direction {
            Direction::Forward => Some(last + 1),
            Direction::Backward => last.checked_sub(1),
        };
        Ok(Some(Page { entries, batch: read.events }))
    }

    /// One batch of the log: entries are counted on the way.
    async fn read_scan(
        &mut self,
        caller: &dyn Caller,
        next: u64,
        limit: u64,
    ) -> Result<Option<Page>, Failure> {
        let Some((place, mut ordinal)) = self.scan else { return Ok(None) };
        let (query, direction) = (self.index.kind.query(), self.direction);
        let read = ReadAll { query, from: Some(place), direction, limit: None, as_of: None };
        let read = caller.store().read_all(read).await;
        let mut read = read.map_err(|error| Failure::of_read(caller, &error))?;
        let batch = read.batches.next().await;
        let batch = batch.map_err(|error| Failure::of_read(caller, &error))?;
        let Some(batch) = batch else { return Ok(None) };
        let end = self.index.end.unwrap_or(Position::MAX);
        let mut entries = Vec::new();
        let mut place = place;
        for (at, event) in batch.iter().enumerate() {
            if event.position() > end || entries.len() as u64 == limit {
                break;
            }
            place = match direction {
                Direction::Forward => event.position().next(),
                Direction::Backward => event.position().previous(),
            };
            if !self.index.kind.counts(event) {
                continue;
            }
            let own = match direction {
                Direction::Forward => ordinal,
                Direction::Backward => ordinal.saturating_sub(1),
            };
            ordinal = match direction {
                Direction::Forward => ordinal + 1,
                Direction::Backward => own,
            };
            let is_wanted = match direction {
                Direction::Forward => own >= next,
                Direction::Backward => own <= next,
            };
            if is_wanted {
                entries.push((own, at));
            }
        }
        let is_over = Some((place, ordinal)) == self.scan;
        self.scan = Some((place, ordinal));
        if direction == Direction::Backward && place == Position::START {
            self.next = None;
        }
        Ok((!is_over).then_some(Page { entries, batch }))
    }
}

/// Some entries: ordinals, and where their events are in the batch.
struct Page {
    entries: Vec<(u64, usize)>,
    batch: EventBatch,
}

/// How many entries a term has, up to a place.
async fn count_of_term(
    caller: &dyn Caller,
    store: &dyn EventStore,
    term: &Term,
    end: Option<Position>,
) -> Result<u64, Failure> {
    let read = async |from: Option<u64>, limit| {
        let term = term.clone();
        let read = ReadIndex { term, from, direction: Direction::Forward, limit };
        store.read_index(read).await.map_err(|error| Failure::of_read(caller, &error))
    };
    let count = read(None, 0).await?.count;
    let Some(end) = end else { return Ok(count) };
    // Positions rise with ordinals: halve what is left until it is one place.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let is_within =
            read(Some(middle), 1).await?.entries.first().is_some_and(|it| it.position <= end);
        if is_within {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// How many entries an index has that are counted along the log.
async fn count_all(caller: &dyn Caller, index: &Index) -> Result<u64, Failure> {
    let read = caller.store().read_all(ReadAll::new(index.kind.query())).await;
    let mut read = read.map_err(|error| Failure::of_read(caller, &error))?;
    let end = index.end.unwrap_or(Position::MAX);
    let mut count = 0;
    while let Some(batch) =
        read.batches.next().await.map_err(|error| Failure::of_read(caller, &error))?
    {
        let own = batch.iter().filter(|event| event.position() <= end && index.kind.counts(*event));
        count += own.count() as u64;
    }
    Ok(count)
}

/// Which events of a page their streams do not show any more.
struct Hiding {
    /// By stream, the first revision it shows; `None` where it shows none.
    first: HashMap<String, Option<u64>>,
}

impl Hiding {
    async fn of(caller: &dyn Caller, links: Links, page: &Page) -> Result<Self, Failure> {
        let mut first = HashMap::new();
        // Without metadata and tombstones nothing is hidden, and nobody needs to be asked.
        if links == Links::Kept || !is_anything_hidden(caller).await? {
            return Ok(Self { first });
        }
        for (_, at) in &page.entries {
            let Some(event) = page.batch.get(*at) else { continue };
            if first.contains_key(event.stream()) {
                continue;
            }
            let Ok(stream) = StreamName::new(event.stream()) else { continue };
            first.insert(event.stream().to_owned(), first_shown(caller, stream).await?);
        }
        Ok(Self { first })
    }

    fn hides(&self, event: EventRef<'_>) -> bool {
        match self.first.get(event.stream()) {
            None => false,
            Some(first) => first.is_none_or(|first| event.revision().get() < first),
        }
    }
}

async fn first_shown(caller: &dyn Caller, stream: StreamName) -> Result<Option<u64>, Failure> {
    let read = caller.store().read_stream(ReadStream::new(stream).limit(1)).await;
    let mut read = read.map_err(|error| Failure::of_read(caller, &error))?;
    let batch = read.batches.next().await.map_err(|error| Failure::of_read(caller, &error))?;
    Ok(batch.and_then(|batch| batch.first().map(|event| event.revision().get())))
}

async fn is_anything_hidden(caller: &dyn Caller) -> Result<bool, Failure> {
    // Whether there is any is nothing to hide from those who may read a part of the log only.
    let store = caller.server_store();
    for name in [METADATA_TYPE, TOMBSTONE_TYPE] {
        let Ok(event_type) = EventType::new(name) else { continue };
        if count_of_term(caller, &*store, &Term::Type(event_type), None).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
