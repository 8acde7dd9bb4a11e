//! A real process on a real disk, killed under load.
//!
//! The child is this test binary again, told by an environment variable what to do. Its threads
//! append and say on standard output what was acknowledged; the parent kills it, opens the store
//! and holds it against what was said.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_lite::future::block_on;
use quipu_core::{
    Append, EventId, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, RecordedEvent,
    Revision, StreamName, collect,
};
use quipu_engine::OpenOptions;
use quipu_engine::io::sim::Chance;

use super::runs::run;

const CHILD: &str = "QUIPU_KILL_CHILD";
const TEST: &str = "sim::kill::what_a_process_acknowledged_before_it_was_killed_is_there";
const COUNT: u64 = 100;
/// How many processes work on one store, one after the other.
const LIVES: u64 = 10;
const THREADS: u64 = 4;
/// Events of one append: an odd count tells a part from a whole.
const EVENTS: u64 = 3;

#[test]
fn what_a_process_acknowledged_before_it_was_killed_is_there() {
    if let Some(directory) = std::env::var_os(CHILD) {
        append_until_killed(Path::new(&directory));
    }

    let mut acknowledged = 0;
    let kills = run("kill -9", "kills", COUNT, |seed| {
        acknowledged += kill_often(seed);
        LIVES
    });

    crate::sim::runs::say(&format!(
        "kill -9: {acknowledged} acknowledged appends in {kills} processes"
    ));
    assert!(acknowledged > kills, "{acknowledged}");
}

fn options() -> OpenOptions {
    OpenOptions::new().create(true).segment_size(64 << 10).run_count(256)
}

fn stream_of(thread: u64) -> StreamName {
    StreamName::new(format!("thread-{thread}")).unwrap()
}

/// The append of a thread that comes after `count` others.
fn nth_append(thread: u64, count: u64) -> Append {
    let expected = match count {
        0 => ExpectedRevision::NoStream,
        _ => ExpectedRevision::Exactly(Revision::new(count * EVENTS - 1)),
    };
    let events = (0..EVENTS).map(|index| nth_event(thread, count * EVENTS + index));
    Append::to_stream(stream_of(thread), expected, events)
}

/// All of an event follows from its place, so that the parent knows it.
fn nth_event(thread: u64, revision: u64) -> NewEvent {
    let mut chance = Chance::new(thread << 32 | revision);
    let mut id = [0; 16];
    chance.fill(&mut id);
    let mut data = vec![0; chance.below(400)];
    chance.fill(&mut data);
    let event = NewEvent::json("Counted", data).unwrap().with_id(EventId::from_bytes(id));
    event.with_tag(&format!("tag:{}", revision % 5)).unwrap()
}

/// The child: never comes back.
fn append_until_killed(directory: &Path) -> ! {
    let engine = options().open(directory).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                let info = block_on(engine.stream_info(stream_of(thread))).unwrap();
                for count in info.count / EVENTS.. {
                    let appended = block_on(engine.append(nth_append(thread, count))).unwrap();
                    let last = appended.last.unwrap();
                    let mut output = std::io::stdout().lock();
                    writeln!(output, "\nacknowledged {thread} {count} {last}").unwrap();
                    output.flush().unwrap();
                }
            });
        }
    });
    unreachable!("the threads append for ever")
}

/// Some processes on one store, one after the other. How many appends they acknowledged.
fn kill_often(seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, (u64, u64)> = HashMap::new();
    let mut total = 0;
    for _ in 0..LIVES {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // So many lines are read before the kill; more may have been written by then.
        let patience = 1 + chance.below(60);
        for (thread, count, position) in acknowledgements(child, patience) {
            let before = acknowledged.insert(thread, (count, position));
            assert!(before.is_none_or(|(before, _)| before < count), "appends come in order");
            total += 1;
        }
        hold_against(directory.path(), &acknowledged);
    }
    total
}

/// Reads what a child acknowledges, kills it, and reads what it had acknowledged by then.
fn acknowledgements(mut child: Child, patience: usize) -> Vec<(u64, u64, u64)> {
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut found = Vec::new();
    for line in output.split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        let mut words = line.split(' ');
        if words.next() != Some("acknowledged") {
            continue;
        }
        // The last line may be cut short by the kill.
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        if let [thread, count, position] = numbers[..] {
            found.push((thread, count, position));
        }
        if found.len() == patience {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && found.len() >= patience, "the child ended by itself: {status}");
    found
}

/// Opens the store and looks for everything that was acknowledged, and for nothing half done.
fn hold_against(directory: &Path, acknowledged: &HashMap<u64, (u64, u64)>) {
    let engine = options().open(directory).unwrap();
    let all = block_on(engine.read_all(ReadAll::new(Query::all()))).unwrap();
    let events = block_on(collect(all.batches)).unwrap();
    let positions: Vec<u64> = events.iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, (1..=events.len() as u64).collect::<Vec<_>>(), "positions are dense");
    for thread in 0..THREADS {
        let stream = stream_of(thread);
        let own: Vec<&RecordedEvent> = events.iter().filter(|it| it.stream == stream).collect();
        for (revision, event) in own.iter().enumerate() {
            let should = nth_event(thread, revision as u64);
            assert_eq!(event.revision.get(), revision as u64);
            assert_eq!((event.id, event.data.present().unwrap()), (should.id, &should.data));
        }
        assert!((own.len() as u64).is_multiple_of(EVENTS), "no part of an append");
        let Some((count, position)) = acknowledged.get(&thread) else { continue };
        let last = own.get((count * EVENTS + EVENTS - 1) as usize);
        let last = last.unwrap_or_else(|| panic!("append {count} of thread {thread} is lost"));
        // A kill may cut the last digits of the last line off; then this finds another number.
        assert!(last.position.get().to_string().starts_with(&position.to_string()));
        assert!(own.len() as u64 <= (count + 3) * EVENTS, "one append at a time was under way");
    }
}
