//! Replays of groups that do not know what is parked: a page after the other, to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quipu_core::{BoxFuture, ComponentKey, ComponentKind, MemoryStore, Position, SubscribeError};
use quipu_groups::KeepError;
use quipu_groups::group::{
    Backing, Fetched, GroupSettings, Hosting, Joining, Kept, Note, Pulled, Reading, Replay, Source,
    Strategy, Which, spawn,
};
use quipu_groups::machine::Item;
use tokio::time::timeout;

/// How many parked events are read at a time.
const PAGE_COUNT: u64 = 2;

/// Keeps numbers as parked events. All but the first page cannot be read at first.
struct Pages {
    parked_count: u64,
    failures_left: AtomicU64,
}

impl Pages {
    fn read(&self, replay: &Replay) -> Result<Fetched<u64>, KeepError> {
        let Replay::Range { from, before } = *replay else { panic!("{replay:?}") };
        let fails = |left: u64| left.checked_sub(1);
        if from > 0
            && self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok()
        {
            return Err(KeepError::Unavailable("the store is away".into()));
        }
        let end = before.unwrap_or(self.parked_count);
        let page_end = end.min(from + PAGE_COUNT);
        let item = |number: u64| Item {
            position: Position::new(number + 1),
            key: format!("key-{number}").into(),
            size: 1,
            event: number,
        };
        let rest = Replay::Range { from: page_end, before: Some(end) };
        let items = (from..page_end).map(item).collect();
        Ok(Fetched { items, rest: (page_end < end).then_some(rest) })
    }
}

/// A log to which nothing comes.
struct Nothing;

impl Source<u64> for Nothing {
    fn next(&mut self) -> BoxFuture<'_, Result<Pulled<u64>, SubscribeError>> {
        Box::pin(std::future::pending())
    }
}

impl Backing for Pages {
    type Event = u64;

    fn claim(&self, _epoch: u64) -> BoxFuture<'_, Result<Kept, KeepError>> {
        Box::pin(async { Ok(Kept::default()) })
    }

    fn read_after(&self, _place: Position) -> Reading<'_, u64> {
        Box::pin(async { Ok(Box::new(Nothing) as Box<dyn Source<u64>>) })
    }

    fn keep<'a>(
        &'a self,
        _epoch: u64,
        _note: &'a Note<u64>,
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async { Ok(()) })
    }

    fn read_parked(
        &self,
        _epoch: u64,
        replay: Replay,
    ) -> BoxFuture<'_, Result<Fetched<u64>, KeepError>> {
        Box::pin(async move { self.read(&replay) })
    }

    fn reset(&self, _epoch: u64, _place: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async { Ok(()) })
    }

    fn lag(&self, _place: Position) -> BoxFuture<'_, u64> {
        Box::pin(async { 0 })
    }
}

fn hosting() -> Hosting {
    let key = ComponentKey { kind: ComponentKind::Group, name: "pages".to_owned(), version: 1 };
    Hosting {
        store: Arc::new(MemoryStore::new()),
        key,
        owner: "here".to_owned(),
        lease_ttl: Duration::from_secs(10),
        idle_timeout: Duration::from_mins(1),
    }
}

#[tokio::test]
async fn what_is_left_of_a_replay_comes_though_the_store_was_away_for_a_moment() {
    let pages = Arc::new(Pages { parked_count: 5, failures_left: AtomicU64::new(2) });
    let settings = GroupSettings {
        strategy: Strategy::RoundRobin,
        parked_max: None,
        ..GroupSettings::default()
    };
    let group = spawn(Arc::clone(&pages), settings, hosting());
    let mut member = group.join(Joining::new(10)).await.unwrap();

    assert_eq!(group.replay(Which::All).await.unwrap() as u64, PAGE_COUNT);

    let mut numbers = Vec::new();
    while numbers.len() < 5 {
        let next = timeout(Duration::from_secs(30), member.next()).await;
        for dispatch in next.expect("the rest comes").unwrap() {
            numbers.push(dispatch.item.event);
            member.answers().ack(vec![dispatch.number]).await.unwrap();
        }
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(pages.failures_left.load(Ordering::Relaxed), 0);
}
