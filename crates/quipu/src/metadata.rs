//! The envelope: what travels beside an event's data.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What is known of an event beside its data: who, why, as part of what. Empty where nobody said.
///
/// In the log it is a JSON object with reserved keys; other keys of it are left alone. Events that
/// others appended, whose metadata is something else, have an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metadata {
    /// What everything that one cause set off has in common.
    #[serde(rename = "$correlationId", default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// What directly led to the event: the id of an event or a command.
    #[serde(rename = "$causationId", default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// Who did it.
    #[serde(rename = "$actor", default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// For whom it was done.
    #[serde(rename = "$tenant", default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The schema version of the data; none counts as 1.
    #[serde(rename = "$schemaVersion", default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// The W3C trace context: the span that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The W3C trace context: what vendors add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

impl Metadata {
    /// Reads an event's metadata. What is not a JSON object has nothing to say.
    ///
    /// # Errors
    ///
    /// [`MetadataError`] if it is an object and one of the reserved keys has a value that cannot
    /// be: to guess a schema version would be to misread the data.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        if bytes.first() != Some(&b'{') {
            return Ok(Self::default());
        }
        match serde_json::from_slice(bytes) {
            Ok(Self { schema_version: Some(0), .. }) => Err(MetadataError { cause: None }),
            Ok(metadata) => Ok(metadata),
            Err(cause) if cause.is_data() => Err(MetadataError { cause: Some(cause) }),
            Err(_not_json) => Ok(Self::default()),
        }
    }

    /// The metadata as bytes, for an event of that schema version.
    pub(crate) fn to_bytes(&self, schema_version: u32) -> Bytes {
        let own = Self { schema_version: Some(schema_version), ..self.clone() };
        let json = serde_json::to_vec(&own).expect("texts and a number always have a JSON form");
        json.into()
    }
}

/// Only the version: all that replay needs of the metadata.
#[derive(Deserialize)]
struct SchemaVersion {
    #[serde(rename = "$schemaVersion", default)]
    version: Option<u32>,
}

/// The schema version that metadata tells: 1 where it tells none.
pub(crate) fn schema_version(bytes: &[u8]) -> Result<u32, MetadataError> {
    // What the framework writes for an event without further metadata; replay reads many of them.
    if bytes == br#"{"$schemaVersion":1}"# || bytes.first() != Some(&b'{') {
        return Ok(1);
    }
    match serde_json::from_slice(bytes) {
        Ok(SchemaVersion { version: Some(0) }) => Err(MetadataError { cause: None }),
        Ok(SchemaVersion { version }) => Ok(version.unwrap_or(1)),
        Err(cause) if cause.is_data() => Err(MetadataError { cause: Some(cause) }),
        Err(_not_json) => Ok(1),
    }
}

/// A reserved key of the metadata has a value that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("a reserved key of the metadata has a value of the wrong kind")]
pub struct MetadataError {
    #[source]
    cause: Option<serde_json::Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_as_it_was_written() {
        let metadata = Metadata {
            correlation: Some("c".into()),
            causation: Some("a".into()),
            actor: Some("Ana \"the\" admin".into()),
            tenant: Some("t".into()),
            traceparent: Some("00-1-2-01".into()),
            tracestate: Some("x=y".into()),
            schema_version: None,
        };

        let bytes = metadata.to_bytes(3);

        let expected = Metadata { schema_version: Some(3), ..metadata };
        assert_eq!(Metadata::parse(&bytes).unwrap(), expected);
        assert_eq!(schema_version(&bytes).unwrap(), 3);
        let text = std::str::from_utf8(&bytes).unwrap();
        for key in ["$correlationId", "$causationId", "$actor", "$tenant", "$schemaVersion"] {
            assert!(text.contains(&format!("\"{key}\":")), "{text}");
        }
    }

    #[test]
    fn plain_metadata_is_what_replay_looks_for() {
        let bytes = Metadata::default().to_bytes(1);

        assert_eq!(&bytes[..], br#"{"$schemaVersion":1}"#);
    }

    #[test]
    fn metadata_of_others_says_nothing() {
        for bytes in [&b""[..], b"\xFF\x00", b"[1]", b"{broken", b"{}", b"{\"x\":1}"] {
            assert_eq!(Metadata::parse(bytes).unwrap(), Metadata::default(), "{bytes:?}");
            assert_eq!(schema_version(bytes).unwrap(), 1, "{bytes:?}");
        }
    }

    #[test]
    fn a_schema_version_that_cannot_be_is_an_error() {
        for bytes in [
            &br#"{"$schemaVersion":0}"#[..],
            br#"{"$schemaVersion":"2"}"#,
            br#"{"$schemaVersion":-1}"#,
            br#"{"$schemaVersion":1e99}"#,
        ] {
            assert!(Metadata::parse(bytes).is_err(), "{bytes:?}");
            assert!(schema_version(bytes).is_err(), "{bytes:?}");
        }
    }
}
