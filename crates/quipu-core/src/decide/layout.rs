//! An append taken apart, as far as that takes no look at the log.

use std::ops::Range;

use crate::append::{Append, ExpectedRevision, InvalidAppend};
use crate::event::NewEvent;
use crate::metadata::TOMBSTONE_TYPE;
use crate::name::StreamName;

use super::names::NameIndex;

/// Which streams an append writes to, which of its events go to which of them, and what is expected
/// of each.
///
/// [`validate`](super::validate) makes it, in the caller's thread: whoever decides, one append after
/// the other, then has no names to look up.
#[derive(Debug, Default)]
pub struct Layout {
    pub(super) streams: Vec<StreamName>,
    /// What goes to each of the streams.
    pub(super) parts: Vec<Part>,
    /// By event, the index of its stream.
    pub(super) stream_of: Vec<usize>,
    /// The events by stream: those of the first one, then those of the second one, ...
    order: Vec<usize>,
    /// By expectation, the index of its stream, if the append writes to that.
    pub(super) target_of: Vec<Option<u32>>,
}

/// What an append does to one stream.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) expected: Option<ExpectedRevision>,
    /// Whether the stream holds the metadata of another.
    pub(super) is_metadata: bool,
    /// Whether one of the events is a tombstone.
    pub(super) has_tombstone: bool,
    /// Which of the append's events go there: a range of [`Layout::order`].
    pub(super) events: Range<usize>,
}

impl Layout {
    /// The streams written to, in the order in which the append's events mention them.
    pub fn streams(&self) -> &[StreamName] {
        &self.streams
    }

    /// # Errors
    ///
    /// Only [`InvalidAppend::TwoExpectations`].
    pub(super) fn of(append: &Append) -> Result<Self, InvalidAppend> {
        let mut names = NameIndex::with_room(append.events.len());
        let stream_of: Vec<usize> =
            append.events.iter().map(|(stream, _)| names.find_or_add(stream).0).collect();
        let (order, ends) = group(&stream_of, names.count());
        let mut begin = 0;
        let part = |(stream, end): (&&StreamName, usize)| {
            let events = std::mem::replace(&mut begin, end)..end;
            let is_metadata = stream.is_metadata();
            Part { expected: None, is_metadata, has_tombstone: false, events }
        };
        let mut parts: Vec<Part> = names.names().iter().zip(ends).map(part).collect();
        for (stream, (_, event)) in stream_of.iter().zip(&append.events) {
            parts[*stream].has_tombstone |= event.event_type == TOMBSTONE_TYPE;
        }
        let mut others = NameIndex::with_room(append.expectations.len());
        let mut target_of = Vec::with_capacity(append.expectations.len());
        for (stream, expected) in &append.expectations {
            let target = names.find(stream);
            let is_first = match target {
                Some(target) => parts[target].expected.replace(*expected).is_none(),
                None => others.find_or_add(stream).1,
            };
            if !is_first {
                return Err(InvalidAppend::TwoExpectations { stream: stream.clone() });
            }
            target_of.push(target.map(|target| target as u32));
        }
        let streams = names.names().iter().copied().cloned().collect();
        Ok(Self { streams, parts, stream_of, order, target_of })
    }

    /// The append's events that go to one stream, in their order.
    pub(super) fn events<'a>(
        &self,
        append: &'a Append,
        part: &Part,
    ) -> impl Iterator<Item = &'a NewEvent> {
        let indexes = self.order.get(part.events.clone()).unwrap_or_default();
        indexes.iter().filter_map(|index| append.events.get(*index)).map(|(_, event)| event)
    }
}

/// Indexes by the group they are in, each group's in order, and where each group ends.
fn group(group_of: &[usize], count: usize) -> (Vec<usize>, Vec<usize>) {
    let mut ends = vec![0; count];
    for group in group_of {
        ends[*group] += 1;
    }
    let mut begin = 0;
    for end in &mut ends {
        // Where the group begins, for now: filling it moves this to where it ends.
        begin += std::mem::replace(end, begin);
    }
    let mut order = vec![0; group_of.len()];
    for (index, group) in group_of.iter().enumerate() {
        order[ends[*group]] = index;
        ends[*group] += 1;
    }
    (order, ends)
}
