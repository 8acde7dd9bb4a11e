//! Names: of streams, event types, tags and content types.
//!
//! A name is UTF-8 without control characters, within its limit. It is parsed once, when it comes
//! in, and is right from then on. Names that begin with `$` are reserved for the store; those that
//! begin with `$quipu.` belong to the framework and are written with the application's rights.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty. Give the thing a name.
    #[error("a {what} must not be empty")]
    Empty {
        /// Which kind of name was asked for.
        what: &'static str,
    },
    /// The text has more bytes than such a name may have. Shorten it.
    #[error("a {what} has at most {size_max} bytes, this one has {size}")]
    TooLong {
        /// Which kind of name was asked for.
        what: &'static str,
        /// The bytes in the text.
        size: usize,
        /// The most bytes allowed.
        size_max: usize,
    },
    /// The text has a control character. Take it out.
    #[error("a {what} has no control characters, this one has U+{:04X} at byte {offset}", u32::from(*.found))]
    ControlCharacter {
        /// Which kind of name was asked for.
        what: &'static str,
        /// Where it stands, in bytes.
        offset: usize,
        /// The character.
        found: char,
    },
}

fn check(what: &'static str, text: &str, size_max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > size_max {
        return Err(NameError::TooLong { what, size: text.len(), size_max });
    }
    if is_printable(text.as_bytes()) {
        return Ok(());
    }
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((offset, found)) => Err(NameError::ControlCharacter { what, offset, found }),
        None => Ok(()),
    }
}

/// Whether bytes are text that the check above lets pass. Stores ask this of every name that they
/// read back, so that ordinary names take one pass.
pub(crate) fn is_name(bytes: &[u8], size_max: usize) -> bool {
    if bytes.is_empty() || bytes.len() > size_max {
        return false;
    }
    if is_printable(bytes) {
        return true;
    }
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Whether all bytes are printable ASCII, as most names are. Eight bytes at a time, the last eight
/// together with some before them: every name that is read comes by here.
pub(crate) fn is_printable(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|byte| (0x20..0x7F).contains(byte));
    };
    let words = bytes.chunks_exact(8).map(|word| word.try_into().unwrap_or_default());
    let odd = words.fold(0, |odd, word| odd | odd_bytes(u64::from_le_bytes(word)));
    odd | odd_bytes(u64::from_le_bytes(*last)) == 0
}

/// Not 0 if any of the eight bytes is below 0x20 or above 0x7E. (The way of finding bytes in a word
/// is Mycroft's, 1987.)
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let deletes = word ^ (ONES * 0x7F);
    let is_delete = deletes.wrapping_sub(ONES) & !deletes;
    (word | below | is_delete) & HIGH
}

/// The most bytes in a stream's name, which depends on whether it is reserved.
pub(crate) fn stream_name_size_max(name: &[u8]) -> usize {
    if name.starts_with(b"$") {
        limits::RESERVED_STREAM_NAME_SIZE_MAX
    } else {
        limits::STREAM_NAME_SIZE_MAX
    }
}

/// Whether a name begins with `$`: the store's or the framework's own.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b"$")
}

/// Whether a name belongs to the store itself and is written with system rights only.
pub(crate) fn is_system(name: &[u8]) -> bool {
    is_reserved(name) && !name.starts_with(b"$quipu.")
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $size_max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            ///
            /// A [`NameError`] that says what is wrong with the text.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// Whether a text is such a name.
            pub(crate) fn check(text: &str) -> Result<(), NameError> {
                let size_max: fn(&str) -> usize = $size_max;
                check($what, text, size_max(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name begins with `$`: the store's or the framework's own.
            pub fn is_reserved(&self) -> bool {
                is_reserved(self.0.as_bytes())
            }

            /// Whether the name is written with system rights only: reserved, and not `$quipu.`.
            pub fn is_system(&self) -> bool {
                is_system(self.0.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}

name!(
    /// The name of a stream: at most 512 bytes, reserved names at most 2,048.
    ///
    /// ```
    /// use quipu_core::StreamName;
    ///
    /// let stream = StreamName::new("order-4711")?;
    /// assert_eq!(stream.category(), "order");
    /// assert_eq!(stream.metadata_stream().as_str(), "$$order-4711");
    /// assert!(StreamName::new("").is_err());
    /// # Ok::<(), quipu_core::NameError>(())
    /// ```
    StreamName, "stream name", |text| stream_name_size_max(text.as_bytes())
);

name!(
    /// The type of an event, such as `OrderPlaced`: at most 255 bytes.
    EventType, "event type", |_| limits::EVENT_TYPE_SIZE_MAX
);

name!(
    /// A label that queries find events by, such as `order:4711`: at most 255 bytes.
    Tag, "tag", |_| limits::TAG_SIZE_MAX
);

name!(
    /// The media type of an event's data, such as `application/json`: at most 255 bytes.
    ContentType, "content type", |_| limits::CONTENT_TYPE_SIZE_MAX
);

impl StreamName {
    /// The part before the first `-`, or the whole name where there is none.
    pub fn category(&self) -> &str {
        category(&self.0)
    }

    /// The stream that holds this stream's metadata: `$$` and the name.
    #[must_use]
    pub fn metadata_stream(&self) -> Self {
        // Two bytes more than the limit of 512 are within the limit of reserved names; a reserved
        // name may come to exceed it, and is refused where metadata is written.
        Self(format!("$${}", self.0).into())
    }

    /// The stream whose metadata this stream holds, if it is a metadata stream.
    pub fn metadata_of(&self) -> Option<Self> {
        self.0.strip_prefix("$$").filter(|rest| !rest.is_empty()).map(|rest| Self(rest.into()))
    }

    /// Whether this stream holds the metadata of another.
    pub fn is_metadata(&self) -> bool {
        self.0.len() > 2 && self.0.starts_with("$$")
    }
}

/// The category of the stream of that name: the part before the first `-`, or all of it.
pub fn category(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

impl ContentType {
    /// `application/json`.
    pub fn json() -> Self {
        static JSON: std::sync::LazyLock<ContentType> =
            std::sync::LazyLock::new(|| ContentType("application/json".into()));
        JSON.clone()
    }

    /// `application/octet-stream`.
    pub fn octets() -> Self {
        static OCTETS: std::sync::LazyLock<ContentType> =
            std::sync::LazyLock::new(|| ContentType("application/octet-stream".into()));
        OCTETS.clone()
    }

    /// Whether the data is JSON: `application/json`, or any type that ends in `+json`.
    pub fn is_json(&self) -> bool {
        let essence = self.0.split(';').next().unwrap_or_default().trim();
        essence == "application/json" || essence.ends_with("+json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_bytes_up_to_its_limit() {
        assert!(StreamName::new("s".repeat(512)).is_ok());
        assert!(EventType::new("t".repeat(255)).is_ok());
        assert!(Tag::new("t".repeat(255)).is_ok());

        let too_long = StreamName::new("s".repeat(513));
        let expected = NameError::TooLong { what: "stream name", size: 513, size_max: 512 };
        assert_eq!(too_long, Err(expected));
        assert!(EventType::new("t".repeat(256)).is_err());
        assert!(Tag::new("ü".repeat(128)).is_err(), "bytes count, not characters");
        assert_eq!(ContentType::new(""), Err(NameError::Empty { what: "content type" }));
    }

    #[test]
    fn reserved_streams_may_be_longer() {
        assert!(StreamName::new(format!("${}", "s".repeat(2_047))).is_ok());
        assert!(StreamName::new(format!("${}", "s".repeat(2_048))).is_err());
    }

    #[test]
    fn control_characters_are_found_where_they_stand() {
        let found = StreamName::new("ü\u{85}x");

        let expected =
            NameError::ControlCharacter { what: "stream name", offset: 2, found: '\u{85}' };
        assert_eq!(found, Err(expected));
        for text in ["a\0", "\n", "a\u{7F}b", "\u{1B}[1m"] {
            assert!(Tag::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bytes_are_a_name_exactly_where_their_text_is_one() {
        let long = "ü".repeat(128);
        for text in ["", "a", "a b", "ü", "a\u{7F}", "\u{80}", "\u{9F}x", "\u{A0}", "a\0", &long] {
            assert_eq!(is_name(text.as_bytes(), 255), Tag::new(text).is_ok(), "{text:?}");
        }
        for (size, at) in (1..20).flat_map(|size| (0..size).map(move |at| (size, at))) {
            for byte in 0..=u8::MAX {
                let mut bytes = vec![b'~'; size];
                bytes[at] = byte;
                assert_eq!(is_printable(&bytes), (0x20..0x7F).contains(&byte), "{byte} at {at}");
            }
        }
        assert!(!is_name(b"\xFF", 255));
        assert!(!is_name(b"a\xC3", 255));
    }

    #[test]
    fn a_category_ends_at_the_first_dash() {
        assert_eq!(category("order-1-2"), "order");
        assert_eq!(category("order"), "order");
        assert_eq!(category("-order"), "");
        assert_eq!(category(""), "");
    }

    #[test]
    fn a_metadata_stream_and_its_stream_name_each_other() {
        let stream = StreamName::new("order-1").unwrap();

        let metadata = stream.metadata_stream();

        assert_eq!(metadata, "$$order-1");
        assert!(metadata.is_metadata());
        assert_eq!(metadata.metadata_of(), Some(stream.clone()));
        assert!(!stream.is_metadata());
        assert_eq!(stream.metadata_of(), None);
        assert!(!StreamName::new("$$").unwrap().is_metadata());
    }

    #[test]
    fn names_of_the_framework_are_reserved_but_not_the_systems() {
        for (text, is_reserved, is_system) in [
            ("order", false, false),
            ("$quipu.timer", true, false),
            ("$quipu", true, true),
            ("$$quipu.timer", true, true),
            ("$", true, true),
            ("a$", false, false),
        ] {
            let tag = Tag::new(text).unwrap();
            assert_eq!((tag.is_reserved(), tag.is_system()), (is_reserved, is_system), "{text}");
        }
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        for (text, is_json) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/cloudevents+json", true),
            ("application/jsonish", false),
            ("application/octet-stream", false),
        ] {
            assert_eq!(ContentType::new(text).unwrap().is_json(), is_json, "{text}");
        }
    }
}
