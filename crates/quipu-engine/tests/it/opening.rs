//! What opening checks again after a crash, and what it can do without.

use std::path::Path;
use std::sync::Arc;

use futures_lite::future::block_on;
use quipu_core::{
    Append, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, RecordedEvent, StreamName,
    collect,
};
use quipu_engine::io::Io;
use quipu_engine::io::sim::SimDisk;
use quipu_engine::{Engine, OpenOptions, verify_with};

const RUN_COUNT: u64 = 16;
const EVENT_COUNT: u64 = 100;
const OFFSETS: &str = "/store/segments/00000001.growing";

fn open(disk: &SimDisk) -> Engine {
    let options = OpenOptions::new().create(true).run_count(16).inline(true);
    options.io(Arc::new(disk.clone())).open("/store").unwrap()
}

fn append(engine: &Engine, number: u64) {
    let stream = StreamName::new(format!("order-{}", number % 7)).unwrap();
    let event = NewEvent::json("OrderPlaced", data(number)).unwrap();
    block_on(engine.append(Append::to_stream(stream, ExpectedRevision::Any, [event]))).unwrap();
}

/// A disk whose process died after appends to one segment.
fn died() -> SimDisk {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    (0..EVENT_COUNT).for_each(|number| append(&engine, number));
    disk.process_death()
}

fn data(number: u64) -> String {
    format!("{{\"number\":{number}}}")
}

/// Whether the store has exactly the events that were appended.
fn has_all(engine: &Engine) -> bool {
    let read = block_on(engine.read_all(ReadAll::new(Query::all()))).unwrap();
    let events = block_on(collect(read.batches)).unwrap();
    let is_own = |(event, number)| {
        let event: &RecordedEvent = event;
        *event.data.present().unwrap() == data(number)
    };
    events.len() as u64 == EVENT_COUNT && events.iter().zip(0..).all(is_own)
}

/// Opens the store, which has all its events and can go on. How many events were checked again.
fn reopen(disk: &SimDisk) -> u64 {
    let engine = open(disk);
    assert_eq!(engine.recovery().event_count, EVENT_COUNT);
    assert!(has_all(&engine));
    (0..2 * RUN_COUNT).for_each(|number| append(&engine, number));
    engine.close().unwrap();
    let (io, mut damage) = (Arc::new(disk.clone()), Vec::new());
    verify_with(io, Path::new("/store"), &mut |own| damage.push(own), &mut |_| {}).unwrap();
    assert!(damage.is_empty(), "{damage:?}");
    engine.recovery().checked_count
}

#[test]
fn after_a_crash_only_what_came_after_the_last_run_is_checked_again() {
    let disk = died();

    let engine = open(&disk);

    let recovery = engine.recovery();
    assert_eq!((recovery.event_count, recovery.indexed_count), (100, 100 % RUN_COUNT));
    assert_eq!(recovery.checked_count, 100 % RUN_COUNT);
    assert!(has_all(&engine));
}

#[test]
fn what_opening_checked_the_next_opening_does_not_check_again() {
    let disk = died();
    let engine = open(&disk);
    let dies_again = disk.process_death();
    drop(engine);

    assert_eq!(open(&dies_again).recovery().checked_count, 0);
}

#[test]
fn a_reader_checks_no_more_than_a_writer() {
    let disk = died();

    let options = OpenOptions::new().read_only(true).inline(true).io(Arc::new(disk));
    let engine = options.open("/store").unwrap();

    assert_eq!(engine.recovery().checked_count, 100 % RUN_COUNT);
    assert!(has_all(&engine));
}

#[test]
fn without_the_offsets_so_far_the_segment_is_checked_as_a_whole() {
    let disk = died();
    disk.remove(Path::new(OFFSETS)).unwrap();

    assert_eq!(reopen(&disk), EVENT_COUNT);
}

#[test]
fn offsets_so_far_that_are_damaged_are_not_believed() {
    let size = died().contents(Path::new(OFFSETS)).unwrap().len() as u64;
    for offset in 0..size {
        let disk = died();
        disk.flip_bit(Path::new(OFFSETS), offset, (offset % 8) as u32);

        assert_eq!(reopen(&disk), EVENT_COUNT, "byte {offset}");
    }
}

#[test]
fn offsets_so_far_that_are_cut_short_are_not_believed() {
    let whole = died().contents(Path::new(OFFSETS)).unwrap();
    for size in 0..whole.len() as u64 {
        let disk = died();
        disk.open_writable(Path::new(OFFSETS)).unwrap().set_size(size).unwrap();

        assert_eq!(reopen(&disk), EVENT_COUNT, "{size} bytes");
    }
}

#[test]
fn offsets_so_far_of_another_log_are_not_believed() {
    let other = SimDisk::new(2);
    let engine = open(&other);
    (0..EVENT_COUNT).for_each(|number| append(&engine, number));
    let (disk, path) = (died(), Path::new(OFFSETS));
    assert_ne!(disk.contents(path), other.contents(path));
    disk.overwrite(path, 0, &other.contents(path).unwrap());

    assert_eq!(reopen(&disk), EVENT_COUNT);
}
