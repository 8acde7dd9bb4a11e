//! Many writers and readers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::append::{Append, AppendError, ExpectedRevision};
use crate::checkpoint::{Checkpoint, SwapCheckpoint};
use crate::event::{EventId, RecordedEvent};
use crate::place::Position;
use crate::query::Query;
use crate::read::{ReadAll, ReadStream};
use crate::subscription::SubscribeFrom;

use super::random::{Random, seed};
use super::subject::{
    Subject, event, exactly, name, positions_of, query, revision, revisions_of, tagged,
};

cases!(
    "races",
    one_of_many_writers_begins_a_stream,
    one_of_many_writers_appends_at_a_revision,
    one_of_many_writers_passes_a_condition,
    one_of_many_claims_of_a_username_wins,
    writers_on_different_boundaries_all_pass,
    writers_without_a_check_all_pass,
    retries_at_once_append_once,
    invoice_numbers_have_no_gap_under_contention,
    a_counter_at_a_revision_loses_no_update,
    a_limit_across_streams_is_kept_under_contention,
    a_batch_over_two_streams_is_seen_whole_or_not_at_all,
    nothing_appears_below_a_frontier_under_load,
    readers_miss_nothing_while_some_appends_come_to_nothing,
    a_writer_sees_its_own_append_under_load,
    one_of_many_takes_a_lease,
    one_of_many_moves_a_checkpoint,
    a_tombstone_and_appends_leave_one_order,
);

const WRITERS: usize = 32;

/// Whether an append passed. Anything but success and conflict fails the case.
fn passed(answer: Result<crate::Appended, AppendError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(AppendError::Conflict { .. }) => false,
        Err(other) => panic!("a conflict was expected, got {other:?}"),
    }
}

fn count_passed(answers: &[bool]) -> usize {
    answers.iter().filter(|it| **it).count()
}

fn one_of_many_writers_begins_a_stream(subject: &Subject<'_>) {
    let answers = subject.race(WRITERS, |_| {
        let append = Append::to_stream(name("a-1"), ExpectedRevision::NoStream, [event("A")]);
        passed(subject.try_append(append))
    });

    assert_eq!(count_passed(&answers), 1);
    assert_eq!(subject.types("a-1"), ["A"]);
}

fn one_of_many_writers_appends_at_a_revision(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    let answers = subject.race(WRITERS, |_| {
        passed(subject.try_append(Append::to_stream(name("a-1"), exactly(1), [event("C")])))
    });

    assert_eq!(count_passed(&answers), 1);
    assert_eq!(subject.types("a-1"), ["A", "B", "C"]);
}

fn one_of_many_writers_passes_a_condition(subject: &Subject<'_>) {
    subject.add_tagged("seed-1", "Seed", &["boundary:1"]);
    let frontier = subject.frontier();

    let answers = subject.race(WRITERS, |index| {
        let append = Append::new()
            .event(name(&format!("a-{index}")), tagged("A", &["boundary:1"]))
            .fail_if(query("tag:boundary:1"), Some(frontier));
        passed(subject.try_append(append))
    });

    assert_eq!(count_passed(&answers), 1);
    assert_eq!(subject.matching(query("type:A")).len(), 1);
}

fn one_of_many_claims_of_a_username_wins(subject: &Subject<'_>) {
    let answers = subject.race(WRITERS, |index| {
        let claim = query("type:Claimed tag:username:ada");
        let (frontier, events) = subject.read_all_with_frontier(ReadAll::new(claim.clone()));
        let append = Append::new()
            .event(name(&format!("user-{index}")), tagged("Claimed", &["username:ada"]))
            .fail_if(claim, Some(frontier));
        events.is_empty() && passed(subject.try_append(append))
    });

    assert_eq!(count_passed(&answers), 1);
    assert_eq!(subject.matching(query("type:Claimed")).len(), 1);
}

fn writers_on_different_boundaries_all_pass(subject: &Subject<'_>) {
    let answers = subject.race(WRITERS, |index| {
        let tag = format!("boundary:{index}");
        let append = Append::new()
            .event(name("shared-1"), tagged("A", &[&tag]))
            .fail_if(query(&format!("tag:{tag}")), None);
        passed(subject.try_append(append))
    });

    assert_eq!(count_passed(&answers), WRITERS);
    assert_eq!(subject.types("shared-1").len(), WRITERS);
}

fn writers_without_a_check_all_pass(subject: &Subject<'_>) {
    subject.race(WRITERS, |index| {
        for _ in 0..10 {
            subject.add(&format!("a-{}", index % 4), &["T", "U"]);
        }
    });

    let log = subject.read_all(ReadAll::new(Query::all()));
    assert_eq!(log.len(), WRITERS * 20);
    assert!(log.is_sorted_by(|earlier, later| earlier.position < later.position));
    for stream in ["a-0", "a-1", "a-2", "a-3"] {
        let events = subject.read(ReadStream::new(name(stream)));
        assert_eq!(revisions_of(&events), (0..WRITERS as u64 * 5).collect::<Vec<u64>>());
        assert!(events.is_sorted_by_key(|it| it.position));
    }
}

fn retries_at_once_append_once(subject: &Subject<'_>) {
    let append = Append::new().event(name("a-1"), event("A")).event(name("a-1"), event("B"));

    let answers = subject.race(WRITERS, |_| {
        subject.append(Append { events: append.events.clone(), ..append.clone() })
    });

    assert_eq!(subject.types("a-1"), ["A", "B"]);
    assert_eq!(answers.iter().filter(|it| !it.replayed).count(), 1);
    assert!(answers.iter().all(|it| it.streams == answers.first().expect("some").streams));
}

/// Decides again until nobody was in between. Somebody passes each time, so that it ends.
fn until_passed<T>(attempt: impl FnMut() -> Option<T>) -> T {
    let mut attempts = std::iter::repeat_with(attempt).take(10_000);
    attempts.find_map(|it| it).expect("one of the attempts at a time passes")
}

/// Tells readers that the writer is done, also when it fails.
struct TellDone<'a>(&'a AtomicBool);

impl Drop for TellDone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn invoice_numbers_have_no_gap_under_contention(subject: &Subject<'_>) {
    let invoices = query("type:InvoiceCreated");

    let numbers = subject.race(8, |_| {
        let create = || {
            let read = ReadAll::new(invoices.clone());
            let (frontier, events) = subject.read_all_with_frontier(read);
            let number = events.len() + 1;
            let append = Append::new()
                .event(name(&format!("invoice-{number}")), event("InvoiceCreated"))
                .fail_if(invoices.clone(), Some(frontier));
            passed(subject.try_append(append)).then_some(number)
        };
        (0..5).map(|_| until_passed(create)).collect::<Vec<usize>>()
    });

    let mut numbers = numbers.concat();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<usize>>());
}

fn a_counter_at_a_revision_loses_no_update(subject: &Subject<'_>) {
    subject.add("counter-1", &["Started"]);

    subject.race(8, |_| {
        for _ in 0..5 {
            until_passed(|| {
                let last = subject.state("counter-1").last().expect("it was started");
                let expected = ExpectedRevision::Exactly(last);
                let append = Append::to_stream(name("counter-1"), expected, [event("Counted")]);
                passed(subject.try_append(append)).then_some(())
            });
        }
    });

    assert_eq!(subject.state("counter-1").last(), Some(revision(40)));
}

fn a_limit_across_streams_is_kept_under_contention(subject: &Subject<'_>) {
    const PLACES: usize = 10;
    let of_course = query("type:Subscribed tag:course:c1");

    let answers = subject.race(WRITERS, |index| {
        until_passed(|| {
            let read = ReadAll::new(of_course.clone());
            let (frontier, events) = subject.read_all_with_frontier(read);
            if events.len() >= PLACES {
                return Some(false);
            }
            let append = Append::new()
                .event(name(&format!("student-{index}")), tagged("Subscribed", &["course:c1"]))
                .fail_if(of_course.clone(), Some(frontier));
            passed(subject.try_append(append)).then_some(true)
        })
    });

    assert_eq!(count_passed(&answers), PLACES);
    assert_eq!(subject.matching(of_course).len(), PLACES);
}

fn a_batch_over_two_streams_is_seen_whole_or_not_at_all(subject: &Subject<'_>) {
    let is_done = AtomicBool::new(false);

    subject.race(3, |index| {
        if index == 0 {
            let _tell = TellDone(&is_done);
            for _ in 0..200 {
                let append = Append::new()
                    .event(name("left-1"), event("Half"))
                    .event(name("right-1"), event("Half"));
                subject.append(append);
            }
            return;
        }
        while !is_done.load(Ordering::SeqCst) {
            let count = subject.matching(query("type:Half")).len();
            assert!(count.is_multiple_of(2), "{count} halves were seen");
        }
    });

    assert_eq!(subject.types("left-1").len(), 200);
    assert_eq!(subject.types("right-1").len(), 200);
}

fn nothing_appears_below_a_frontier_under_load(subject: &Subject<'_>) {
    let is_done = AtomicBool::new(false);

    let seen = subject.race(6, |index| {
        let mut seen: Vec<(Position, Vec<Position>)> = Vec::new();
        if index < 4 {
            let _tell = TellDone(&is_done);
            for _ in 0..50 {
                subject.add(&format!("a-{index}"), &["T", "U"]);
            }
            return seen;
        }
        while !is_done.load(Ordering::SeqCst) && seen.len() < 50 {
            let read = ReadAll::new(Query::all());
            let (frontier, events) = subject.read_all_with_frontier(read);
            seen.push((frontier, positions_of(&events)));
        }
        seen
    });

    let log = positions_of(&subject.read_all(ReadAll::new(Query::all())));
    assert_eq!(log.len(), 400);
    for (frontier, positions) in seen.concat() {
        let below: Vec<Position> = log.iter().copied().filter(|it| *it <= frontier).collect();
        assert_eq!(positions, below);
    }
}

/// What somebody did in the race below.
enum Raced {
    /// The ids of what was acknowledged.
    Wrote(Vec<EventId>),
    /// What a reader saw, in the order in which it saw it.
    Saw(&'static str, Vec<RecordedEvent>),
}

const RACING_WRITERS: usize = 8;

/// Positions are given out before it is certain that something will be there. 8 writers append several
/// events at a time to 20 shared streams; some of that is refused, or rolled back where a store takes
/// part in transactions. Readers that go on from the last place they know miss nothing, see nothing
/// twice, nothing out of order, and nothing that was refused.
fn readers_miss_nothing_while_some_appends_come_to_nothing(subject: &Subject<'_>) {
    let seed = seed();
    let before = subject.read_all_with_frontier(ReadAll::new(Query::all())).0;
    let (writing, is_over) = (AtomicUsize::new(RACING_WRITERS), AtomicBool::new(false));

    let raced = subject.race(RACING_WRITERS + 4, |index| {
        let raced = || query("tag:race type:Raced,Over");
        match index.checked_sub(RACING_WRITERS) {
            None => {
                let seed = seed.wrapping_add(index as u64);
                Raced::Wrote(write_some(subject, &writing, &is_over, seed))
            }
            Some(0) => Raced::Saw("a subscription", follow_to_the_end(subject, Query::all())),
            Some(1) => Raced::Saw("a query's subscription", follow_to_the_end(subject, raced())),
            Some(2) => {
                Raced::Saw("reads", page_to_the_end(subject, &Query::all(), before, &is_over))
            }
            Some(_) => {
                Raced::Saw("a query's reads", page_to_the_end(subject, &raced(), before, &is_over))
            }
        }
    });

    let mut written = BTreeSet::new();
    for raced in &raced {
        if let Raced::Wrote(ids) = raced {
            written.extend(ids.iter().copied());
        }
    }
    for raced in &raced {
        if let Raced::Saw(who, events) = raced {
            assert_eq!(faults(events, &written), Faults::default(), "{who}, seed {seed}");
        }
    }
}

/// Appends a while. The last one to do so says when it is over.
fn write_some(
    subject: &Subject<'_>,
    writing: &AtomicUsize,
    is_over: &AtomicBool,
    seed: u64,
) -> Vec<EventId> {
    let mut random = Random::new(seed);
    let mut written = Vec::new();
    for _ in 0..30 {
        // In one order, so that transactions do not wait for each other in circles.
        let left = some_events(&mut random, "race-left");
        let right = some_events(&mut random, "race-right");
        let ids = |append: &Append| append.events.iter().map(|(_, it)| it.id).collect::<Vec<_>>();
        let comes_to_nothing = random.once_in(5);
        let transacted = random
            .once_in(2)
            .then(|| subject.transact(vec![left.clone(), right.clone()], !comes_to_nothing));
        if let Some(is_committed) = transacted.flatten() {
            let both = [ids(&left), ids(&right)].concat();
            written.extend(both.into_iter().filter(|_| is_committed));
            continue;
        }
        let mut append = left;
        if random.once_in(2) {
            append.events.extend(right.events);
        }
        let own = ids(&append);
        if comes_to_nothing {
            append = refused(append, &mut random);
        }
        if passed(subject.try_append(append)) {
            written.extend(own);
        }
    }
    if writing.fetch_sub(1, Ordering::SeqCst) == 1 {
        let over = tagged("Over", &["race"]);
        written.push(over.id);
        let _tell = TellDone(is_over);
        subject.append(Append::new().event(name("over-1"), over));
    }
    written
}

/// One to three events to one of ten streams.
fn some_events(random: &mut Random, category: &str) -> Append {
    let stream = name(&format!("{category}-{}", random.below(10)));
    (0..=random.below(3))
        .fold(Append::new(), |append, _| append.event(stream.clone(), tagged("Raced", &["race"])))
}

/// The same with a demand that does not hold, on its last stream or on the log.
fn refused(append: Append, random: &mut Random) -> Append {
    let last = append.events.last().map(|(stream, _)| stream.clone());
    match last.filter(|_| random.once_in(2)) {
        Some(last) => append.expect(last, exactly(1_000_000)),
        None => append.expect(name("never-1"), ExpectedRevision::StreamExists),
    }
}

fn follow_to_the_end(subject: &Subject<'_>, query: Query) -> Vec<RecordedEvent> {
    let mut following = subject.follow(query, SubscribeFrom::Start);
    let mut events: Vec<RecordedEvent> = Vec::new();
    while events.last().is_none_or(|last| last.event_type.as_str() != "Over") {
        events.extend(following.events(1));
    }
    events
}

/// Reads on from the frontier of the read before. The last read begins when all is acknowledged.
fn page_to_the_end(
    subject: &Subject<'_>,
    query: &Query,
    from: Position,
    is_over: &AtomicBool,
) -> Vec<RecordedEvent> {
    let mut after = from;
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let is_last = is_over.load(Ordering::SeqCst);
        let read = ReadAll::new(query.clone()).from(after.next());
        let (frontier, page) = subject.read_all_with_frontier(read);
        after = frontier.max(after);
        events.extend(page);
        if is_last {
            return events;
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Faults {
    missed: usize,
    invented: usize,
    twice: usize,
    out_of_order: usize,
}

fn faults(seen: &[RecordedEvent], written: &BTreeSet<EventId>) -> Faults {
    let ids: BTreeSet<EventId> = seen.iter().map(|event| event.id).collect();
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut last, mut out_of_order) = (Position::START, 0);
    for event in seen {
        let revision = next.entry(event.stream.as_str()).or_default();
        let is_next = event.position > last && event.revision.get() == *revision;
        out_of_order += usize::from(!is_next);
        *revision = event.revision.get() + 1;
        last = event.position;
    }
    Faults {
        missed: written.difference(&ids).count(),
        invented: ids.difference(written).count(),
        twice: seen.len() - ids.len(),
        out_of_order,
    }
}

fn a_writer_sees_its_own_append_under_load(subject: &Subject<'_>) {
    subject.race(8, |index| {
        let stream = format!("a-{index}");
        for number in 0..25 {
            let append = Append::new().event(name(&stream), event("T"));
            subject.wait(subject.store().append(append)).expect("the append succeeds");
            assert_eq!(subject.state(&stream).last(), Some(revision(number)));
        }
    });

    assert_eq!(subject.types("a-7").len(), 25);
}

fn one_of_many_takes_a_lease(subject: &Subject<'_>) {
    let ttl = Duration::from_hours(1);

    let epochs = subject.race(WRITERS, |index| {
        let store = subject.store();
        let owner = format!("owner {index}");
        let lease = subject.wait(store.leases().acquire("work", &owner, ttl));
        lease.ok().map(|lease| lease.epoch)
    });

    assert_eq!(epochs.iter().flatten().count(), 1);
}

fn one_of_many_moves_a_checkpoint(subject: &Subject<'_>) {
    let position = subject.add("a-1", &["A"]).last.expect("it has a place");

    let moved = subject.race(WRITERS, |_| {
        let store = subject.store();
        let new = Checkpoint::new(position, &store.identity());
        let swap = SwapCheckpoint { name: "consumer".to_owned(), epoch: 0, old: None, new };
        subject.wait(store.checkpoints().swap(swap)).is_ok()
    });

    assert_eq!(count_passed(&moved), 1);
}

fn a_tombstone_and_appends_leave_one_order(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    let answers = subject.race(8, |index| {
        if index == 0 {
            let ended = subject.store();
            let ended = ended.tombstone(name("a-1"), ExpectedRevision::Any);
            return passed(subject.settle(subject.wait(ended)));
        }
        passed(subject.try_append(Append::new().event(name("a-1"), event("B"))))
    });

    let log = subject.matching(query("stream:a-1"));
    assert_eq!(log.len(), 1 + count_passed(&answers));
    assert_eq!(log.last().map(String::as_str), Some("$streamDeleted"));
}
