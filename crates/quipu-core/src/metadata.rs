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

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(json: &str) -> StreamMetadata {
        StreamMetadata::parse_strictly(json.as_bytes()).unwrap()
    }

    /// The first revision shown of a stream whose last one is 9.
    fn first_of_ten(json: &str) -> u64 {
        let now = Timestamp::from_micros(0);
        Retention::new(&metadata(json), Revision::new(9), now).first().get()
    }

    #[test]
    fn known_keys_are_read_and_others_kept() {
        let read = metadata(r#"{"$maxCount":3,"$maxAge":60,"$tb":7,"$acl":{"$r":"$all"},"x":1}"#);

        assert_eq!(read.max_count(), Some(3));
        assert_eq!(read.max_age(), Some(Duration::from_mins(1)));
        assert_eq!(read.truncate_before(), Some(7));
        assert_eq!(read.object().len(), 5);
        assert!(!read.is_deleted());
    }

    #[test]
    fn null_is_no_value() {
        assert_eq!(metadata(r#"{"$maxCount":null}"#).max_count(), None);
    }

    #[test]
    fn one_value_of_the_wrong_kind_makes_all_of_it_malformed() {
        for json in [
            r#"{"$maxCount":0}"#,
            r#"{"$maxAge":-5}"#,
            r#"{"$tb":9223372036854775808}"#,
            r#"{"$tb":1.0}"#,
            r#"{"$maxCount":5,"$tb":"1"}"#,
            "[]",
            "",
        ] {
            assert_eq!(StreamMetadata::parse_strictly(json.as_bytes()), None, "{json}");
            assert_eq!(StreamMetadata::parse(json.as_bytes()), StreamMetadata::default());
        }
        assert_eq!(StreamMetadata::parse(b"\xFF\xFE"), StreamMetadata::default());
    }

    #[test]
    fn deleting_and_reviving_change_one_key() {
        let own = metadata(r#"{"owner":"ada","$tb":2}"#);

        let deleted =
            StreamMetadata::parse(&own.json_with_truncate_before(TRUNCATE_BEFORE_DELETED));
        let revived = StreamMetadata::parse(&deleted.json_with_truncate_before(5));

        assert!(deleted.is_deleted());
        assert_eq!(revived, metadata(r#"{"owner":"ada","$tb":5}"#));
    }

    #[test]
    fn the_first_revision_shown_is_the_highest_that_any_rule_asks_for() {
        assert_eq!(first_of_ten("{}"), 0);
        assert_eq!(first_of_ten(r#"{"$maxCount":3}"#), 7);
        assert_eq!(first_of_ten(r#"{"$maxCount":10}"#), 0);
        assert_eq!(first_of_ten(r#"{"$maxCount":9223372036854775807}"#), 0);
        assert_eq!(first_of_ten(r#"{"$tb":4}"#), 4);
        assert_eq!(first_of_ten(r#"{"$tb":40}"#), 40);
        assert_eq!(first_of_ten(r#"{"$tb":4,"$maxCount":3}"#), 7);
        assert_eq!(first_of_ten(r#"{"$tb":8,"$maxCount":3}"#), 8);
    }

    #[test]
    fn an_event_is_shown_to_the_microsecond_of_its_age() {
        let now = Timestamp::from_micros(100_000_000);
        let retention = Retention::new(&metadata(r#"{"$maxAge":60}"#), Revision::new(9), now);

        assert!(retention.shows(Revision::FIRST, Timestamp::from_micros(40_000_000)));
        assert!(!retention.shows(Revision::FIRST, Timestamp::from_micros(39_999_999)));
    }

    #[test]
    fn ages_that_reach_before_all_time_hide_nothing() {
        let metadata = metadata(r#"{"$maxAge":9223372036854775807}"#);

        let retention = Retention::new(&metadata, Revision::new(9), Timestamp::from_micros(-5));

        assert!(retention.shows(Revision::FIRST, Timestamp::from_micros(i64::MIN)));
    }

    #[test]
    fn a_metadata_stream_shows_its_last_event() {
        let retention = Retention::of_metadata_stream(Revision::new(3));
        let time = Timestamp::from_micros(0);

        assert!(!retention.shows(Revision::new(2), time));
        assert!(retention.shows(Revision::new(3), time));
    }
}
