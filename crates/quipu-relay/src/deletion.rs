//! Deleted streams, as consumers of a compacted topic learn of them.

use quipu_core::{
    EventRef, EventType, METADATA_TYPE, QueryItem, RecordedEvent, StreamMetadata, TOMBSTONE_TYPE,
};

use crate::cloud_event::CloudEvent;

/// What the log has to be asked for to see every delete of a category's streams: tombstones are in the
/// streams themselves, soft deletes in their metadata.
pub(crate) fn items(category: &str) -> [QueryItem; 2] {
    let item = |event_type: &str, category: String| QueryItem {
        types: EventType::new(event_type).into_iter().collect(),
        category: Some(category),
        ..QueryItem::default()
    };
    [item(TOMBSTONE_TYPE, category.to_owned()), item(METADATA_TYPE, format!("$${category}"))]
}

/// The stream that the event deletes, if it deletes one.
pub(crate) fn stream_of(event: EventRef<'_>) -> Option<&str> {
    match event.event_type() {
        TOMBSTONE_TYPE => Some(event.stream()),
        METADATA_TYPE => {
            let stream = event.stream().strip_prefix("$$")?;
            StreamMetadata::parse(event.data_bytes()).is_deleted().then_some(stream)
        }
        _ => None,
    }
}

/// Whether an event is one that deletes a stream. Metadata that does not has no key, and is not asked
/// about.
pub(crate) fn is_one(event: &RecordedEvent) -> bool {
    matches!(event.event_type.as_str(), TOMBSTONE_TYPE | METADATA_TYPE)
}

/// What is published of it.
pub(crate) fn cloud_event(event: &RecordedEvent, stream: &str) -> CloudEvent {
    let own = CloudEvent::of(event).with_type(TOMBSTONE_TYPE).with_subject(stream).with_key(stream);
    CloudEvent { data: None, data_content_type: None, ..own }
}
