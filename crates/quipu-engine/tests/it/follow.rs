//! Readers beside a writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::block_on;
use quipu_core::{
    Append, AppendError, Delivery, EventStore, ExpectedRevision, ListStreams, NewEvent, Position,
    Query, ReadAll, ReadStream, StreamName, Subscribe, SubscribeFrom, collect,
};
use quipu_engine::io::sim::SimDisk;
use quipu_engine::{Engine, OpenError, OpenOptions};

fn small() -> OpenOptions {
    OpenOptions::new().create(true).segment_size(16 << 10).run_count(64)
}

fn reader(directory: &Path) -> Engine {
    OpenOptions::new().read_only(true).run_count(64).open(directory).unwrap()
}

fn stream(number: u32) -> StreamName {
    StreamName::new(format!("order-{number}")).unwrap()
}

fn append(engine: &Engine, number: u32) {
    let event = NewEvent::json("OrderPlaced", format!("{{\"number\":{number}}}"))
        .unwrap()
        .with_tag(&format!("kind:{}", number % 7))
        .unwrap();
    let append = Append::to_stream(stream(number % 50), ExpectedRevision::Any, [event]);
    block_on(engine.append(append)).unwrap();
}

/// Every event there is, as its position and data.
fn all(engine: &Engine) -> Vec<(u64, String)> {
    block_on(async {
        let all = engine.read_all(ReadAll::new(Query::all())).await.unwrap();
        let events = collect(all.batches).await.unwrap();
        assert_eq!(events.len() as u64, all.frontier.get(), "the log is dense");
        let data = |event: &quipu_core::RecordedEvent| {
            String::from_utf8(event.data.present().unwrap().to_vec()).unwrap()
        };
        events.iter().map(|event| (event.position.get(), data(event))).collect()
    })
}

fn tagged(engine: &Engine, tag: u32) -> usize {
    let query: Query = format!("tag:kind:{tag}").parse().unwrap();
    block_on(async {
        let read = engine.read_all(ReadAll::new(query)).await.unwrap();
        collect(read.batches).await.unwrap().len()
    })
}

#[test]
fn a_reader_sees_at_once_what_a_writer_was_told_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let writer = small().open(directory.path()).unwrap();
    let reader = reader(directory.path());

    // Enough for several segments and runs.
    for number in 0..1_000 {
        append(&writer, number);
        assert_eq!(block_on(reader.frontier()).unwrap().get(), u64::from(number) + 1);
    }

    assert_eq!(all(&reader), all(&writer));
    for tag in 0..7 {
        assert_eq!(tagged(&reader, tag), tagged(&writer, tag));
    }
    let names = |engine: &Engine| {
        let list = ListStreams { limit: 1_000, ..ListStreams::default() };
        block_on(engine.list_streams(list)).unwrap()
    };
    assert_eq!(names(&reader).len(), 50);
    assert_eq!(names(&reader), names(&writer));
    let read = block_on(reader.read_stream(ReadStream::new(stream(7)))).unwrap();
    assert_eq!(block_on(collect(read.batches)).unwrap().len(), 20);
}

#[test]
fn a_reader_that_was_there_before_the_first_event_follows() {
    let directory = tempfile::tempdir().unwrap();
    let writer = small().open(directory.path()).unwrap();
    let reader = reader(directory.path());
    assert_eq!(all(&reader), []);

    append(&writer, 1);

    assert_eq!(all(&reader).len(), 1);
}

#[test]
fn a_reader_that_looked_away_catches_up_over_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    // Inline, so that nothing polls while the writer goes on.
    let writer = small().inline(true).open(directory.path()).unwrap();
    append(&writer, 0);
    let reader =
        OpenOptions::new().read_only(true).inline(true).run_count(16).open(directory.path());
    let reader = reader.unwrap();

    for number in 1..1_500 {
        append(&writer, number);
    }

    assert_eq!(all(&reader), all(&writer));
    assert_eq!(tagged(&reader, 3), tagged(&writer, 3));
}

#[test]
fn a_subscription_of_a_reader_wakes_up_for_another_opener_s_events() {
    let directory = tempfile::tempdir().unwrap();
    let writer = small().open(directory.path()).unwrap();
    append(&writer, 0);
    let reader = reader(directory.path());
    let subscribe = Subscribe::All { query: Query::all(), from: SubscribeFrom::Start };

    let seen = block_on(async {
        let mut subscription = reader.subscribe(subscribe).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 100 {
            match subscription.next().await.unwrap() {
                Delivery::Events(batch) => {
                    seen.extend(batch.iter().map(|event| event.position().get()));
                }
                Delivery::CaughtUp if seen.len() < 100 => {
                    // Only the reader's own thread can wake it up from here on.
                    let next = u32::try_from(seen.len()).unwrap();
                    append(&writer, next);
                    append(&writer, next + 1);
                }
                _ => {
                    let next = u32::try_from(seen.len()).unwrap();
                    append(&writer, next);
                }
            }
            if seen.len() < 100 && seen.len() > 1 {
                append(&writer, u32::try_from(seen.len()).unwrap());
            }
        }
        seen
    });

    let expected: Vec<u64> = (1..=seen.len() as u64).collect();
    assert_eq!(seen, expected);
}

#[test]
fn waiting_for_a_position_ends_when_the_writer_gets_there() {
    let directory = tempfile::tempdir().unwrap();
    let writer = small().open(directory.path()).unwrap();
    let reader = reader(directory.path());

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(reader.wait_visible(Position::new(5))));
        for number in 0..5 {
            append(&writer, number);
        }
        waiting.join().unwrap().unwrap();
    });

    assert_eq!(all(&reader).len(), 5);
}

#[test]
fn readers_open_while_a_writer_rolls_and_merges() {
    let directory = tempfile::tempdir().unwrap();
    let options = || small().run_count(16);
    let writer = options().open(directory.path()).unwrap();
    let is_done = AtomicBool::new(false);

    let (opened, most) = std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let mut opened = 0;
            let mut most = 0;
            while !is_done.load(Ordering::Acquire) || opened < 3 {
                let before = block_on(writer.frontier()).unwrap().get();
                let reader = reader(directory.path());
                let events = all(&reader);
                assert!(events.len() as u64 >= before, "{} of {before}", events.len());
                most = events.len();
                opened += 1;
            }
            (opened, most)
        });
        for number in 0..1_500 {
            append(&writer, number);
        }
        is_done.store(true, Ordering::Release);
        opening.join().unwrap()
    });

    assert!(opened >= 3);
    assert_eq!(most, 1_500);
}

#[test]
fn a_reader_opens_while_the_store_is_being_made() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");

        std::thread::scope(|scope| {
            let making = scope.spawn(|| {
                let writer = small().open(&path).unwrap();
                append(&writer, 0);
                writer
            });
            loop {
                match OpenOptions::new().read_only(true).open(&path) {
                    Ok(reader) => {
                        block_on(reader.wait_visible(Position::new(1))).unwrap();
                        break;
                    }
                    Err(OpenError::Missing { .. } | OpenError::NotAStore { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            drop(making.join().unwrap());
        });
    }
}

#[test]
fn a_reader_goes_on_when_the_writer_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let writer = small().open(directory.path()).unwrap();
    append(&writer, 0);
    let reader = reader(directory.path());
    assert_eq!(all(&reader).len(), 1);
    drop(writer);

    let writer = small().open(directory.path()).unwrap();
    append(&writer, 1);

    assert_eq!(all(&reader).len(), 2);
}

#[test]
fn a_reader_does_not_write() {
    let directory = tempfile::tempdir().unwrap();
    let writer = small().open(directory.path()).unwrap();
    append(&writer, 0);
    let reader = reader(directory.path());

    let event = NewEvent::json("OrderPlaced", "{}").unwrap();
    let append = Append::to_stream(stream(1), ExpectedRevision::Any, [event]);
    let refused = block_on(reader.append(append));

    assert!(matches!(refused, Err(AppendError::ReadOnly)), "{refused:?}");
}

#[test]
fn a_mark_that_the_log_does_not_bear_out_shows_nothing() {
    let disk = SimDisk::new(7);
    let path = Path::new("/store");
    let io = || Arc::new(disk.clone());
    let writer = small().inline(true).io(io()).open(path).unwrap();
    append(&writer, 0);
    append(&writer, 1);
    let reader = OpenOptions::new().read_only(true).inline(true).io(io()).open(path).unwrap();
    let before = disk.contents(Path::new("/store/watermark")).unwrap();
    append(&writer, 2);
    let after = disk.contents(Path::new("/store/watermark")).unwrap();

    // The third event's first byte is damaged before the reader comes to it.
    let offset = u64::from_le_bytes(before[16..24].try_into().unwrap());
    let segment = Path::new("/store/segments/00000001.log");
    disk.flip_bit(segment, offset + 70, 0);
    assert_eq!(block_on(reader.frontier()).unwrap().get(), 2);
    disk.flip_bit(segment, offset + 70, 0);

    // A torn mark.
    disk.flip_bit(Path::new("/store/watermark"), 3, 5);
    assert_eq!(block_on(reader.frontier()).unwrap().get(), 2);
    disk.overwrite(Path::new("/store/watermark"), 0, &before);
    assert_eq!(block_on(reader.frontier()).unwrap().get(), 2);

    disk.overwrite(Path::new("/store/watermark"), 0, &after);
    assert_eq!(all(&reader).len(), 3);
}
