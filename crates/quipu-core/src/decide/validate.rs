//! What can be said of a change without looking at the log.

use crate::append::{Append, Change, InvalidAppend};
use crate::event::NewEvent;
use crate::limits;
use crate::metadata::{StreamMetadata, TOMBSTONE_TYPE};
use crate::name::{StreamName, is_reserved, is_system};
use crate::place::Timestamp;
use crate::store::Rights;

use super::Layout;

/// Checks what can be checked of a change without looking at the log, and lays out what
/// [`decide`](super::decide) needs to know of it.
///
/// # Errors
///
/// What is wrong with it.
pub fn validate(change: &Change, rights: Rights, now: Timestamp) -> Result<Layout, InvalidAppend> {
    let system = rights == Rights::System;
    match change {
        Change::Append(append) => validate_append(append, system, now),
        Change::Delete { stream, .. }
        | Change::Tombstone { stream, .. }
        | Change::SetMetadata { stream, .. } => {
            if stream.is_metadata() {
                return Err(InvalidAppend::MetadataStream { stream: stream.clone() });
            }
            if stream.is_system() && !system {
                return Err(InvalidAppend::ReservedName { name: stream.to_string() });
            }
            if stream.as_str().len() + 2 > limits::RESERVED_STREAM_NAME_SIZE_MAX {
                return Err(InvalidAppend::NameTooLong { stream: stream.clone() });
            }
            if let Change::SetMetadata { metadata, .. } = change {
                if metadata.len() > limits::EVENT_SIZE_MAX {
                    let size_max = limits::EVENT_SIZE_MAX;
                    return Err(InvalidAppend::EventTooLarge {
                        index: 0,
                        size: metadata.len(),
                        size_max,
                    });
                }
                if StreamMetadata::parse_strictly(metadata).is_none() {
                    return Err(InvalidAppend::MalformedMetadata);
                }
            }
            // These become appends only once the log is looked at.
            Ok(Layout::default())
        }
    }
}

fn validate_append(append: &Append, system: bool, now: Timestamp) -> Result<Layout, InvalidAppend> {
    let count = append.events.len();
    if count > limits::APPEND_COUNT_MAX {
        return Err(InvalidAppend::TooManyEvents { count, count_max: limits::APPEND_COUNT_MAX });
    }
    let mut total = 0;
    for (index, (stream, event)) in append.events.iter().enumerate() {
        let size = event.size();
        total += size;
        if size > limits::EVENT_SIZE_MAX {
            return Err(InvalidAppend::EventTooLarge {
                index,
                size,
                size_max: limits::EVENT_SIZE_MAX,
            });
        }
        let tag_count = event.tags.count();
        let ordinary = event.tags.iter().bytes().filter(|tag| !is_reserved(tag)).count();
        if ordinary > limits::TAG_COUNT_MAX || tag_count > limits::TAG_COUNT_TOTAL_MAX {
            let (count, count_max) = if ordinary > limits::TAG_COUNT_MAX {
                (ordinary, limits::TAG_COUNT_MAX)
            } else {
                (tag_count, limits::TAG_COUNT_TOTAL_MAX)
            };
            return Err(InvalidAppend::TooManyTags { index, count, count_max });
        }
        if let Some(recorded_at) = event.recorded_at.filter(|at| *at > now) {
            return Err(InvalidAppend::RecordedInFuture { index, recorded_at });
        }
        if stream.is_metadata() && event.event_type == TOMBSTONE_TYPE {
            return Err(InvalidAppend::MetadataStream { stream: stream.clone() });
        }
        if !system {
            refuse_system_names(stream, event)?;
        }
    }
    if total > limits::APPEND_SIZE_MAX {
        return Err(InvalidAppend::TooLarge { size: total, size_max: limits::APPEND_SIZE_MAX });
    }
    Layout::of(append)
}

fn refuse_system_names(stream: &StreamName, event: &NewEvent) -> Result<(), InvalidAppend> {
    let reserved = |name: &str| Err(InvalidAppend::ReservedName { name: name.to_owned() });
    if stream.is_system() {
        return reserved(stream.as_str());
    }
    if event.event_type.is_system() {
        return reserved(event.event_type.as_str());
    }
    if !event.tags.iter().bytes().any(is_system) {
        return Ok(());
    }
    match event.tags.iter().find(|tag| is_system(tag.as_bytes())) {
        Some(tag) => reserved(tag),
        None => Ok(()),
    }
}
