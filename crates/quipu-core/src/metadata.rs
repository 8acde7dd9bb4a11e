//! A stream's metadata: what it says about retention, deletion and access.
//!
//! The metadata of stream `s` is the JSON object of the latest `$metadata` event of stream `$$s`.
//! The keys are those of `KurrentDB`. This module is the only place that reads them.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::place::{Revision, Timestamp};

/// The type of the event that carries a stream's metadata.
pub const METADATA_TYPE: &str = "$metadata";
/// The type of the event that tombstones a stream.
pub const TOMBSTONE_TYPE: &str = "$streamDeleted";
/// The value of `$tb` that marks a soft-deleted stream: 2^63-1.
pub const TRUNCATE_BEFORE_DELETED: u64 = i64::MAX as u64;

const MAX_COUNT: &str = "$maxCount";
const MAX_AGE: &str = "$maxAge";
const TRUNCATE_BEFORE: &str = "$tb";

/// A stream's metadata, parsed.
///
/// Text that is not a JSON object, and values of the known keys that are not of their kind, count
/// as no metadata at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamMetadata {
    object: Map<String, Value>,
    max_count: Option<u64>,
    max_age: Option<Duration>,
    truncate_before: Option<u64>,
}

impl StreamMetadata {
    /// Reads the bytes of a `$metadata` event.
    pub fn parse(json: &[u8]) -> Self {
        Self::parse_strictly(json).unwrap_or_default()
    }

    /// Reads the bytes of a `$metadata` event, or says that they are malformed with `None`.
    pub fn parse_strictly(json: &[u8]) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
        let number = |key: &str, min: u64| match object.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value
                .as_u64()
                .filter(|number| (min..=TRUNCATE_BEFORE_DELETED).contains(number))
                .map(Some),
        };
        let max_count = number(MAX_COUNT, 1)?;
        let max_age = number(MAX_AGE, 1)?.map(Duration::from_secs);
        let truncate_before = number(TRUNCATE_BEFORE, 0)?;
        Some(Self { object, max_count, max_age, truncate_before })
    }

    /// Whether the stream is soft-deleted.
    pub fn is_deleted(&self) -> bool {
        self.truncate_before == Some(TRUNCATE_BEFORE_DELETED)
    }

    /// The most events the stream shows, `$maxCount`.
    pub fn max_count(&self) -> Option<u64> {
        self.max_count
    }

    /// How long the stream shows an event, `$maxAge` in seconds.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// The first revision the stream shows, `$tb`; `None` where nothing is truncated.
    pub fn truncate_before(&self) -> Option<u64> {
        self.truncate_before
    }

    /// The JSON object, custom keys included.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// The bytes of this metadata with another `$tb`.
    pub fn json_with_truncate_before(&self, truncate_before: u64) -> Bytes {
        let mut object = self.object.clone();
        object.insert(TRUNCATE_BEFORE.to_owned(), truncate_before.into());
        Value::Object(object).to_string().into()
    }
}

/// Which events of one stream its reads show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    first: Revision,
    oldest: Option<Timestamp>,
}

impl Retention {
    /// Everything is shown.
    pub const ALL: Self = Self { first: Revision::FIRST, oldest: None };

    /// What `metadata` shows at the time `now` of a stream whose last revision is `last`.
    pub fn new(metadata: &StreamMetadata, last: Revision, now: Timestamp) -> Self {
        let by_count = metadata
            .max_count
            .map_or(0, |count| last.get().saturating_add(1).saturating_sub(count));
        let first = by_count.max(metadata.truncate_before.unwrap_or(0));
        Self { first: Revision::new(first), oldest: metadata.max_age.map(|age| now.minus(age)) }
    }

    /// What reads of a metadata stream show, whose last revision is `last`: its last event.
    pub fn of_metadata_stream(last: Revision) -> Self {
        Self { first: last, oldest: None }
    }

    /// The first revision that may be shown.
    pub fn first(self) -> Revision {
        self.first
    }

    /// Whether an event of the stream is shown.
    pub fn shows(self, revision: Revision, recorded_at: Timestamp) -> bool {
        revision >= self.first && self.oldest.is_none_or(|oldest| recorded_at >= oldest)
    }
}
