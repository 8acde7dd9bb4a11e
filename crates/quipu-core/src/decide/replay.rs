//! Whether an append is in the log already.

use crate::append::{Append, Appended, AppendedStream, ExpectedRevision};
use crate::event::EventId;
use crate::name::StreamName;
use crate::place::{Position, Revision};

use super::{Layout, LogState, Target};

enum Found {
    All(Vec<(Position, Revision)>),
    Some,
    None,
}

/// Where the append is in the log already. If only a part of it is, marks the targets that have it.
pub(super) fn find_replay<S: LogState>(
    state: &mut S,
    append: &Append,
    layout: &Layout,
    targets: &mut [Target<'_>],
) -> Result<Option<Appended>, S::Error> {
    let only_target = targets.len() == 1;
    let mut places = Vec::new();
    let mut is_whole = true;
    for target in targets {
        let ids = || layout.events(append, target.part).map(|event| event.id).collect();
        let found = find_ids(state, target, ids, only_target)?;
        target.is_part_found = !matches!(found, Found::None);
        if let Found::All(own) = found
            && let (Some(first), Some(last)) = (own.iter().min(), own.last())
        {
            places.push((StreamName::clone(target.stream), first.0, last.0, last.1));
        } else {
            is_whole = false;
        }
    }
    Ok(is_whole.then(|| replayed(places)))
}

/// Looks the ids of an append to one stream up, where they would be had it succeeded before.
fn find_ids<S: LogState>(
    state: &mut S,
    target: &Target<'_>,
    ids: impl FnOnce() -> Vec<EventId>,
    only_target: bool,
) -> Result<Found, S::Error> {
    let Some(last) = target.facts.last else { return Ok(Found::None) };
    match target.expected() {
        ExpectedRevision::Exactly(revision) if revision < last => {
            compare_ids(state, target.stream, revision.next(), &ids())
        }
        // "The current revision" always appends, and no append to a tombstoned stream was written.
        ExpectedRevision::Exactly(_) | ExpectedRevision::Tombstoned => Ok(Found::None),
        ExpectedRevision::NoStream => {
            let ids = ids();
            let found = compare_ids(state, target.stream, Revision::FIRST, &ids)?;
            // "No stream" also holds on a soft-deleted stream, whose next events then begin where
            // the revived stream does.
            let revived = target.facts.metadata.as_ref().and_then(|it| it.truncate_before());
            match (found, revived) {
                (Found::None, Some(first)) if first <= last.get() => {
                    compare_ids(state, target.stream, Revision::new(first), &ids)
                }
                (found, _) => Ok(found),
            }
        }
        ExpectedRevision::Any | ExpectedRevision::StreamExists | ExpectedRevision::Deleted => {
            look_ids_up(state, target.stream, &ids(), only_target)
        }
    }
}

fn compare_ids<S: LogState>(
    state: &mut S,
    stream: &StreamName,
    from: Revision,
    ids: &[EventId],
) -> Result<Found, S::Error> {
    let mut places = Vec::with_capacity(ids.len());
    let mut revision = from;
    for id in ids {
        match state.id_at(stream, revision)? {
            Some((own, position)) if own == *id => places.push((position, revision)),
            _ if places.is_empty() => return Ok(Found::None),
            _ => return Ok(Found::Some),
        }
        revision = revision.next();
    }
    Ok(Found::All(places))
}

fn look_ids_up<S: LogState>(
    state: &mut S,
    stream: &StreamName,
    ids: &[EventId],
    only_target: bool,
) -> Result<Found, S::Error> {
    let mut places = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().enumerate() {
        match state.find_id(stream, *id)? {
            Some(place) => places.push(place),
            None if index == 0 && only_target => return Ok(Found::None),
            None => {}
        }
    }
    Ok(match places.len() {
        0 => Found::None,
        count if count == ids.len() => Found::All(places),
        _ => Found::Some,
    })
}

pub(super) fn replayed(
    streams: impl IntoIterator<Item = (StreamName, Position, Position, Revision)>,
) -> Appended {
    let mut appended = Appended { replayed: true, ..Appended::default() };
    for (stream, first, position, revision) in streams {
        appended.first = Some(appended.first.map_or(first, |earlier| earlier.min(first)));
        appended.last = Some(appended.last.map_or(position, |later| later.max(position)));
        appended.streams.push(AppendedStream { stream, position, revision });
    }
    appended
}
