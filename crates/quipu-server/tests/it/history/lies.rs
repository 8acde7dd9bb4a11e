//! The checker finds every lie that it is there for. An honest history, of the store in memory, is made
//! to lie in one place; what is found must be there only then.

use std::collections::HashSet;
use std::sync::Arc;

use quipu_core::MemoryStore;
use tokio::runtime::Runtime;

use super::check::{Promise, violations};
use super::drive::{Driver, Source};
use super::record::{Attempt, Call, Demand, Entry, History, Kind, Outcome};

/// An honest history with something of everything.
fn honest() -> History {
    let runtime = Runtime::new().unwrap();
    let store = MemoryStore::new();
    let source = Source::default();
    let driver = Driver::start(&runtime, &source, super::seed());
    source.serve(vec![Arc::new(store.clone())]);
    let is_long =
        || runtime.block_on(quipu_core::EventStore::frontier(&store)).unwrap().get() > 1_500;
    while !is_long() {
        std::thread::yield_now();
    }
    runtime.block_on(driver.end(&store))
}

/// Changes the first call that the lie fits; `false` where none does.
fn change(history: &mut History, lie: impl FnMut(&mut Call) -> bool) -> bool {
    // Late ones: what came before them is known.
    history.calls.iter_mut().rev().skip(20).any(lie)
}

fn renumber(history: &mut History) {
    for (at, entry) in history.log.iter_mut().enumerate() {
        entry.position = at as u64 + 1;
    }
}

/// The place in the log of an append that was done and that fits.
fn done(history: &History, fits: impl Fn(&Attempt, &Call) -> bool) -> Option<usize> {
    history.calls.iter().rev().skip(20).find_map(|call| match &call.kind {
        Kind::Append(attempt, Outcome::Done { first, replayed: false, .. })
            if fits(attempt, call) =>
        {
            Some(*first as usize - 1)
        }
        _ => None,
    })
}

type Lie = (&'static str, fn(&mut History) -> bool);

/// How many of the lies would be none of nodes before a database: a gap, and whoever reads of the log less
/// than another was told.
const NODES_MAY: usize = 5;

const LIES: &[Lie] = &[
    ("the last event is lost", |own| own.log.pop().is_some()),
    ("an acknowledged event is lost and the others close the gap", |own| {
        let Some(at) = done(own, |_, _| true) else { return false };
        own.log.remove(at);
        renumber(own);
        true
    }),
    ("two events change places", |own| {
        let at = own.log.len() / 2;
        let (here, there) = (own.log[at].clone(), own.log[at + 1].clone());
        own.log[at] = Entry { position: here.position, ..there };
        own.log[at + 1] = Entry { position: here.position + 1, ..here };
        true
    }),
    ("an event is in the log twice", |own| {
        let (again, last) = (own.log[5].clone(), own.log.last().unwrap().clone());
        let revision = own.log.iter().filter(|it| it.stream == again.stream).count() as u64;
        own.log.push(Entry { position: last.position + 1, revision, ..again });
        true
    }),
    ("an event is in the log that nobody appended", |own| {
        let position = own.log.len() as u64 + 1;
        let (stream, tag) = ("s-new".to_owned(), None);
        own.log.push(Entry { position, stream, revision: 0, id: 4711, tag });
        true
    }),
    ("a position is left out", |own| {
        own.log.iter_mut().skip(700).for_each(|entry| entry.position += 1);
        true
    }),
    ("a revision is left out", |own| {
        let stream = own.log[700].stream.clone();
        let later = own.log.iter_mut().skip(700).filter(|entry| entry.stream == stream);
        later.map(|entry| entry.revision += 1).count() > 0
    }),
    ("half of an append is there, whose answer nobody heard", |own| {
        let Some(at) = done(own, |attempt, _| attempt.ids.len() > 1) else { return false };
        let id = own.log[at].id;
        for call in &mut own.calls {
            if let Kind::Append(attempt, outcome) = &mut call.kind
                && attempt.ids[0] == id
            {
                *outcome = Outcome::Unknown;
            }
        }
        own.log.remove(at + 1);
        renumber(own);
        true
    }),
    ("an answer names another position", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(_, Outcome::Done { first, .. }) => {
                *first += 1;
                true
            }
            _ => false,
        })
    }),
    ("an answer names another revision", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(_, Outcome::Done { revision, .. }) => {
                *revision += 1;
                true
            }
            _ => false,
        })
    }),
    ("an append gets a place before one that was acknowledged when it began", |own| {
        // Its call is moved to the end of time, its event stays where it was.
        let end = own.calls.iter().map(|call| call.ended).max().unwrap();
        let mut moved = HashSet::new();
        let is_changed = change(own, |call| match &call.kind {
            Kind::Append(attempt, Outcome::Done { replayed: false, .. }) => {
                (call.began, call.ended) = (end + 1, end + 2);
                moved.insert(attempt.ids[0]);
                true
            }
            _ => false,
        });
        own.calls.retain(|call| match &call.kind {
            Kind::Append(attempt, _) => call.began > end || !moved.contains(&attempt.ids[0]),
            _ => true,
        });
        is_changed
    }),
    ("a conflict is in the log all the same", |own| {
        let Some(at) = done(own, |_, _| true) else { return false };
        let id = own.log[at].id;
        for call in &mut own.calls {
            if let Kind::Append(attempt, outcome) = &mut call.kind
                && attempt.ids[0] == id
            {
                *outcome = Outcome::Conflict;
            }
        }
        true
    }),
    ("what was refused is in the log all the same", |own| {
        let Some(at) = done(own, |_, _| true) else { return false };
        let id = own.log[at].id;
        for call in &mut own.calls {
            if let Kind::Append(attempt, outcome) = &mut call.kind
                && attempt.ids[0] == id
            {
                *outcome = Outcome::Refused;
            }
        }
        true
    }),
    ("the expected revision is not looked at", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(attempt, Outcome::Done { replayed: false, .. }) => {
                match &mut attempt.demand {
                    Demand::Exactly(revision) => {
                        *revision += 1;
                        true
                    }
                    _ => false,
                }
            }
            _ => false,
        })
    }),
    ("a stream that is to be new is not", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(attempt, Outcome::Done { replayed: false, revision: 1.., .. }) => {
                attempt.demand = Demand::NoStream;
                true
            }
            _ => false,
        })
    }),
    ("an append condition is not looked at", |own| {
        let tags: Vec<_> = own.log.iter().take(100).filter_map(|own| own.tag.clone()).collect();
        change(own, |call| match &mut call.kind {
            Kind::Append(attempt, Outcome::Done { replayed: false, .. }) => {
                attempt.demand = Demand::NoTag(tags[0].clone(), 0);
                true
            }
            _ => false,
        })
    }),
    ("a conflict has no reason", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(attempt, Outcome::Conflict) => {
                attempt.demand = Demand::NoTag("t:none".to_owned(), 0);
                true
            }
            _ => false,
        })
    }),
    ("a demand of nothing is a conflict", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(attempt, Outcome::Conflict) => {
                attempt.demand = Demand::Nothing;
                true
            }
            _ => false,
        })
    }),
    ("a replay is answered with another place", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(_, Outcome::Done { first, replayed: true, .. }) => {
                *first += 2;
                true
            }
            _ => false,
        })
    }),
    ("a replay is not said to be one", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Append(_, Outcome::Done { replayed: replayed @ true, .. }) => {
                *replayed = false;
                true
            }
            _ => false,
        })
    }),
    ("what was never asked for before is said to be a replay", |own| {
        let mut seen: HashSet<u128> = HashSet::new();
        own.calls.sort_by_key(|call| call.began);
        own.calls.iter_mut().skip(50).any(|call| match &mut call.kind {
            Kind::Append(attempt, Outcome::Done { replayed: replayed @ false, .. })
                if seen.insert(attempt.ids[0]) =>
            {
                *replayed = true;
                true
            }
            _ => false,
        })
    }),
    ("a client sees the log become shorter", |own| {
        let last = own.calls.iter().map(|call| call.ended).max().unwrap();
        let call = |began, frontier| Call {
            client: 0,
            began,
            ended: began + 1,
            kind: Kind::Frontier(frontier),
        };
        let frontier = own.log.len() as u64;
        // Both ends of it are honest by themselves, of a call that lasted from the start.
        let mut first = call(last + 1, frontier);
        first.began = last;
        let second = Call { ended: last + 9, ..call(last + 3, frontier - 1) };
        own.calls.extend([first, second]);
        true
    }),
    ("a frontier is behind what was acknowledged", |own| {
        change(own, |call| match &mut call.kind {
            Kind::Frontier(frontier) => {
                *frontier = 0;
                true
            }
            _ => false,
        })
    }),
    ("a frontier is beyond what anybody asked for", |own| {
        let end = own.log.len() as u64 + 1;
        change(own, |call| match &mut call.kind {
            Kind::Frontier(frontier) => {
                *frontier = end;
                true
            }
            _ => false,
        })
    }),
    ("an event is seen that is not in the log later", |own| {
        change(own, |call| match &mut call.kind {
            Kind::ReadAll { events, .. } if !events.is_empty() => {
                events[0].1 ^= 1;
                true
            }
            _ => false,
        })
    }),
    ("a read leaves an event out", |own| {
        change(own, |call| match &mut call.kind {
            Kind::ReadAll { events, .. } if events.len() > 2 => {
                events.remove(1);
                true
            }
            _ => false,
        })
    }),
    ("a read of a stream lacks what was acknowledged", |own| {
        change(own, |call| match &mut call.kind {
            Kind::ReadStream { events, .. } if events.len() > 20 => {
                events.clear();
                true
            }
            _ => false,
        })
    }),
    ("a read of a stream leaves an event out", |own| {
        change(own, |call| match &mut call.kind {
            Kind::ReadStream { events, .. } if events.len() > 3 => {
                events.remove(1);
                true
            }
            _ => false,
        })
    }),
    ("a read of a stream has what nobody had asked for yet", |own| {
        let log = own.log.clone();
        own.calls.iter_mut().any(|call| match &mut call.kind {
            Kind::ReadStream { stream, events } => {
                let all = log.iter().filter(|own| own.stream == *stream);
                *events = all.map(|own| (own.revision, own.position, own.id)).collect();
                true
            }
            _ => false,
        })
    }),
    ("a subscription leaves an event out", |own| {
        change_deliveries(own, |events| {
            events.remove(10);
        })
    }),
    ("a subscription delivers an event twice", |own| {
        change_deliveries(own, |events| events.insert(10, events[9]))
    }),
    ("a subscription delivers in another order", |own| {
        change_deliveries(own, |events| events.swap(10, 11))
    }),
    ("a subscription delivers what is not in the log later", |own| {
        change_deliveries(own, |events| events[10].1 ^= 1)
    }),
    ("a subscription begins too late", |own| {
        change_deliveries(own, |events| {
            events.remove(0);
        })
    }),
];

fn change_deliveries(history: &mut History, lie: fn(&mut Vec<(u64, u128)>)) -> bool {
    history.calls.iter_mut().any(|call| match &mut call.kind {
        Kind::Deliveries { events, .. } if events.len() > 20 => {
            lie(events);
            true
        }
        _ => false,
    })
}

#[test]
fn an_honest_history_has_no_violations_and_every_lie_is_one() {
    let honest = honest();
    assert_eq!(violations(&honest, Promise::Strict), Vec::<String>::new(), "{}", honest.summary());

    for (name, lie) in LIES {
        let mut history = honest.clone();
        assert!(lie(&mut history), "there is nothing to lie about: {name}: {}", honest.summary());
        assert!(!violations(&history, Promise::Strict).is_empty(), "nobody noticed: {name}");
    }
    // Of nodes less is promised: no order of what they show, and no positions without gaps.
    assert_eq!(violations(&honest, Promise::Nodes), Vec::<String>::new());
    let unnoticed: Vec<&str> = LIES
        .iter()
        .filter(|(_, lie)| {
            let mut history = honest.clone();
            lie(&mut history);
            violations(&history, Promise::Nodes).is_empty()
        })
        .map(|(name, _)| *name)
        .collect();
    eprintln!("nodes may: {unnoticed:?}");
    assert!(unnoticed.len() <= NODES_MAY, "{unnoticed:?}");
    eprintln!("{} lies found in a history of {}", LIES.len(), honest.summary());
    assert!(LIES.len() >= 15);
}
