//! Groups of a store, as members and operators meet them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_core::{
    Append, ComponentKind, ComponentRequest, ComponentState, EventStore, MemoryStore, NewEvent,
    Position, Query, StreamName,
};
use quipu_engine::OpenOptions;
use quipu_groups::group::{
    Dispatch, GroupConfig, GroupEnd, GroupError, GroupEvent, Groups, GroupsOptions, Joining, KeyBy,
    Membership, Nack, Strategy, Which,
};
use quipu_groups::{Backoff, OnError};
use tokio::time::{sleep, timeout};

use crate::random::{Random, ShowSeed, seeds};

type Store = Arc<dyn EventStore>;

fn memory() -> Store {
    Arc::new(MemoryStore::new())
}

/// Opens the store in a directory, once the tasks that had it open are gone.
async fn open(directory: &Path) -> Store {
    for _ in 0..100 {
        match OpenOptions::new().create(true).open(directory) {
            Ok(engine) => return Arc::new(engine),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the store is still in use");
}

async fn append(store: &Store, stream: &str, tags: &[&str]) -> Position {
    let mut event = NewEvent::json("Happened", "{}").unwrap();
    for tag in tags {
        event = event.with_tag(tag).unwrap();
    }
    let append = Append::new().event(StreamName::new(stream).unwrap(), event);
    store.append(append).await.unwrap().last.unwrap()
}

fn options(owner: &str) -> GroupsOptions {
    let lease_ttl = Duration::from_millis(600);
    GroupsOptions { owner: owner.to_owned(), lease_ttl, ..GroupsOptions::default() }
}

fn groups(store: &Store) -> Groups {
    Groups::new(Arc::clone(store), options("here"))
}

/// Tries twice without a wait, then parks.
fn hasty(name: &str) -> GroupConfig {
    let backoff = Backoff { first: Duration::ZERO, max: Duration::ZERO };
    let on_error = OnError::retry(1).backoff(backoff).then_park();
    GroupConfig { on_error, ..GroupConfig::new(name, Query::all()) }
}

/// Waits for so many events; patiently, since machines are slow at times.
async fn take(member: &mut Membership<GroupEvent>, count: usize) -> Vec<Dispatch<GroupEvent>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = timeout(Duration::from_secs(30), member.next()).await;
        taken.extend(next.expect("events come").unwrap());
    }
    taken
}

async fn nothing_comes(member: &mut Membership<GroupEvent>) {
    let next = member.next_within(Duration::from_millis(200)).await.unwrap();
    assert!(next.is_empty(), "{next:?}");
}

fn revisions(dispatches: &[Dispatch<GroupEvent>]) -> Vec<(String, u64)> {
    let place = |it: &Dispatch<GroupEvent>| {
        (it.item.event.stream.to_string(), it.item.event.revision.get())
    };
    dispatches.iter().map(place).collect()
}

async fn parked_count(groups: &Groups, name: &str, count: usize) {
    for _ in 0..300 {
        if groups.parked(name).await.unwrap().len() == count {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} parked events were expected, got {:?}", groups.parked(name).await);
}

#[tokio::test]
async fn a_keys_next_event_comes_when_the_one_before_is_acknowledged() {
    let store = memory();
    for stream in ["a-1", "a-1", "b-1"] {
        append(&store, stream, &[]).await;
    }
    let groups = groups(&store);
    groups.create(GroupConfig::new("g", Query::all())).await.unwrap();

    let mut member = groups.join("g", Joining::new(10)).await.unwrap();
    let first = take(&mut member, 2).await;
    assert_eq!(revisions(&first), [("a-1".to_owned(), 0), ("b-1".to_owned(), 0)]);
    nothing_comes(&mut member).await;

    let known = member.answers().ack_counted(vec![first[0].number, 999]).await.unwrap();
    assert_eq!(known, 1, "999 is no dispatch of this member");
    assert_eq!(revisions(&take(&mut member, 1).await), [("a-1".to_owned(), 1)]);
}

#[tokio::test]
async fn keys_can_be_tags() {
    let store = memory();
    append(&store, "transfer-1", &["account:x", "other:1"]).await;
    append(&store, "transfer-2", &["account:x"]).await;
    append(&store, "transfer-3", &["account:y"]).await;
    append(&store, "transfer-4", &[]).await;
    let groups = groups(&store);
    let key = KeyBy::Tag("account".to_owned());
    groups.create(GroupConfig { key, ..GroupConfig::new("g", Query::all()) }).await.unwrap();

    let mut member = groups.join("g", Joining::new(10)).await.unwrap();
    let keys = take(&mut member, 3).await;

    let keys: Vec<&str> = keys.iter().map(|it| &*it.item.key).collect();
    assert_eq!(keys, ["account:x", "account:y", "transfer-4"], "transfer-2 waits for transfer-1");
}

#[tokio::test]
async fn what_a_member_had_goes_to_others_when_it_leaves() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    let groups = groups(&store);
    groups.create(GroupConfig::new("g", Query::all())).await.unwrap();
    let mut first = groups.join("g", Joining::new(10)).await.unwrap();
    let had = take(&mut first, 1).await;
    let mut second = groups.join("g", Joining::new(10)).await.unwrap();
    let late = first.answers();

    drop(first);
    let has = take(&mut second, 1).await;

    assert_eq!(has[0].item.position, had[0].item.position);
    assert_eq!(has[0].retry_count, 0, "it may never have looked at it");
    assert!(has[0].number > had[0].number);
    assert_eq!(late.ack_counted(vec![had[0].number]).await.unwrap(), 0, "it comes too late");
    assert_eq!(second.answers().ack_counted(vec![has[0].number]).await.unwrap(), 1);
}

#[tokio::test]
async fn an_event_that_fails_is_parked_and_later_ones_of_its_key_behind_it() {
    let store = memory();
    for stream in ["a-1", "a-1", "b-1"] {
        append(&store, stream, &[]).await;
    }
    let groups = groups(&store);
    groups.create(hasty("g")).await.unwrap();
    let mut member = groups.join("g", Joining::new(1)).await.unwrap();

    for retry_count in 0..=1 {
        let got = take(&mut member, 1).await;
        assert_eq!((got[0].item.position.get(), got[0].retry_count), (1, retry_count));
        let answers = member.answers();
        answers.nack(vec![got[0].number], Nack::Retry, "no luck").await.unwrap();
    }
    assert_eq!(revisions(&take(&mut member, 1).await), [("b-1".to_owned(), 0)]);
    parked_count(&groups, "g", 2).await;
    let parked = groups.parked("g").await.unwrap();
    assert_eq!((parked[0].cause.as_str(), parked[0].key.as_str()), ("no luck", "a-1"));
    assert!(parked[1].cause.contains("earlier event"), "{}", parked[1].cause);

    // Replayed, they come in order, before what was appended since.
    append(&store, "a-1", &[]).await;
    parked_count(&groups, "g", 3).await;
    assert_eq!(groups.replay("g", Which::At(parked[0].position)).await.unwrap(), 3);
    let mut second = groups.join("g", Joining::new(5)).await.unwrap();
    for revision in 0..3 {
        let got = take(&mut second, 1).await;
        assert_eq!(revisions(&got), [("a-1".to_owned(), revision)]);
        second.answers().ack(vec![got[0].number]).await.unwrap();
    }
    parked_count(&groups, "g", 0).await;
}

#[tokio::test]
async fn an_event_that_is_dropped_does_not_hold_up_its_key_any_more() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    let groups = groups(&store);
    groups.create(hasty("g")).await.unwrap();
    let mut member = groups.join("g", Joining::new(1)).await.unwrap();
    let got = take(&mut member, 1).await;
    member.answers().nack(vec![got[0].number], Nack::Park, "later").await.unwrap();
    parked_count(&groups, "g", 1).await;

    assert_eq!(groups.drop_parked("g", Some(Position::new(1))).await.unwrap(), 1);
    parked_count(&groups, "g", 0).await;
    append(&store, "a-1", &[]).await;

    assert_eq!(revisions(&take(&mut member, 1).await), [("a-1".to_owned(), 1)]);
}

#[tokio::test]
async fn a_member_that_never_acknowledges_gets_its_events_again_and_then_they_are_parked() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    let groups = groups(&store);
    let timeout = Some(Duration::from_millis(100));
    groups.create(GroupConfig { timeout, ..hasty("g") }).await.unwrap();
    let mut member = groups.join("g", Joining::new(1)).await.unwrap();

    let got = take(&mut member, 2).await;

    assert_eq!(got.iter().map(|it| it.retry_count).collect::<Vec<_>>(), [0, 1]);
    parked_count(&groups, "g", 1).await;
}

#[tokio::test]
async fn checkpoints_and_parked_events_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for stream in ["a-1", "b-1", "c-1"] {
        append(&store, stream, &[]).await;
    }
    let before = groups(&store);
    before.create(hasty("g")).await.unwrap();
    let mut member = before.join("g", Joining::new(10)).await.unwrap();
    let got = take(&mut member, 3).await;
    member.answers().ack(vec![got[0].number]).await.unwrap();
    member.answers().nack(vec![got[1].number], Nack::Park, "later").await.unwrap();
    parked_count(&before, "g", 1).await;
    drop(member);
    before.stop().await;
    drop((before, store));

    let store = open(dir.path()).await;
    let after = groups(&store);
    let status = after.status("g").await.unwrap();
    assert_eq!((status.checkpoint.get(), status.parked_count), (2, 1));
    assert!(status.running.is_none(), "nobody is in it");
    let mut member = after.join("g", Joining::new(10)).await.unwrap();

    assert_eq!(revisions(&take(&mut member, 1).await), [("c-1".to_owned(), 0)]);
    assert_eq!(after.parked("g").await.unwrap().len(), 1);
    after.stop().await;
}

#[tokio::test]
async fn a_deleted_group_tells_its_members_and_begins_anew_when_it_is_created_again() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    let groups = groups(&store);
    groups.create(hasty("g")).await.unwrap();
    assert!(matches!(groups.create(hasty("g")).await, Err(GroupError::Exists { .. })));
    let mut member = groups.join("g", Joining::new(10)).await.unwrap();
    let got = take(&mut member, 1).await;
    member.answers().ack_counted(vec![got[0].number]).await.unwrap();

    groups.delete("g").await.unwrap();
    let told = timeout(Duration::from_secs(30), member.next()).await.unwrap();
    assert_eq!(told.unwrap_err(), GroupEnd::Deleted);
    let gone = groups.join("g", Joining::new(1)).await;
    assert!(matches!(gone, Err(GroupError::Unknown { .. })));

    groups.create(hasty("g")).await.unwrap();
    let mut member = groups.join("g", Joining::new(10)).await.unwrap();
    assert_eq!(take(&mut member, 1).await[0].item.position, got[0].item.position);
}

/// A group lets its members go, then gives its lease back: one that waits on another thread asked for
/// the reason in between, and was told that the server stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_waits_is_told_why_its_group_ended() {
    let directory = tempfile::tempdir().unwrap();
    let groups = groups(&open(directory.path()).await);
    for round in 0..20 {
        let name = format!("g-{round}");
        groups.create(hasty(&name)).await.unwrap();
        let mut member = groups.join(&name, Joining::new(1)).await.unwrap();
        let waiting = tokio::spawn(async move { member.next().await });

        groups.delete(&name).await.unwrap();

        assert_eq!(waiting.await.unwrap().unwrap_err(), GroupEnd::Deleted, "round {round}");
    }
}

#[tokio::test]
async fn an_updated_group_goes_on_where_it_was() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    append(&store, "b-1", &[]).await;
    let groups = groups(&store);
    groups.create(hasty("g")).await.unwrap();
    let mut member = groups.join("g", Joining::new(1)).await.unwrap();
    let got = take(&mut member, 1).await;
    member.answers().ack_counted(vec![got[0].number]).await.unwrap();

    let member_count_max = 1;
    groups.update(GroupConfig { member_count_max, ..hasty("g") }).await.unwrap();
    let told = loop {
        if let Err(end) = member.next().await {
            break end;
        }
    };
    assert_eq!(told, GroupEnd::Renewed);

    let mut member = groups.join("g", Joining::new(1)).await.unwrap();
    assert_eq!(revisions(&take(&mut member, 1).await), [("b-1".to_owned(), 0)]);
    let full = groups.join("g", Joining::new(1)).await;
    assert!(matches!(full, Err(GroupError::Ended(GroupEnd::Full { count_max: 1 }))));
}

#[tokio::test]
async fn of_two_servers_one_runs_a_group_and_the_other_takes_over() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    let first = Groups::new(Arc::clone(&store), options("first"));
    let second = Groups::new(Arc::clone(&store), options("second"));
    first.create(hasty("g")).await.unwrap();
    let mut member = first.join("g", Joining::new(1)).await.unwrap();
    take(&mut member, 1).await;

    let refused = second.join("g", Joining::new(1)).await.unwrap_err();
    let GroupError::Ended(GroupEnd::Elsewhere { owner }) = refused else { panic!("{refused}") };
    assert_eq!(owner, "first");
    first.stop().await;

    let mut member = second.join("g", Joining::new(1)).await.unwrap();
    take(&mut member, 1).await;
}

#[tokio::test]
async fn operators_see_groups_and_pause_them() {
    let store = memory();
    let groups = groups(&store);
    groups.create(hasty("g")).await.unwrap();
    let mut member = groups.join("g", Joining::new(1)).await.unwrap();
    let reported = async || loop {
        let components = store.registry().components().await.unwrap();
        if let Some(found) = components.into_iter().find(|it| it.key.name == "g") {
            return found;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let status = reported().await;
    assert_eq!(status.key.kind, ComponentKind::Group);

    store.registry().request(&status.key, ComponentRequest::Pause).await.unwrap();
    while reported().await.state != ComponentState::Paused {
        sleep(Duration::from_millis(50)).await;
    }
    append(&store, "a-1", &[]).await;
    nothing_comes(&mut member).await;

    store.registry().request(&status.key, ComponentRequest::Resume).await.unwrap();
    take(&mut member, 1).await;
}

#[tokio::test]
async fn reserved_events_come_only_to_groups_that_name_them() {
    let store: Store = Arc::new(MemoryStore::new());
    append(&store, "$quipu.own-1", &[]).await;
    append(&store, "a-1", &[]).await;
    let groups = groups(&store);
    groups.create(GroupConfig::new("all", Query::all())).await.unwrap();
    let own: Query = "category:$quipu.own".parse().unwrap();
    groups.create(GroupConfig::new("own", own)).await.unwrap();

    let mut all = groups.join("all", Joining::new(10)).await.unwrap();
    assert_eq!(revisions(&take(&mut all, 1).await), [("a-1".to_owned(), 0)]);
    nothing_comes(&mut all).await;
    let mut own = groups.join("own", Joining::new(10)).await.unwrap();
    assert_eq!(revisions(&take(&mut own, 1).await), [("$quipu.own-1".to_owned(), 0)]);
}

#[tokio::test]
async fn ten_thousand_groups_are_created_listed_and_joined() {
    let store = memory();
    append(&store, "a-1", &[]).await;
    let groups = groups(&store);
    for index in 0..10_000 {
        groups.create(GroupConfig::new(&format!("g-{index:05}"), Query::all())).await.unwrap();
    }

    let listed = groups.list().await.unwrap();

    assert_eq!(listed.len(), 10_000);
    assert_eq!(listed.last().unwrap().name, "g-09999");
    let mut member = groups.join("g-07777", Joining::new(1)).await.unwrap();
    take(&mut member, 1).await;
}

/// What members did, from outside.
#[derive(Default)]
struct Sink {
    /// For each key: the newest dispatch's number, and the event's place.
    newest: BTreeMap<String, (u64, Position)>,
    handled: BTreeSet<Position>,
}

impl Sink {
    /// An effect, refused where it comes too late.
    fn handle(&mut self, dispatch: &Dispatch<GroupEvent>, log: &BTreeMap<Position, String>) {
        let (place, number) = (dispatch.item.position, dispatch.number);
        let key = dispatch.item.key.to_string();
        if self.newest.get(&key).is_some_and(|(newest, _)| number < *newest) {
            return;
        }
        for (earlier, _) in log.range(..place).filter(|(_, own)| **own == key) {
            assert!(self.handled.contains(earlier), "{place} of {key} overtook {earlier}");
        }
        self.newest.insert(key, (number, place));
        self.handled.insert(place);
    }
}

/// Members come, pause, are killed; owners crash with their runtime. Each life goes on from what is
/// durable.
#[test]
fn no_key_is_ever_out_of_order_and_nothing_is_lost() {
    for seed in seeds(1) {
        let _shown = ShowSeed(seed);
        let mut random = Random::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let engine = OpenOptions::new().create(true).open(dir.path()).unwrap();
        let store: Store = Arc::new(engine);
        let sink = Arc::new(Mutex::new(Sink::default()));
        let runtime = runtime();
        let log = runtime.block_on(async {
            let mut log = BTreeMap::new();
            for _ in 0..300 {
                let stream = format!("key-{}", random.below(20));
                log.insert(append(&store, &stream, &[]).await, stream);
            }
            let timeout = Some(Duration::from_millis(60));
            let on_error = OnError::retry(u32::MAX).backoff(Backoff {
                first: Duration::from_millis(5),
                max: Duration::from_millis(20),
            });
            let config = GroupConfig::new("g", Query::all());
            let config = GroupConfig { timeout, on_error, in_flight_max: 12, ..config };
            groups(&store).create(config).await.unwrap();
            Arc::new(log)
        });
        drop(runtime);

        let mut life = 0;
        while sink.lock().unwrap().handled.len() < log.len() {
            life += 1;
            assert!(life < 100, "it does not come to an end");
            one_life(&store, &sink, &log, random.next(), life);
        }
        assert!(life > 1, "it takes more than one life");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn one_life(
    store: &Store,
    sink: &Arc<Mutex<Sink>>,
    log: &Arc<BTreeMap<Position, String>>,
    seed: u64,
    life: u64,
) {
    let runtime = runtime();
    let groups = Arc::new(Groups::new(Arc::clone(store), options(&format!("life {life}"))));
    for member in 0..4 {
        let (groups, sink, log) = (Arc::clone(&groups), Arc::clone(sink), Arc::clone(log));
        runtime.spawn(async move {
            let mut random = Random::new(seed ^ member);
            loop {
                let Ok(mut membership) = groups.join("g", Joining::new(5)).await else { continue };
                for _ in 0..=random.below(9) {
                    let Ok(dispatches) = membership.next().await else { break };
                    if random.once_in(10) {
                        // Paused for longer than it may take; its effects come late.
                        sleep(Duration::from_millis(20 + random.below(100))).await;
                    }
                    for dispatch in dispatches {
                        sink.lock().unwrap().handle(&dispatch, &log);
                        if !random.once_in(20) {
                            membership.answers().ack(vec![dispatch.number]).await.ok();
                        }
                    }
                }
                // Killed: what it had and did not answer goes to others.
            }
        });
    }
    // Short of the end, however fast the machine is.
    let enough = sink.lock().unwrap().handled.len() + log.len() / 5;
    runtime.block_on(async {
        for _ in 0..70 {
            sleep(Duration::from_millis(10)).await;
            if sink.lock().unwrap().handled.len() >= enough {
                break;
            }
        }
    });
    // A crash: tasks stop where they are, the lease is left to expire.
    runtime.shutdown_background();
}

#[tokio::test]
async fn strategies_without_order_share_events_among_members() {
    let store = memory();
    let groups = groups(&store);
    for strategy in [Strategy::RoundRobin, Strategy::DispatchToSingle, Strategy::Pinned] {
        let name = format!("{strategy:?}");
        let after = store.frontier().await.unwrap();
        groups.create(GroupConfig { strategy, after, ..hasty(&name) }).await.unwrap();
        let mut members = Vec::new();
        for _ in 0..2 {
            members.push(groups.join(&name, Joining::new(20)).await.unwrap());
        }
        for index in 0..40 {
            append(&store, &format!("a-{}", index % 4), &[]).await;
        }
        let mut streams: Vec<BTreeSet<String>> = Vec::new();
        let mut total = 0;
        for member in &mut members {
            let mut own = Vec::new();
            while own.len() < 40 {
                let next = member.next_within(Duration::from_millis(500)).await.unwrap();
                if next.is_empty() {
                    break;
                }
                own.extend(next);
            }
            total += own.len();
            streams.push(own.iter().map(|it| it.item.event.stream.to_string()).collect());
        }

        if strategy == Strategy::Pinned {
            assert!(streams[0].is_disjoint(&streams[1]), "{streams:?}");
        } else {
            assert_eq!(total, 40, "{name}: two members have room for 20 each");
        }
    }
}
