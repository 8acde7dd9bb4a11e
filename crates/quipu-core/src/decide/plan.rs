//! What is written: the append's events, and those that revive deleted streams.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::append::Append;
use crate::event::{EventId, NewEvent};
use crate::metadata::{METADATA_TYPE, StreamMetadata, TOMBSTONE_TYPE};
use crate::name::StreamName;
use crate::place::Revision;
use crate::read::StreamState;

use super::{Layout, LogState, Plan, Target, look_at, system_event};

/// What is written: `next` has the revisions that the streams of the layout go on with.
pub(super) fn make_plan<S: LogState>(
    state: &mut S,
    append: Append,
    layout: Layout,
    next: Vec<Revision>,
    revivals: Revivals,
) -> Result<Plan, S::Error> {
    let Layout { streams, stream_of, .. } = layout;
    let mut streams: Vec<(StreamName, Revision)> = streams.into_iter().zip(next).collect();
    let before = place_revivals(state, &mut streams, revivals.before)?;
    let after = place_revivals(state, &mut streams, revivals.after)?;
    Ok(Plan { streams, before, append, stream_of, after })
}

fn place_revivals<S: LogState>(
    state: &mut S,
    streams: &mut Vec<(StreamName, Revision)>,
    revivals: StreamEvents,
) -> Result<Vec<(usize, NewEvent)>, S::Error> {
    if revivals.is_empty() {
        return Ok(Vec::new());
    }
    let known: HashMap<StreamName, usize> =
        streams.iter().map(|(stream, _)| stream.clone()).zip(0..).collect();
    let mut events = Vec::with_capacity(revivals.len());
    for (stream, event) in revivals {
        let index = if let Some(index) = known.get(&stream) {
            *index
        } else {
            let next = look_at(state, &stream)?.next();
            streams.push((stream, next));
            streams.len() - 1
        };
        events.push((index, event));
    }
    Ok(events)
}

type StreamEvents = Vec<(StreamName, NewEvent)>;

/// The events that revive streams: before the append's own, and behind them.
#[derive(Default)]
pub(super) struct Revivals {
    before: StreamEvents,
    after: StreamEvents,
}

/// The metadata events that revive the soft-deleted streams an append touches: before its events,
/// or behind them where it brings metadata of its own, so that the latest metadata always says
/// what is hidden. At most one for each stream.
pub(super) fn find_revivals(append: &Append, layout: &Layout, targets: &[Target<'_>]) -> Revivals {
    let mut revivals = Revivals::default();
    let is_deleted =
        |target: &&Target<'_>| matches!(target.revivable().1.state(), StreamState::Deleted { .. });
    let mut deleted = targets.iter().filter(is_deleted).peekable();
    if deleted.peek().is_none() {
        return revivals;
    }
    let own: HashMap<&StreamName, &NewEvent> = append
        .events
        .iter()
        .filter(|(stream, event)| stream.is_metadata() && event.event_type == METADATA_TYPE)
        .map(|(stream, event)| (stream, event))
        .collect();
    let mut revived = HashSet::new();
    for target in deleted {
        let (base, facts) = target.revivable();
        let metadata_stream = base.metadata_stream();
        let first = facts.next().get();
        match own.get(&metadata_stream) {
            Some(event) => {
                let metadata = StreamMetadata::parse(&event.data);
                let hidden = metadata.truncate_before().is_some_and(|own| own >= first);
                if !hidden && revived.insert(metadata_stream.clone()) {
                    let last = append.events.last();
                    revivals.after.push(revival(metadata_stream, &metadata, first, last));
                }
            }
            None if target.base.is_some() => {}
            None if layout.events(append, target.part).all(is_tombstone) => {}
            None => {
                let metadata = facts.metadata.clone().unwrap_or_default();
                let first_event = append.events.first();
                revivals.before.push(revival(metadata_stream, &metadata, first, first_event));
            }
        }
    }
    revivals
}

/// The event that hides what is before revision `first`. Its id follows from that of the event
/// `beside` it, so that the same appends always make the same log; so does a given time, which
/// would otherwise be raised to that of this event.
fn revival(
    metadata_stream: StreamName,
    metadata: &StreamMetadata,
    first: u64,
    beside: Option<&(StreamName, NewEvent)>,
) -> (StreamName, NewEvent) {
    let (_, beside) = beside.expect("an append that revives a stream has events");
    let name = metadata_stream.as_str().as_bytes();
    let id = EventId::from_uuid(Uuid::new_v5(&beside.id.as_uuid(), name));
    let json = metadata.json_with_truncate_before(first);
    let mut event = system_event(id, METADATA_TYPE, json);
    event.recorded_at = beside.recorded_at;
    (metadata_stream, event)
}

fn is_tombstone(event: &NewEvent) -> bool {
    event.event_type == TOMBSTONE_TYPE
}
