//! Maps that go on from where they were.
//!
//! A map is kept for each query that is asked for, the last few of them. When it is asked for again,
//! it takes in what has come meanwhile. Whoever asks must be allowed to read all that the query may
//! match: the store that they read it with checks that, also where nothing new has come.

use std::sync::{Arc, PoisonError};

use quipu_core::{AsOf, EventStore, Position, Query, ReadAll, ReadError};
use tokio::sync::Mutex;

use super::case::CaseBy;
use super::graph::ProcessMap;

/// How many maps are kept. Each takes some tens of megabytes at most.
const KEPT_COUNT_MAX: usize = 4;
/// How many events are taken in before others get their turn.
const STEP_COUNT: u64 = 8_192;

/// The maps of the last few queries.
#[derive(Debug, Default)]
pub(crate) struct ProcessMaps {
    /// The one asked for last comes last. Nothing but looking up and adding happens under it.
    kept: std::sync::Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    query: Query,
    by: CaseBy,
    map: Arc<Mutex<ProcessMap>>,
}

impl ProcessMaps {
    /// The map of this query, as far as it has come.
    fn map_of(&self, query: &Query, by: &CaseBy) -> Arc<Mutex<ProcessMap>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|own| own.query == *query && own.by == *by);
        let own = if let Some(index) = found {
            kept.remove(index)
        } else {
            let map = Arc::new(Mutex::new(ProcessMap::new(by.clone())));
            Kept { query: query.clone(), by: by.clone(), map }
        };
        let map = Arc::clone(&own.map);
        kept.push(own);
        if kept.len() > KEPT_COUNT_MAX {
            kept.remove(0);
        }
        map
    }
}

/// A map on its way to some place in the log. Dropping it stops the work; a map that is kept goes
/// on from there when it is asked for again.
pub(crate) struct Scan {
    store: Arc<dyn EventStore>,
    query: Query,
    map: Arc<Mutex<ProcessMap>>,
    through: Position,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) position: Position,
    pub(crate) through: Position,
    pub(crate) is_done: bool,
}

impl Scan {
    /// Begins. As of an earlier moment, the map is made anew and not kept.
    pub(crate) async fn begin(
        maps: &ProcessMaps,
        store: Arc<dyn EventStore>,
        query: Query,
        by: CaseBy,
        as_of: Option<AsOf>,
    ) -> Result<Self, ReadError> {
        let through = match as_of {
            None => store.frontier().await?,
            Some(AsOf::Position(position)) => position,
            Some(AsOf::Time(time)) => store.position_at(time).await?,
        };
        let map = match as_of {
            None => maps.map_of(&query, &by),
            Some(_) => Arc::new(Mutex::new(ProcessMap::new(by))),
        };
        Ok(Self { store, query, map, through })
    }

    /// Takes in some more events. Asks the store also where there is nothing more to take in, so that
    /// nobody sees a map of what they may not read.
    pub(crate) async fn step(&self) -> Result<Progress, ReadError> {
        let mut map = self.map.lock().await;
        let read = ReadAll::new(self.query.clone())
            .from(Position::new(map.position().get() + 1))
            .limit(STEP_COUNT)
            .as_of(AsOf::Position(self.through.max(map.position())));
        let mut batches = self.store.read_all(read).await?.batches;
        let mut count = 0;
        while let Some(batch) = batches.next().await? {
            count += batch.count() as u64;
            // All of a batch or none of it: between batches this may be dropped.
            batch.iter().for_each(|event| map.add(event));
        }
        let is_done = count < STEP_COUNT;
        if is_done {
            map.reach(self.through);
        }
        let position = map.position();
        drop(map);
        tokio::task::yield_now().await;
        Ok(Progress { position, through: self.through, is_done })
    }

    /// Looks at the map as it is.
    pub(crate) async fn look<T>(&self, then: impl FnOnce(&ProcessMap) -> T) -> T {
        then(&*self.map.lock().await)
    }
}
