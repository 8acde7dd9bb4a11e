//! What a first program does with the engine.

use futures_lite::future::block_on;
use quipu_core::{
    Append, AppendError, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, ReadStream,
    Revision, StreamName, StreamState, collect,
};
use quipu_engine::OpenOptions;

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn placed(number: u32) -> NewEvent {
    let tag = format!("order:{}", number % 7);
    NewEvent::json("OrderPlaced", format!("{{\"number\":{number}}}"))
        .unwrap()
        .with_tag(&tag)
        .unwrap()
}

#[test]
fn events_are_there_after_closing_and_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = || OpenOptions::new().create(true).segment_size(16 << 10).run_count(64);

    let engine = options().open(directory.path()).unwrap();
    for number in 0..500 {
        let name = stream(&format!("order-{}", number % 50));
        let append = Append::to_stream(name, ExpectedRevision::Any, [placed(number)]);
        block_on(engine.append(append)).unwrap();
    }
    drop(engine);
    let engine = options().open(directory.path()).unwrap();

    assert_eq!(engine.recovery().event_count, 500);
    block_on(async {
        let all = engine.read_all(ReadAll::new(Query::all())).await.unwrap();
        assert_eq!(all.frontier.get(), 500);
        let events = collect(all.batches).await.unwrap();
        assert_eq!(events.len(), 500);
        assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
        let read = engine.read_stream(ReadStream::new(stream("order-7"))).await.unwrap();
        assert_eq!(read.state, StreamState::Live { last: Revision::new(9) });
        let events = collect(read.batches).await.unwrap();
        assert_eq!(events.len(), 10);
        assert_eq!(events[3].data.present().unwrap(), "{\"number\":157}");
        let tagged = engine.read_all(ReadAll::new("tag:order:3".parse().unwrap())).await.unwrap();
        assert_eq!(collect(tagged.batches).await.unwrap().len(), 71);
    });
}

#[test]
fn a_stream_that_moved_on_is_a_conflict() {
    let directory = tempfile::tempdir().unwrap();
    let engine = OpenOptions::new().create(true).open(directory.path()).unwrap();
    let append =
        |number| Append::to_stream(stream("order-1"), ExpectedRevision::NoStream, [placed(number)]);
    block_on(engine.append(append(1))).unwrap();

    let late = block_on(engine.append(append(2)));

    assert!(matches!(late, Err(AppendError::Conflict { .. })), "{late:?}");
}

/// Who waits for several things at once drops the futures of those that were not first.
#[test]
fn a_future_of_the_next_batch_that_is_dropped_loses_no_events() {
    let directory = tempfile::tempdir().unwrap();
    let engine = OpenOptions::new().create(true).open(directory.path()).unwrap();
    let append = Append::to_stream(stream("order-1"), ExpectedRevision::Any, (0..3).map(placed));
    block_on(engine.append(append)).unwrap();

    let reads = block_on(async {
        let log = engine.read_all(ReadAll::new(Query::all())).await.unwrap().batches;
        let query = ReadAll::new("tag:order:1".parse().unwrap());
        let found = engine.read_all(query).await.unwrap().batches;
        let of_stream = engine.read_stream(ReadStream::new(stream("order-1"))).await.unwrap();
        [(log, 3), (found, 1), (of_stream.batches, 3)]
    });
    for (mut batches, count) in reads {
        drop(batches.next());

        assert_eq!(block_on(collect(batches)).unwrap().len(), count);
    }
}
