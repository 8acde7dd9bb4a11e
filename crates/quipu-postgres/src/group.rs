//! Appends that go together: while some are being written, those that come meanwhile wait, and then
//! go in one statement. One commit serves them all.
//!
//! A statement costs far more than what one append more adds to it. So another is begun beside one
//! only where enough waits, or where that one takes long: it may wait for a lock, or for a slow disk.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_core::{Append, Appended, StreamName};
use tokio::sync::oneshot;

use crate::append::{Trouble, answer};
use crate::error::Failure;
use crate::store::Shared;

/// The most appends, events and bytes that go together.
const GROUP_COUNT_MAX: usize = 128;
const GROUP_EVENTS_MAX: usize = 2_000;
const GROUP_SIZE_MAX: usize = 4 << 20;
/// The most names whose buckets a group locks: well below where the whole store is locked instead.
const GROUP_NAMES_MAX: usize = 200;
/// How many of those that wait are looked at for a group.
const LOOK_AHEAD: usize = 512;
/// The most appends that wait. One more is told that there are too many.
const WAITING_COUNT_MAX: usize = 16_384;
/// How many write at the same time, but for those that take longer than [`PROMPT`].
const WRITER_COUNT_MAX: usize = 4;
/// So many appends, or events, are worth a statement of their own beside others.
const WORTH_COUNT: usize = 32;
const WORTH_EVENTS: usize = 500;
/// What takes longer waits for others, and lets more go beside it.
const PROMPT: Duration = Duration::from_millis(10);

type Answer = Result<Option<Appended>, Trouble>;

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Answer>,
}

/// Who writes, and who waits to.
#[derive(Default)]
pub(crate) struct Queue {
    /// Nothing is awaited while it is locked.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    writer_count: usize,
    waiting: VecDeque<Waiting>,
    /// Of those that wait.
    event_count: usize,
}

impl State {
    /// Lets an append wait. Whether one more is to write.
    fn push(&mut self, waiting: Waiting) -> bool {
        self.event_count += waiting.append.events.len();
        self.waiting.push_back(waiting);
        let is_worth = self.waiting.len() >= WORTH_COUNT || self.event_count >= WORTH_EVENTS;
        let is_one_more = is_worth && self.writer_count < WRITER_COUNT_MAX;
        self.writer_count += usize::from(is_one_more);
        is_one_more
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next that go together; none, and one writer less, where nobody waits.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let group = take_group(&mut state.waiting);
        let taken: usize = group.iter().map(|waiting| waiting.append.events.len()).sum();
        state.event_count -= taken;
        if group.is_empty() {
            state.writer_count -= 1;
            return None;
        }
        Some(group)
    }
}

/// Takes appends that go together, in the order in which they came.
fn take_group(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut group = Group::default();
    let looked_at = waiting.iter().map(|waiting| &waiting.append).take(LOOK_AHEAD).enumerate();
    let chosen: Vec<usize> =
        looked_at.filter(|(_, append)| group.add(append)).map(|(at, _)| at).collect();
    let taken = chosen.into_iter().zip(0..).map(|(at, before)| waiting.remove(at - before));
    taken.flatten().collect()
}

/// What appends that are chosen to go together are about.
///
/// None of them touches a stream of another, and no condition of one is about events of another:
/// conditions are decided by what was there before all of them.
#[derive(Default)]
struct Group<'a> {
    count: usize,
    events: usize,
    size: usize,
    names: usize,
    streams: HashSet<&'a StreamName>,
    /// Of the events.
    tags: HashSet<&'a str>,
    /// One of each item of the conditions.
    guarded: HashSet<&'a str>,
    /// Whether a condition has an item without tags, which may be about any event.
    is_guarded: bool,
}

impl<'a> Group<'a> {
    /// Adds an append that fits. Whether it does: the first one always.
    fn add(&mut self, append: &'a Append) -> bool {
        let names = name_count(append);
        let guards = guards_of(append);
        let is_guarded = guards.is_none();
        let fits = self.count < GROUP_COUNT_MAX
            && self.events + append.events.len() <= GROUP_EVENTS_MAX
            && self.size + append.size() <= GROUP_SIZE_MAX
            && self.names + names <= GROUP_NAMES_MAX
            && !(self.is_guarded || is_guarded)
            && streams_of(append).all(|stream| !self.streams.contains(stream))
            && guards.iter().flatten().all(|guard| !self.tags.contains(guard))
            && tags_of(append).all(|tag| !self.guarded.contains(tag));
        if !fits && self.count > 0 {
            return false;
        }
        self.count += 1;
        self.events += append.events.len();
        self.size += append.size();
        self.names += names;
        self.streams.extend(streams_of(append));
        self.tags.extend(tags_of(append));
        self.guarded.extend(guards.into_iter().flatten());
        self.is_guarded = is_guarded;
        true
    }
}

/// A tag of each item of an append's conditions: events without any of these do not matter to it.
/// None where an item has no tag.
fn guards_of(append: &Append) -> Option<Vec<&str>> {
    let items = append.conditions.iter().flat_map(|condition| &condition.query.items);
    items.map(|item| item.tags.iter().next()).collect()
}

fn tags_of(append: &Append) -> impl Iterator<Item = &str> {
    append.events.iter().flat_map(|(_, event)| event.tags.iter())
}

fn streams_of(append: &Append) -> impl Iterator<Item = &StreamName> {
    let expected = append.expectations.iter().map(|(stream, _)| stream);
    append.events.iter().map(|(stream, _)| stream).chain(expected)
}

/// How many names an append has at most: a type, a category, and tags for each event, and what its
/// conditions are about.
fn name_count(append: &Append) -> usize {
    let own = append.events.iter().map(|(_, event)| 2 + event.tags.count());
    let items = append.conditions.iter().flat_map(|condition| &condition.query.items);
    own.chain(items.map(|item| item.types.len().max(1))).sum()
}

/// One of those who write. When it is dropped, another goes on with those who wait.
struct Writer(Arc<Shared>);

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(group) = self.0.queue.take() {
            tokio::spawn(write_groups(Arc::clone(&self.0), group));
        }
    }
}

async fn write_groups(shared: Arc<Shared>, first: Vec<Waiting>) {
    let mut next = Some(first);
    while let Some(group) = next {
        let writing = write_group(&shared, group);
        tokio::pin!(writing);
        if tokio::time::timeout(PROMPT, &mut writing).await.is_err() {
            drop(Writer(Arc::clone(&shared)));
            return writing.await;
        }
        next = shared.queue.take();
    }
}

async fn write_group(shared: &Arc<Shared>, group: Vec<Waiting>) {
    let appends: Vec<&Append> = group.iter().map(|waiting| &waiting.append).collect();
    let written = match shared.write(&appends).await {
        Ok(written) => written,
        Err(Trouble::Before(error)) if group.len() > 1 && is_of_one(error.kind()) => {
            for waiting in group {
                tokio::spawn(write_alone(Arc::clone(shared), waiting));
            }
            return;
        }
        Err(trouble) => {
            for Waiting { answer, .. } in group {
                answer.send(Err(trouble.clone())).ok();
            }
            return;
        }
    };
    let mut places = written.places.into_iter();
    for (Waiting { append, answer: asked }, number) in group.into_iter().zip(0..) {
        let is_written = !written.refused.contains(&number);
        let appended = is_written.then(|| {
            let own = places.by_ref().take(append.events.len());
            answer(append.events.iter().map(|(stream, _)| stream), own)
        });
        asked.send(Ok(appended)).ok();
    }
}

/// Whether a failure may be the fault of one of those that go together: it is wrong, or it waits for a
/// lock longer than the others are to wait with it.
fn is_of_one(failure: Failure) -> bool {
    matches!(failure, Failure::Other | Failure::Locked)
}

async fn write_alone(shared: Arc<Shared>, Waiting { append, answer }: Waiting) {
    // Whoever asked may be gone.
    answer.send(write_one(&shared, &append).await).ok();
}

async fn write_one(shared: &Shared, append: &Append) -> Answer {
    let written = shared.write(&[append]).await?;
    let streams = append.events.iter().map(|(stream, _)| stream);
    Ok(written.refused.is_empty().then(|| answer(streams, written.places.into_iter())))
}

impl Shared {
    /// Writes an append that the database decides, alone or with others; nothing where it refused to.
    pub(crate) async fn write_in_group(self: &Arc<Self>, append: &Append) -> Answer {
        let queued = {
            let mut state = self.queue.lock();
            if state.writer_count == 0 {
                state.writer_count = 1;
                None
            } else if state.waiting.len() >= WAITING_COUNT_MAX {
                return Err(Trouble::before(self.sql.append.failed(sqlx::Error::PoolTimedOut)));
            } else {
                let (sender, receiver) = oneshot::channel();
                let is_one_more = state.push(Waiting { append: append.clone(), answer: sender });
                drop(state);
                if is_one_more {
                    drop(Writer(Arc::clone(self)));
                }
                Some(receiver)
            }
        };
        if let Some(answer) = queued {
            // The sender is dropped without an answer only where the runtime ends.
            return answer.await.unwrap_or_else(|_| {
                let closed = self.sql.append.failed(sqlx::Error::PoolClosed);
                Err(Trouble::before(closed))
            });
        }
        let writer = Writer(Arc::clone(self));
        let writing = write_one(self, append);
        tokio::pin!(writing);
        if let Ok(answer) = tokio::time::timeout(PROMPT, &mut writing).await {
            return answer;
        }
        drop(writer);
        writing.await
    }
}

#[cfg(test)]
mod tests {
    use quipu_core::{NewEvent, Query};

    use super::*;

    fn waiting(append: Append) -> Waiting {
        Waiting { append, answer: oneshot::channel().0 }
    }

    fn to(stream: &str) -> Append {
        let event = NewEvent::json("T", "{}").unwrap();
        Append::new().event(StreamName::new(stream).unwrap(), event)
    }

    fn sizes(appends: Vec<Append>) -> Vec<usize> {
        let mut queue: VecDeque<Waiting> = appends.into_iter().map(waiting).collect();
        let groups = std::iter::from_fn(|| Some(take_group(&mut queue).len()).filter(|it| *it > 0));
        groups.collect()
    }

    #[test]
    fn appends_to_different_streams_go_together() {
        assert_eq!(sizes(vec![to("a"), to("b"), to("a"), to("c")]), [3, 1]);
    }

    fn tagged(stream: &str, tag: &str) -> Append {
        let event = NewEvent::json("T", "{}").unwrap().with_tag(tag).unwrap();
        Append::new().event(StreamName::new(stream).unwrap(), event)
    }

    fn guarded(stream: &str, tag: &str) -> Append {
        tagged(stream, tag).fail_if(format!("tag:{tag}").parse().unwrap(), None)
    }

    #[test]
    fn appends_whose_conditions_are_about_other_tags_go_together() {
        assert_eq!(sizes(vec![guarded("a", "x"), guarded("b", "y"), tagged("c", "z")]), [3]);
    }

    #[test]
    fn an_append_does_not_go_with_events_that_its_condition_is_about() {
        assert_eq!(sizes(vec![guarded("a", "x"), guarded("b", "x")]), [1, 1]);
        assert_eq!(sizes(vec![tagged("a", "x"), guarded("b", "x")]), [1, 1]);
        assert_eq!(sizes(vec![guarded("a", "x"), tagged("b", "x")]), [1, 1]);
    }

    #[test]
    fn an_append_whose_condition_has_no_tag_goes_alone() {
        let guarded = to("b").fail_if(Query::all(), None);
        assert_eq!(sizes(vec![to("a"), guarded.clone(), to("c"), guarded]), [2, 1, 1]);
    }

    #[test]
    fn a_group_has_an_end() {
        let many = (0..500).map(|number| to(&format!("a-{number}"))).collect();
        assert!(sizes(many).iter().all(|count| *count <= GROUP_COUNT_MAX));
    }
}
