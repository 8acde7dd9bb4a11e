//! Appends that go together: while some are being written, those that come meanwhile wait, and then
//! go in one statement. One commit serves them all.
//!
//! Nobody waits longer for it: as long as few are under way an append goes alone and at once, and one
//! that has to wait for a lock does not count for long.

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
/// What takes longer waits for others, and lets more go beside it.
const PROMPT: Duration = Duration::from_millis(50);

type Answer = Result<Option<Appended>, Trouble>;

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Answer>,
}

/// Who writes, and who waits to.
pub(crate) struct Queue {
    /// Nothing is awaited while it is locked.
    state: Mutex<State>,
    writer_count_max: usize,
}

#[derive(Default)]
struct State {
    writer_count: usize,
    waiting: VecDeque<Waiting>,
}

impl Queue {
    pub(crate) fn new(writer_count_max: usize) -> Self {
        Self { state: Mutex::default(), writer_count_max }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next that go together; none, and one writer less, where nobody waits.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let group = take_group(&mut state.waiting);
        if group.is_empty() {
            state.writer_count -= 1;
            return None;
        }
        Some(group)
    }
}

/// Takes appends that do not touch each other's streams. One with conditions goes alone, since they
/// are decided by what was there before.
fn take_group(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut group: Vec<Waiting> = Vec::new();
    let mut streams: HashSet<StreamName> = HashSet::new();
    let (mut events, mut size, mut names) = (0, 0, 0);
    let mut at = 0;
    while at < waiting.len().min(LOOK_AHEAD) && group.len() < GROUP_COUNT_MAX {
        let Some(Waiting { append, .. }) = waiting.get(at) else { break };
        let own_names = name_count(append);
        let fits = group.is_empty()
            || (append.conditions.is_empty()
                && events + append.events.len() <= GROUP_EVENTS_MAX
                && size + append.size() <= GROUP_SIZE_MAX
                && names + own_names <= GROUP_NAMES_MAX
                && streams_of(append).all(|stream| !streams.contains(stream)));
        if !fits {
            at += 1;
            continue;
        }
        let is_alone = !append.conditions.is_empty();
        events += append.events.len();
        size += append.size();
        names += own_names;
        streams.extend(streams_of(append).cloned());
        group.extend(waiting.remove(at));
        if is_alone {
            break;
        }
    }
    group
}

fn streams_of(append: &Append) -> impl Iterator<Item = &StreamName> {
    let expected = append.expectations.iter().map(|(stream, _)| stream);
    append.events.iter().map(|(stream, _)| stream).chain(expected)
}

/// How many names an append has at most: a type, a category, and tags for each event.
fn name_count(append: &Append) -> usize {
    append.events.iter().map(|(_, event)| 2 + event.tags.count()).sum()
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

async fn write_group(shared: &Shared, group: Vec<Waiting>) {
    let appends: Vec<&Append> = group.iter().map(|waiting| &waiting.append).collect();
    let written = match shared.write(&appends).await {
        Ok(written) => written,
        Err(Trouble::Before(error)) if group.len() > 1 && error.kind() == Failure::Other => {
            // It may be the fault of one of them.
            for Waiting { append, answer } in group {
                // Whoever asked may be gone.
                answer.send(write_one(shared, &append).await).ok();
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
            if state.writer_count < self.queue.writer_count_max {
                state.writer_count += 1;
                None
            } else if state.waiting.len() >= WAITING_COUNT_MAX {
                return Err(Trouble::before(self.sql.append.failed(sqlx::Error::PoolTimedOut)));
            } else {
                let (sender, receiver) = oneshot::channel();
                state.waiting.push_back(Waiting { append: append.clone(), answer: sender });
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

    #[test]
    fn an_append_with_a_condition_goes_alone() {
        let guarded = to("b").fail_if(Query::all(), None);
        assert_eq!(sizes(vec![to("a"), guarded.clone(), to("c"), guarded]), [2, 1, 1]);
    }

    #[test]
    fn a_group_has_an_end() {
        let many = (0..500).map(|number| to(&format!("a-{number}"))).collect();
        assert!(sizes(many).iter().all(|count| *count <= GROUP_COUNT_MAX));
    }
}
