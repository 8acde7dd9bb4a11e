//! Everything that can be read of a store, in a form in which two stores can be compared.

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures_lite::future::block_on;
use quipu_core::{
    Direction, EventStore, EventType, IndexEntry, ListStreams, Query, QueryItem, ReadAll,
    ReadError, ReadIndex, ReadStream, RecordedEvent, StreamInfo, StreamName, StreamState, Tags,
    Term, collect,
};

/// What a store shows.
#[derive(Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) frontier: u64,
    pub(crate) events: Vec<RecordedEvent>,
    queries: Vec<(Query, Vec<u64>)>,
    terms: Vec<(Term, u64, Vec<IndexEntry>)>,
    names: Vec<StreamName>,
    streams: Vec<StreamView>,
}

#[derive(Debug, PartialEq)]
struct StreamView {
    info: StreamInfo,
    state: StreamState,
    revisions: Vec<u64>,
    last: Vec<u64>,
}

impl View {
    /// Reads all that a store shows. The names to ask for are those that `known` events have, so
    /// that a store that lost them is asked for them too.
    pub(crate) fn of(store: &dyn EventStore, known: &[RecordedEvent]) -> Result<Self, ReadError> {
        let scan = block_on(store.read_all(ReadAll::new(Query::all())))?;
        let frontier = scan.frontier.get();
        let events = block_on(collect(scan.batches))?;
        let queries = queries_for(known)
            .into_iter()
            .map(|query| Ok((query.clone(), find(store, ReadAll::new(query))?)))
            .collect::<Result<_, ReadError>>()?;
        let terms = terms_for(known)
            .into_iter()
            .map(|term| read_term(store, term))
            .collect::<Result<_, ReadError>>()?;
        let list = ListStreams { limit: 1_000, ..ListStreams::default() };
        let names = block_on(store.list_streams(list))?;
        let streams = streams_of(known)
            .into_iter()
            .map(|stream| StreamView::of(store, stream))
            .collect::<Result<_, ReadError>>()?;
        Ok(Self { frontier, events, queries, terms, names, streams })
    }

    /// Fails unless `self`, what a store shows, is what it should show.
    pub(crate) fn compare(&self, should: &Self) {
        assert_eq!(self.frontier, should.frontier, "the frontier");
        compare_lists("event", &self.events, &should.events);
        compare_lists("query", &self.queries, &should.queries);
        compare_lists("term", &self.terms, &should.terms);
        compare_lists("name", &self.names, &should.names);
        compare_lists("stream", &self.streams, &should.streams);
    }
}

/// Names the first difference: whole views are too long to read.
fn compare_lists<T: Debug + PartialEq>(what: &str, found: &[T], should: &[T]) {
    for (index, (found, should)) in found.iter().zip(should).enumerate() {
        assert_eq!(found, should, "{what} {index}");
    }
    assert_eq!(found.len(), should.len(), "how many of {what}");
}

impl StreamView {
    fn of(store: &dyn EventStore, stream: StreamName) -> Result<Self, ReadError> {
        let read = block_on(store.read_stream(ReadStream::new(stream.clone())))?;
        let shown = block_on(collect(read.batches))?;
        let backward = ReadStream::new(stream.clone()).backward().limit(2);
        let last = block_on(store.read_stream(backward))?;
        let last = block_on(collect(last.batches))?;
        let revisions = |events: Vec<RecordedEvent>| {
            events.iter().map(|event| event.revision.get()).collect::<Vec<_>>()
        };
        let info = block_on(store.stream_info(stream))?;
        Ok(Self { info, state: read.state, revisions: revisions(shown), last: revisions(last) })
    }
}

/// The positions that a read finds.
pub(crate) fn find(store: &dyn EventStore, read: ReadAll) -> Result<Vec<u64>, ReadError> {
    let mut read = block_on(store.read_all(read))?;
    let mut positions = Vec::new();
    while let Some(batch) = block_on(read.batches.next())? {
        positions.extend(batch.iter().map(|event| event.position().get()));
    }
    Ok(positions)
}

fn read_term(
    store: &dyn EventStore,
    term: Term,
) -> Result<(Term, u64, Vec<IndexEntry>), ReadError> {
    let read =
        ReadIndex { term: term.clone(), from: None, direction: Direction::Forward, limit: 1_000 };
    let read = block_on(store.read_index(read))?;
    Ok((term, read.count, read.entries))
}

fn streams_of(events: &[RecordedEvent]) -> BTreeSet<StreamName> {
    events.iter().map(|event| event.stream.clone()).collect()
}

fn types_of(events: &[RecordedEvent]) -> BTreeSet<EventType> {
    events.iter().map(|event| event.event_type.clone()).collect()
}

fn categories_of(events: &[RecordedEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.stream.category().to_owned()).collect()
}

/// A query for every name there is, and some for two at once.
fn queries_for(events: &[RecordedEvent]) -> Vec<Query> {
    let tags: BTreeSet<_> = events.iter().flat_map(|event| &event.tags).collect();
    let types = types_of(events);
    let mut items: Vec<QueryItem> = Vec::new();
    for tag in &tags {
        let tags = Tags::parse([tag]).unwrap();
        items.push(QueryItem { tags: tags.clone(), ..QueryItem::default() });
        if let Some(first) = types.first() {
            items.push(QueryItem { types: vec![first.clone()], tags, ..QueryItem::default() });
        }
    }
    for event_type in types {
        items.push(QueryItem { types: vec![event_type], ..QueryItem::default() });
    }
    for stream in streams_of(events) {
        items.push(QueryItem { stream: Some(stream), ..QueryItem::default() });
    }
    for category in categories_of(events) {
        items.push(QueryItem { category: Some(category), ..QueryItem::default() });
    }
    let either = items.iter().step_by(3).take(2).cloned().collect();
    let mut queries: Vec<Query> = items.into_iter().map(Query::from).collect();
    queries.push(Query { items: either });
    queries
}

fn terms_for(events: &[RecordedEvent]) -> Vec<Term> {
    let categories = categories_of(events).into_iter().map(Term::Category);
    let types = types_of(events).into_iter().map(Term::Type);
    categories.chain(types).chain([Term::StreamNames]).collect()
}
