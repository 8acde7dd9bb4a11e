//! The registry: what runs, how it is, and what it is asked to do.

use crate::place::{Position, Timestamp};
use crate::registry::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus,
    PARKED_ITEMS_MAX, ParkedItem, REQUESTS_MAX, RegistryError,
};

use super::subject::Subject;

cases!(
    "registry",
    nothing_has_reported_at_first,
    a_status_is_listed_as_it_was_reported,
    a_later_status_replaces_an_earlier_one,
    every_kind_and_state_is_kept,
    components_are_listed_in_the_order_of_their_keys,
    versions_of_one_component_are_apart,
    parked_items_beyond_the_limit_are_left_out,
    a_status_under_a_stale_epoch_is_refused,
    a_name_has_a_size_and_no_control_characters,
    a_name_may_be_any_text,
    a_request_is_taken_by_its_component,
    requests_are_taken_oldest_first_and_once,
    every_request_is_kept,
    requests_of_components_are_apart,
    a_report_leaves_requests_waiting,
    a_request_for_an_unknown_component_is_refused,
    more_requests_than_may_wait_are_refused,
    a_removed_component_is_forgotten_with_its_requests,
    removing_an_unknown_component_is_no_failure,
    the_registry_is_not_in_the_log,
);

fn key(kind: ComponentKind, name: &str, version: u32) -> ComponentKey {
    ComponentKey { kind, name: name.to_owned(), version }
}

fn orders() -> ComponentKey {
    key(ComponentKind::Projection, "orders", 1)
}

fn status(key: ComponentKey) -> ComponentStatus {
    ComponentStatus {
        key,
        owner: "host 7".to_owned(),
        epoch: 3,
        state: ComponentState::Live,
        position: Position::new(40),
        lag: 2,
        last_error: Some("it was\nthe database".to_owned()),
        parked_count: 1,
        parked: vec![ParkedItem {
            position: Position::new(12),
            key: "order-1".to_owned(),
            cause: "no such customer".to_owned(),
        }],
        reported_at: Timestamp::from_micros(1_700_000_000_000_001),
    }
}

fn try_report(subject: &Subject<'_>, status: ComponentStatus) -> Result<(), RegistryError> {
    let store = subject.store();
    subject.wait(store.registry().report(status))
}

fn report(subject: &Subject<'_>, key: ComponentKey) {
    try_report(subject, status(key)).expect("the status is kept");
}

fn components(subject: &Subject<'_>) -> Vec<ComponentStatus> {
    let store = subject.store();
    subject.wait(store.registry().components()).expect("the store answers")
}

fn request(
    subject: &Subject<'_>,
    key: &ComponentKey,
    request: ComponentRequest,
) -> Result<(), RegistryError> {
    let store = subject.store();
    subject.wait(store.registry().request(key, request))
}

fn take(subject: &Subject<'_>, key: &ComponentKey) -> Vec<ComponentRequest> {
    let store = subject.store();
    subject.wait(store.registry().take_requests(key)).expect("the store answers")
}

fn remove(subject: &Subject<'_>, key: &ComponentKey) {
    let store = subject.store();
    subject.wait(store.registry().remove(key)).expect("the store answers");
}

fn nothing_has_reported_at_first(subject: &Subject<'_>) {
    assert!(components(subject).is_empty());
}

fn a_status_is_listed_as_it_was_reported(subject: &Subject<'_>) {
    report(subject, orders());

    assert_eq!(components(subject), [status(orders())]);
}

fn a_later_status_replaces_an_earlier_one(subject: &Subject<'_>) {
    report(subject, orders());
    let later = ComponentStatus {
        state: ComponentState::Paused,
        last_error: None,
        parked_count: 0,
        parked: Vec::new(),
        epoch: 4,
        ..status(orders())
    };

    try_report(subject, later.clone()).expect("the status is kept");

    assert_eq!(components(subject), [later]);
}

fn every_kind_and_state_is_kept(subject: &Subject<'_>) {
    for kind in ComponentKind::ALL {
        for (version, state) in (0..).zip(ComponentState::ALL) {
            let reported = ComponentStatus { state, ..status(key(kind, "it", version)) };
            try_report(subject, reported).expect("the status is kept");
        }
    }

    let listed = components(subject);
    let kept: Vec<_> = listed.iter().map(|it| (it.key.kind, it.state)).collect();
    let expected: Vec<_> = ComponentKind::ALL
        .into_iter()
        .flat_map(|kind| ComponentState::ALL.map(|state| (kind, state)))
        .collect();
    assert_eq!(kept, expected);
}

fn components_are_listed_in_the_order_of_their_keys(subject: &Subject<'_>) {
    let mut keys = [
        key(ComponentKind::Relay, "a", 1),
        key(ComponentKind::Projection, "b", 2),
        key(ComponentKind::Projection, "b", 10),
        key(ComponentKind::Projection, "B", 3),
        key(ComponentKind::Group, "a", 1),
    ];
    for own in &keys {
        report(subject, own.clone());
    }

    let listed: Vec<ComponentKey> = components(subject).into_iter().map(|it| it.key).collect();

    keys.sort();
    assert_eq!(listed, keys);
}

fn versions_of_one_component_are_apart(subject: &Subject<'_>) {
    let (first, second) = (orders(), ComponentKey { version: 2, ..orders() });
    report(subject, first.clone());
    report(subject, second.clone());

    request(subject, &second, ComponentRequest::Promote).expect("it has reported");

    assert_eq!(components(subject).len(), 2);
    assert!(take(subject, &first).is_empty());
    assert_eq!(take(subject, &second), [ComponentRequest::Promote]);
}

fn parked_items_beyond_the_limit_are_left_out(subject: &Subject<'_>) {
    let item = |position| ParkedItem {
        position: Position::new(position),
        key: format!("order-{position}"),
        cause: "late".to_owned(),
    };
    let count = PARKED_ITEMS_MAX as u64 + 5;
    let parked = (1..=count).map(item).collect();

    let reported = ComponentStatus { parked_count: count, parked, ..status(orders()) };
    try_report(subject, reported).expect("the status is kept");

    let listed = components(subject);
    let kept = listed.first().expect("it has reported");
    assert_eq!(kept.parked_count, count);
    assert_eq!(kept.parked.len(), PARKED_ITEMS_MAX);
    assert_eq!(kept.parked.first().map(|it| it.position), Some(Position::new(1)));
}

fn a_status_under_a_stale_epoch_is_refused(subject: &Subject<'_>) {
    report(subject, orders());

    let stale = ComponentStatus { epoch: 2, owner: "old".to_owned(), ..status(orders()) };
    let answer = try_report(subject, stale);

    assert!(
        matches!(answer, Err(RegistryError::StaleEpoch { epoch: 2, current: 3 })),
        "{answer:?}"
    );
    assert_eq!(components(subject), [status(orders())]);
}

fn a_name_has_a_size_and_no_control_characters(subject: &Subject<'_>) {
    for name in [String::new(), "n".repeat(256), "a\nb".to_owned(), "\0".to_owned()] {
        let invalid = status(key(ComponentKind::Group, &name, 1));
        let answer = try_report(subject, invalid);
        assert!(matches!(answer, Err(RegistryError::InvalidName)), "{name:?}: {answer:?}");
    }

    assert!(components(subject).is_empty());
}

fn a_name_may_be_any_text(subject: &Subject<'_>) {
    let names = ["..", "../x", "a/b", "a b", "ü 送", "CON", "a:b*?\"<>|", "%2e"];
    let longest = "ü".repeat(127);
    for name in names.into_iter().chain([longest.as_str()]) {
        let own = key(ComponentKind::Group, name, 1);
        report(subject, own.clone());
        request(subject, &own, ComponentRequest::Pause).expect("it has reported");
        assert_eq!(take(subject, &own), [ComponentRequest::Pause], "{name}");
    }

    assert_eq!(components(subject).len(), names.len() + 1);
}

fn a_request_is_taken_by_its_component(subject: &Subject<'_>) {
    report(subject, orders());

    request(subject, &orders(), ComponentRequest::Pause).expect("it has reported");

    assert_eq!(take(subject, &orders()), [ComponentRequest::Pause]);
    assert!(take(subject, &orders()).is_empty());
}

fn requests_are_taken_oldest_first_and_once(subject: &Subject<'_>) {
    report(subject, orders());
    let requests: Vec<ComponentRequest> =
        (0..20).map(|number| ComponentRequest::ReplayFrom(Position::new(number))).collect();

    for own in &requests {
        request(subject, &orders(), *own).expect("it has reported");
    }

    assert_eq!(take(subject, &orders()), requests);
    assert!(take(subject, &orders()).is_empty());
}

fn every_request_is_kept(subject: &Subject<'_>) {
    report(subject, orders());
    let place = Position::new(u64::MAX);
    let requests = [
        ComponentRequest::Pause,
        ComponentRequest::Resume,
        ComponentRequest::Retry(None),
        ComponentRequest::Retry(Some(place)),
        ComponentRequest::Drop(None),
        ComponentRequest::Drop(Some(place)),
        ComponentRequest::Promote,
        ComponentRequest::ReplayFrom(Position::START),
    ];

    for own in requests {
        request(subject, &orders(), own).expect("it has reported");
    }

    assert_eq!(take(subject, &orders()), requests);
}

fn requests_of_components_are_apart(subject: &Subject<'_>) {
    let relay = key(ComponentKind::Relay, "orders", 1);
    report(subject, orders());
    report(subject, relay.clone());

    request(subject, &relay, ComponentRequest::Pause).expect("it has reported");

    assert!(take(subject, &orders()).is_empty());
    assert_eq!(take(subject, &relay), [ComponentRequest::Pause]);
}

fn a_report_leaves_requests_waiting(subject: &Subject<'_>) {
    report(subject, orders());
    request(subject, &orders(), ComponentRequest::Pause).expect("it has reported");

    report(subject, orders());

    assert_eq!(take(subject, &orders()), [ComponentRequest::Pause]);
}

fn a_request_for_an_unknown_component_is_refused(subject: &Subject<'_>) {
    report(subject, orders());
    let unknown = ComponentKey { version: 2, ..orders() };

    let answer = request(subject, &unknown, ComponentRequest::Pause);

    assert!(
        matches!(&answer, Err(RegistryError::Unknown { key }) if *key == unknown),
        "{answer:?}"
    );
    assert!(take(subject, &unknown).is_empty());
}

fn more_requests_than_may_wait_are_refused(subject: &Subject<'_>) {
    report(subject, orders());
    for _ in 0..REQUESTS_MAX {
        request(subject, &orders(), ComponentRequest::Resume).expect("there is room");
    }

    let answer = request(subject, &orders(), ComponentRequest::Pause);

    assert!(matches!(answer, Err(RegistryError::TooManyRequests)), "{answer:?}");
    assert_eq!(take(subject, &orders()).len(), REQUESTS_MAX);
    request(subject, &orders(), ComponentRequest::Pause).expect("there is room again");
}

fn a_removed_component_is_forgotten_with_its_requests(subject: &Subject<'_>) {
    report(subject, orders());
    request(subject, &orders(), ComponentRequest::Pause).expect("it has reported");

    remove(subject, &orders());

    assert!(components(subject).is_empty());
    let answer = request(subject, &orders(), ComponentRequest::Pause);
    assert!(matches!(answer, Err(RegistryError::Unknown { .. })), "{answer:?}");
    report(subject, orders());
    assert!(take(subject, &orders()).is_empty());
}

fn removing_an_unknown_component_is_no_failure(subject: &Subject<'_>) {
    report(subject, orders());

    remove(subject, &key(ComponentKind::Relay, "unknown", 1));

    assert_eq!(components(subject).len(), 1);
}

fn the_registry_is_not_in_the_log(subject: &Subject<'_>) {
    report(subject, orders());

    assert!(subject.log().is_empty());
}
