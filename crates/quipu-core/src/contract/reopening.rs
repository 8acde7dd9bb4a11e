//! Opening a store again: everything that was acknowledged is there.

use std::time::Duration;

use bytes::Bytes;

use crate::append::{Append, Appended, ExpectedRevision};
use crate::checkpoint::{Checkpoint, SwapCheckpoint};
use crate::place::Position;
use crate::query::Query;
use crate::read::{Direction, ReadAll, ReadIndex, ReadStream, StreamState, Term};
use crate::snapshot::Snapshot;
use crate::subscription::SubscribeFrom;

use super::subject::{Subject, event, exactly, name, query, revision, tagged, types_of};

cases!(
    "reopening",
    an_empty_store_opens_again,
    the_log_is_as_it_was,
    streams_are_as_they_were,
    positions_and_revisions_go_on,
    expectations_still_hold,
    conditions_still_hold,
    retries_are_still_known,
    metadata_still_counts,
    deletes_and_tombstones_still_count,
    queries_find_what_they_found,
    ordinals_are_what_they_were,
    the_identity_is_the_same,
    times_do_not_go_back,
    snapshots_and_checkpoints_are_there,
    a_lease_is_still_held,
    a_subscription_goes_on_from_its_checkpoint,
    a_store_opens_again_many_times,
);

fn an_empty_store_opens_again(subject: &Subject<'_>) {
    subject.reopen();

    assert!(subject.log().is_empty());
    subject.add("a-1", &["A"]);
    assert_eq!(subject.log(), ["A"]);
}

fn the_log_is_as_it_was(subject: &Subject<'_>) {
    for number in 0..50 {
        subject.add_tagged(&format!("a-{}", number % 7), "A", &[&format!("t:{number}")]);
    }
    let (frontier, before) = subject.read_all_with_frontier(ReadAll::new(Query::all()));

    subject.reopen();

    let (after, events) = subject.read_all_with_frontier(ReadAll::new(Query::all()));
    assert_eq!(events, before);
    assert!(after >= frontier);
}

fn streams_are_as_they_were(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.add("b-1", &["C"]);
    let before = subject.read_with_state(ReadStream::new(name("a-1")).backward());

    subject.reopen();

    assert_eq!(subject.read_with_state(ReadStream::new(name("a-1")).backward()), before);
    assert_eq!(subject.types("b-1"), ["C"]);
}

fn positions_and_revisions_go_on(subject: &Subject<'_>) {
    let before = subject.add("a-1", &["A", "B"]);

    subject.reopen();
    let after = subject.add("a-1", &["C"]);

    assert!(after.first > before.last);
    assert_eq!(after.streams.first().map(|it| it.revision), Some(revision(2)));
}

fn expectations_still_hold(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.reopen();

    subject.conflict(Append::new().expect(name("a-1"), ExpectedRevision::NoStream));
    subject.conflict(Append::new().expect(name("a-1"), exactly(0)));
    subject.append(Append::new().expect(name("a-1"), exactly(1)));
}

fn conditions_still_hold(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);
    let frontier = subject.frontier();
    subject.add_tagged("a-1", "B", &["t:2"]);

    subject.reopen();

    let append =
        |text| Append::new().event(name("b-1"), event("X")).fail_if(query(text), Some(frontier));
    subject.conflict(append("tag:t:2"));
    subject.append(append("tag:t:1"));
}

fn retries_are_still_known(subject: &Subject<'_>) {
    let any = Append::new().event(name("a-1"), event("A")).event(name("b-1"), event("B"));
    let checked = Append::to_stream(name("c-1"), ExpectedRevision::NoStream, [event("C")]);
    let first = subject.append(any.clone());
    let second = subject.append(checked.clone());

    subject.reopen();

    assert_eq!(subject.append(any), Appended { replayed: true, ..first });
    assert_eq!(subject.append(checked), Appended { replayed: true, ..second });
}

fn metadata_still_counts(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);

    subject.reopen();

    assert_eq!(subject.types("a-1"), ["B", "C"]);
    subject.add("a-1", &["D"]);
    assert_eq!(subject.types("a-1"), ["C", "D"]);
}

fn deletes_and_tombstones_still_count(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.add("b-1", &["B"]);
    subject.delete("a-1");
    subject.tombstone("b-1");

    subject.reopen();

    assert_eq!(subject.state("a-1"), StreamState::Deleted { last: Some(revision(0)) });
    assert_eq!(subject.state("b-1"), StreamState::Tombstoned { last: revision(1) });
    subject.conflict(Append::new().event(name("b-1"), event("C")));
    subject.add("a-1", &["C"]);
    assert_eq!(subject.types("a-1"), ["C"]);
}

fn queries_find_what_they_found(subject: &Subject<'_>) {
    for number in 0..30 {
        let tag = format!("t:{}", number % 3);
        subject.append(Append::new().event(name("a-1"), tagged("A", &[&tag, "all"])));
    }

    subject.reopen();

    assert_eq!(subject.matching(query("tag:t:1 tag:all")).len(), 10);
    assert_eq!(subject.matching(query("type:A")).len(), 30);
    assert_eq!(subject.matching(query("category:a tag:t:2")).len(), 10);
}

fn ordinals_are_what_they_were(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.add("b-1", &["A"]);
    let category = Term::Category("a".to_owned());
    let read = ReadIndex { term: category, from: None, direction: Direction::Forward, limit: 10 };
    let entries = || {
        let found = subject.wait(subject.store().read_index(read.clone()));
        found.expect("the index is read").entries
    };
    let before = entries();

    subject.reopen();

    assert_eq!(before.len(), 2);
    assert_eq!(entries(), before);
}

fn the_identity_is_the_same(subject: &Subject<'_>) {
    let before = subject.store().identity();

    subject.reopen();

    assert_eq!(subject.store().identity(), before);
}

fn times_do_not_go_back(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.reopen();
    subject.add("a-1", &["B"]);

    let events = subject.read(ReadStream::new(name("a-1")));

    assert_eq!(types_of(&events), ["A", "B"]);
    assert!(events.is_sorted_by_key(|it| it.recorded_at));
}

fn snapshots_and_checkpoints_are_there(subject: &Subject<'_>) {
    let position = subject.add("a-1", &["A"]).last.expect("it has a place");
    let snapshot = Snapshot { position, data: Bytes::from_static(b"state") };
    let store = subject.store();
    subject.wait(store.snapshots().put("k", snapshot.clone())).expect("it is kept");
    let new = Checkpoint::new(position, &store.identity());
    let swap = SwapCheckpoint { name: "consumer".to_owned(), epoch: 3, old: None, new };
    subject.wait(store.checkpoints().swap(swap.clone())).expect("it moves");
    drop(store);

    subject.reopen();

    let store = subject.store();
    let kept = subject.wait(store.snapshots().get("k", Position::MAX)).expect("it answers");
    assert!(kept.is_none_or(|it| it == snapshot), "a snapshot may be lost, not changed");
    let kept = subject.wait(store.checkpoints().get("consumer")).expect("it answers");
    assert_eq!(kept, Some(new));
    let stale = SwapCheckpoint { epoch: 2, old: Some(position), ..swap };
    let stale = subject.wait(store.checkpoints().swap(stale));
    assert!(matches!(stale, Err(crate::CheckpointError::StaleEpoch { .. })), "{stale:?}");
}

fn a_lease_is_still_held(subject: &Subject<'_>) {
    let ttl = Duration::from_hours(1);
    let store = subject.store();
    let lease = subject.wait(store.leases().acquire("work", "ada", ttl)).expect("it is free");
    drop(store);

    subject.reopen();

    let store = subject.store();
    let other = subject.wait(store.leases().acquire("work", "bob", ttl));
    assert!(matches!(other, Err(crate::LeaseError::Held { .. })), "{other:?}");
    subject.wait(store.leases().release(&lease)).expect("it is held");
    let next = subject.wait(store.leases().acquire("work", "bob", ttl)).expect("it is free");
    assert!(next.epoch > lease.epoch);
}

fn a_subscription_goes_on_from_its_checkpoint(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    let mut following = subject.follow(Query::all(), SubscribeFrom::Start);
    let seen = following.events_until_caught_up();
    let second = seen.get(1).expect("there are three").position;
    drop(following);

    subject.reopen();
    subject.add("a-1", &["D"]);

    let mut following = subject.follow(Query::all(), SubscribeFrom::After(second));
    assert_eq!(following.types(2), ["C", "D"]);
}

fn a_store_opens_again_many_times(subject: &Subject<'_>) {
    for number in 0..10_u64 {
        let appended = subject.add("a-1", &["A"]);
        assert_eq!(appended.streams.first().map(|it| it.revision), Some(revision(number)));
        subject.reopen();
    }

    assert_eq!(subject.types("a-1").len(), 10);
}
