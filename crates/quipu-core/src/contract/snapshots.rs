//! Snapshots beside the log.

use bytes::Bytes;

use crate::place::Position;
use crate::snapshot::Snapshot;

use super::subject::Subject;

cases!(
    "snapshots",
    an_unknown_key_has_no_snapshot,
    a_snapshot_is_got_as_it_was_put,
    the_latest_snapshot_at_or_before_a_place_is_got,
    a_snapshot_behind_the_place_is_not_got,
    a_snapshot_takes_the_place_of_one_at_the_same_position,
    keys_are_apart,
    pruning_keeps_the_newest,
    pruning_fewer_than_are_kept_forgets_nothing,
    snapshots_are_not_in_the_log,
    a_snapshot_may_be_large,
    both_handles_see_the_same_snapshots,
);

fn put(subject: &Subject<'_>, key: &str, position: u64, data: &[u8]) {
    let snapshot =
        Snapshot { position: Position::new(position), data: Bytes::copy_from_slice(data) };
    let store = subject.store();
    subject.wait(store.snapshots().put(key, snapshot)).expect("the snapshot is kept");
}

fn get(subject: &Subject<'_>, key: &str, at: u64) -> Option<(u64, Bytes)> {
    let store = subject.store();
    let found = subject.wait(store.snapshots().get(key, Position::new(at)));
    found.expect("the store answers").map(|it| (it.position.get(), it.data))
}

fn position_at(subject: &Subject<'_>, key: &str, at: u64) -> Option<u64> {
    get(subject, key, at).map(|(position, _)| position)
}

fn prune(subject: &Subject<'_>, key: &str, keep: usize) -> usize {
    let store = subject.store();
    subject.wait(store.snapshots().prune(key, keep)).expect("the store answers")
}

fn an_unknown_key_has_no_snapshot(subject: &Subject<'_>) {
    assert_eq!(get(subject, "order-1", u64::MAX), None);
}

fn a_snapshot_is_got_as_it_was_put(subject: &Subject<'_>) {
    put(subject, "order-1/v2", 7, b"\0state\xFF");

    let expected = Some((7, Bytes::from_static(b"\0state\xFF")));
    assert_eq!(get(subject, "order-1/v2", 7), expected);
    assert_eq!(get(subject, "order-1/v2", u64::MAX), expected);
}

fn the_latest_snapshot_at_or_before_a_place_is_got(subject: &Subject<'_>) {
    for position in [30, 10, 20] {
        put(subject, "k", position, b"state");
    }

    for (at, expected) in [(10, 10), (19, 10), (20, 20), (29, 20), (30, 30), (31, 30)] {
        assert_eq!(position_at(subject, "k", at), Some(expected), "at {at}");
    }
}

fn a_snapshot_behind_the_place_is_not_got(subject: &Subject<'_>) {
    put(subject, "k", 10, b"state");

    assert_eq!(position_at(subject, "k", 9), None);
    assert_eq!(position_at(subject, "k", 0), None);
}

fn a_snapshot_takes_the_place_of_one_at_the_same_position(subject: &Subject<'_>) {
    put(subject, "k", 10, b"old");
    put(subject, "k", 10, b"new");

    assert_eq!(get(subject, "k", 10), Some((10, Bytes::from_static(b"new"))));
    assert_eq!(prune(subject, "k", 0), 1);
}

fn keys_are_apart(subject: &Subject<'_>) {
    put(subject, "a", 1, b"of a");
    put(subject, "ab", 2, b"of ab");

    assert_eq!(get(subject, "a", 9), Some((1, Bytes::from_static(b"of a"))));
    assert_eq!(get(subject, "ab", 9), Some((2, Bytes::from_static(b"of ab"))));
    assert_eq!(prune(subject, "ab", 0), 1);
    assert_eq!(position_at(subject, "a", 9), Some(1));
}

fn pruning_keeps_the_newest(subject: &Subject<'_>) {
    for position in [1, 2, 3, 4, 5] {
        put(subject, "k", position, b"state");
    }

    assert_eq!(prune(subject, "k", 2), 3);

    assert_eq!(position_at(subject, "k", 3), None);
    assert_eq!(position_at(subject, "k", 4), Some(4));
    assert_eq!(position_at(subject, "k", 5), Some(5));
}

fn pruning_fewer_than_are_kept_forgets_nothing(subject: &Subject<'_>) {
    put(subject, "k", 1, b"state");

    assert_eq!(prune(subject, "k", 1), 0);
    assert_eq!(prune(subject, "k", 5), 0);
    assert_eq!(prune(subject, "unknown", 0), 0);

    assert_eq!(position_at(subject, "k", 1), Some(1));
}

fn snapshots_are_not_in_the_log(subject: &Subject<'_>) {
    put(subject, "k", 1, b"state");

    assert!(subject.log().is_empty());
}

fn a_snapshot_may_be_large(subject: &Subject<'_>) {
    let large = vec![0xA5; 1 << 20];

    put(subject, "k", 1, &large);

    assert_eq!(get(subject, "k", 1), Some((1, Bytes::from(large))));
}

fn both_handles_see_the_same_snapshots(subject: &Subject<'_>) {
    put(subject, "k", 1, b"state");

    let system = subject.system();
    let found = subject.wait(system.snapshots().get("k", Position::MAX));

    assert_eq!(found.expect("the store answers").map(|it| it.position.get()), Some(1));
}
