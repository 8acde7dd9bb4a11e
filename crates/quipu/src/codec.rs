//! How an event becomes bytes and comes back.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How the data of events is encoded. [`Json`] unless an event says otherwise with
/// `#[event(codec = ...)]`.
///
/// The content type is kept with each event, so a type may change its codec: JSON that was appended
/// before is read as JSON, other formats by the codec that has their content type. Upcasters work
/// on JSON values; data of another format reaches them if its codec can read any value (one that
/// describes itself, as CBOR does) and was named with
/// [`Upcasters::codec`](crate::Upcasters::codec).
///
/// ```
/// use quipu::{Codec, CodecError};
/// use serde::{Serialize, de::DeserializeOwned};
///
/// /// JSON that people like to read.
/// struct Pretty;
///
/// impl Codec for Pretty {
///     const CONTENT_TYPE: &'static str = "application/pretty+json";
///
///     fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
///         serde_json::to_vec_pretty(value).map_err(CodecError::new)
///     }
///
///     fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, CodecError> {
///         serde_json::from_slice(data).map_err(CodecError::new)
///     }
/// }
///
/// assert_eq!(Pretty::decode::<u8>(&Pretty::encode(&7)?)?, 7);
/// # Ok::<(), CodecError>(())
/// ```
pub trait Codec: 'static {
    /// What marks data of this codec in the log, a media type.
    const CONTENT_TYPE: &'static str;

    /// The bytes of `value`.
    ///
    /// # Errors
    ///
    /// A [`CodecError`] if the value has no such form, such as a map with keys that are not text.
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError>;

    /// The value of these bytes.
    ///
    /// # Errors
    ///
    /// A [`CodecError`] if the bytes are not a value of this type.
    fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, CodecError>;
}

/// The default codec: JSON. Unknown fields are ignored, missing ones are an error unless the field
/// is optional or has `#[serde(default)]`.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a codec, never a value")]
pub struct Json;

impl Codec for Json {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(data).map_err(CodecError::new)
    }
}

/// Why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(Box<dyn std::error::Error + Send + Sync>);

impl CodecError {
    /// Wraps what failed.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
