//! The registry: reports, requests, and files that are nobody's.

use quipu_core::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus,
    PARKED_ITEMS_MAX, ParkedItem, REQUESTS_MAX, RegistryError,
};

use super::*;
use crate::io::sim::{CrashPolicy, Fault};

fn key(name: &str) -> ComponentKey {
    ComponentKey { kind: ComponentKind::Projection, name: name.to_owned(), version: 1 }
}

fn status(name: &str) -> ComponentStatus {
    ComponentStatus {
        key: key(name),
        owner: "a test".to_owned(),
        epoch: 3,
        state: ComponentState::Retrying,
        position: Position::new(40),
        lag: 2,
        last_error: Some("no route".to_owned()),
        parked_count: 1,
        parked: vec![ParkedItem {
            position: Position::new(7),
            key: "order-1".to_owned(),
            cause: "refused".to_owned(),
        }],
        reported_at: quipu_core::Timestamp::from_micros(-5),
    }
}

impl Side {
    fn report(&self, status: ComponentStatus) -> Result<(), RegistryError> {
        block_on(self.beside.registry().report(status))
    }

    fn components(&self) -> Vec<ComponentStatus> {
        block_on(self.beside.registry().components()).unwrap()
    }

    fn request(&self, name: &str, request: ComponentRequest) -> Result<(), RegistryError> {
        block_on(self.beside.registry().request(&key(name), request))
    }

    fn take(&self, name: &str) -> Vec<ComponentRequest> {
        block_on(self.beside.registry().take_requests(&key(name))).unwrap()
    }
}

#[test]
fn what_was_reported_is_listed_in_the_order_of_the_keys() {
    let side = open(&SimDisk::new(1));
    let mut of_group = status("a");
    of_group.key.kind = ComponentKind::Group;
    let mut quiet = status("a");
    quiet.last_error = None;
    quiet.parked.clear();

    for reported in [of_group.clone(), status("b"), status("a"), quiet.clone()] {
        side.report(reported).unwrap();
    }

    assert_eq!(side.components(), [quiet, status("b"), of_group]);
}

#[test]
fn only_the_first_parked_items_are_carried() {
    let side = open(&SimDisk::new(1));
    let mut crowded = status("a");
    crowded.parked = vec![crowded.parked[0].clone(); PARKED_ITEMS_MAX + 1];

    side.report(crowded).unwrap();

    assert_eq!(side.components()[0].parked.len(), PARKED_ITEMS_MAX);
}

#[test]
fn a_report_under_a_stale_epoch_is_refused() {
    let side = open(&SimDisk::new(1));
    side.report(status("a")).unwrap();

    let stale = side.report(ComponentStatus { epoch: 2, ..status("a") });

    let Err(RegistryError::StaleEpoch { epoch, current }) = stale else { panic!("{stale:?}") };
    assert_eq!((epoch, current), (2, 3));
}

#[test]
fn requests_are_taken_once_and_in_order() {
    let side = open(&SimDisk::new(1));
    side.report(status("a")).unwrap();
    side.report(status("b")).unwrap();
    let requests = [
        ComponentRequest::Pause,
        ComponentRequest::Retry(None),
        ComponentRequest::Retry(Some(Position::new(7))),
        ComponentRequest::Drop(None),
        ComponentRequest::Drop(Some(Position::new(8))),
        ComponentRequest::Promote,
        ComponentRequest::ReplayFrom(Position::new(9)),
        ComponentRequest::Resume,
    ];

    for request in requests {
        side.request("a", request).unwrap();
    }

    assert_eq!(side.take("b"), []);
    assert_eq!(side.take("a"), requests);
    assert_eq!(side.take("a"), []);
}

#[test]
fn a_reader_leaves_requests_and_sees_statuses_and_changes_nothing_else() {
    let disk = SimDisk::new(1);
    let writer = open(&disk);
    let reader = open_as(&disk, Access::ReadOnly, Lives::first(log()));
    writer.report(status("a")).unwrap();

    reader.request("a", ComponentRequest::Pause).unwrap();
    let refused = [
        reader.report(status("a")),
        block_on(reader.beside.registry().remove(&key("a"))),
        block_on(reader.beside.registry().take_requests(&key("a"))).map(drop),
    ];

    assert!(refused.iter().all(|refused| matches!(refused, Err(RegistryError::ReadOnly))));
    assert_eq!(reader.components(), [status("a")]);
    assert_eq!(writer.take("a"), [ComponentRequest::Pause]);
}

#[test]
fn nothing_is_asked_of_a_component_that_never_reported() {
    let side = open(&SimDisk::new(1));

    let asked = side.request("a", ComponentRequest::Pause);

    assert!(matches!(asked, Err(RegistryError::Unknown { .. })), "{asked:?}");
    assert_eq!(side.take("a"), []);
}

#[test]
fn so_many_requests_wait_and_no_more() {
    let side = open(&SimDisk::new(1));
    side.report(status("a")).unwrap();
    for _ in 0..REQUESTS_MAX {
        side.request("a", ComponentRequest::Pause).unwrap();
    }

    let refused = side.request("a", ComponentRequest::Resume);

    assert!(matches!(refused, Err(RegistryError::TooManyRequests)), "{refused:?}");
    assert_eq!(side.take("a").len(), REQUESTS_MAX);
    side.request("a", ComponentRequest::Resume).unwrap();
}

#[test]
fn a_removed_component_is_forgotten_with_its_requests() {
    let side = open(&SimDisk::new(1));
    side.report(status("a")).unwrap();
    side.request("a", ComponentRequest::Pause).unwrap();

    block_on(side.beside.registry().remove(&key("a"))).unwrap();
    block_on(side.beside.registry().remove(&key("a"))).unwrap();

    assert!(side.components().is_empty());
    side.report(status("a")).unwrap();
    assert_eq!(side.take("a"), []);
}

#[test]
fn names_are_any_text_and_never_paths() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    let names = ["../../etc/passwd", "/", ".", "a\\b", "Ω ", &"x".repeat(255)];

    for name in names {
        side.report(status(name)).unwrap();
        side.request(name, ComponentRequest::Pause).unwrap();
    }

    assert_eq!(side.components().len(), names.len());
    let registry = Path::new(DIR).join("registry");
    assert!(disk.files().iter().all(|path| path.parent() == Some(&registry)));
    for name in ["", "a\nb", &"x".repeat(256)] {
        let refused = side.report(status(name));
        assert!(matches!(refused, Err(RegistryError::InvalidName)), "{refused:?}");
    }
}

#[test]
fn an_acknowledged_request_survives_a_crash_and_a_taken_one_does_not_come_back() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    side.report(status("a")).unwrap();
    side.request("a", ComponentRequest::Pause).unwrap();
    let disk = disk.crash(CrashPolicy::LoseAll);
    drop(side);

    let side = open(&disk);
    side.report(status("a")).unwrap();
    assert_eq!(side.take("a"), [ComponentRequest::Pause]);
    let disk = disk.crash(CrashPolicy::LoseAll);
    drop(side);

    let side = open(&disk);
    side.report(status("a")).unwrap();
    assert_eq!(side.take("a"), []);
}

#[test]
fn a_damaged_status_counts_as_none_and_a_damaged_request_is_told_once() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    for name in ["a", "b"] {
        side.report(status(name)).unwrap();
    }
    side.request("a", ComponentRequest::Pause).unwrap();
    side.request("a", ComponentRequest::Resume).unwrap();
    let files = disk.files();
    let (requests, statuses): (Vec<_>, Vec<_>) =
        files.iter().partition(|path| path.extension().unwrap() == "request");
    disk.flip_bit(requests[0], 5, 0);

    let told = block_on(side.beside.registry().take_requests(&key("a")));
    assert!(matches!(told, Err(RegistryError::Storage(_))), "{told:?}");
    assert_eq!(side.take("a"), [ComponentRequest::Resume]);
    disk.flip_bit(statuses[0], 20, 1);
    assert_eq!(side.components().len(), 1);
}

#[test]
fn a_report_that_fails_leaves_the_one_before() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    side.report(status("a")).unwrap();
    let calls = disk.calls();
    side.report(status("a")).unwrap();
    let calls_of_a_report = disk.calls() - calls;

    for call in 1..=calls_of_a_report {
        disk.fail_at(disk.calls() + call, Fault::Full);
        let failed = side.report(ComponentStatus { lag: 99, ..status("a") });
        assert!(matches!(failed, Err(RegistryError::Storage(_))), "call {call}: {failed:?}");
        assert_eq!(side.components(), [status("a")], "call {call}");
    }
    assert_eq!(disk.files().len(), 1, "no temporary file is left");
}

#[test]
fn what_a_dead_process_left_half_written_is_removed_later() {
    let disk = SimDisk::new(1);
    let side = open(&disk);
    side.report(status("a")).unwrap();
    disk.crash_at(disk.calls() + 2);
    side.report(status("a")).unwrap_err();
    let disk = disk.process_death();
    drop(side);
    assert_eq!(disk.files().len(), 2);

    let side = open(&disk);
    side.report(status("b")).unwrap();
    assert_eq!(disk.files().len(), 3, "somebody may still be writing it");
    disk.advance(Duration::from_hours(2));
    side.report(status("c")).unwrap();

    assert_eq!(disk.files().len(), 3);
}
