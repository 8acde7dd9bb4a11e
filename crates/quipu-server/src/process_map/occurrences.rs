//! The cases behind an edge. The map does not remember them: they are found again in the log, the
//! newest first, through the index.

use quipu_core::{
    Direction, EventRef, EventStore, EventType, Position, Query, ReadAll, ReadError, RecordedEvent,
    Timestamp,
};

use super::case::CaseBy;

/// How many events are looked at for one answer.
const LOOK_COUNT_MAX: u64 = 1_000;

/// Which edge of which map, and where to look.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) query: Query,
    pub(crate) by: CaseBy,
    pub(crate) from: EventType,
    pub(crate) to: EventType,
    /// Only where the later event is before this place.
    pub(crate) before: Option<Position>,
    pub(crate) limit: usize,
}

/// One event following another in a case.
#[derive(Debug)]
pub(crate) struct Occurrence {
    pub(crate) case: String,
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) at: Timestamp,
    pub(crate) wait_us: u64,
}

/// Finds occurrences, the newest first; and the place to go on before, if there may be more.
pub(crate) async fn find(
    store: &dyn EventStore,
    wanted: &Wanted,
) -> Result<(Vec<Occurrence>, Option<Position>), ReadError> {
    let mut found = Vec::new();
    let mut read = ReadAll::new(with_type(&wanted.query, &wanted.to)).backward();
    read.limit = Some(LOOK_COUNT_MAX);
    read.from = match wanted.before.map(Position::get) {
        Some(0 | 1) => return Ok((found, None)),
        Some(before) => Some(Position::new(before - 1)),
        None => None,
    };
    let mut batches = store.read_all(read).await?.batches;
    let mut looked_count = 0;
    while let Some(batch) = batches.next().await? {
        for event in batch.iter() {
            let before = event.position();
            look_at(store, wanted, event, &mut found).await?;
            looked_count += 1;
            if found.len() >= wanted.limit || looked_count == LOOK_COUNT_MAX {
                return Ok((found, Some(before)));
            }
        }
    }
    Ok((found, None))
}

async fn look_at(
    store: &dyn EventStore,
    wanted: &Wanted,
    event: EventRef<'_>,
    found: &mut Vec<Occurrence>,
) -> Result<(), ReadError> {
    let mut cases = Vec::new();
    wanted.by.each(event, |case| cases.push(case));
    for case in cases {
        let Ok(query) = wanted.by.restrict(&wanted.query, case) else { continue };
        let Some(earlier) = last_before(store, query, event.position()).await? else { continue };
        if earlier.event_type != wanted.from {
            continue;
        }
        let wait = event.recorded_at().as_micros() - earlier.recorded_at.as_micros();
        found.push(Occurrence {
            case: case.to_owned(),
            from: earlier.position,
            to: event.position(),
            at: event.recorded_at(),
            wait_us: u64::try_from(wait).unwrap_or(0),
        });
    }
    Ok(())
}

async fn last_before(
    store: &dyn EventStore,
    query: Query,
    position: Position,
) -> Result<Option<RecordedEvent>, ReadError> {
    let Some(before) = position.get().checked_sub(1).filter(|before| *before > 0) else {
        return Ok(None);
    };
    let read = ReadAll { direction: Direction::Backward, ..ReadAll::new(query) };
    let read = read.from(Position::new(before)).limit(1);
    let batch = store.read_all(read).await?.batches.next().await?;
    Ok(batch.and_then(|batch| batch.first().map(EventRef::to_recorded)))
}

/// The events of the query that have this type.
fn with_type(query: &Query, wanted: &EventType) -> Query {
    let items =
        query.items.iter().filter(|item| item.types.is_empty() || item.types.contains(wanted));
    let items = items.map(|item| {
        let mut item = item.clone();
        item.types = vec![wanted.clone()];
        item
    });
    Query { items: items.collect() }
}
