//! The limits of every store, in one place. A server may set less, never more.

/// The most bytes an event may hold, data and metadata together: 16 MiB.
pub const EVENT_SIZE_MAX: usize = 16 << 20;
/// The most bytes of data and metadata in one append: 64 MiB.
pub const APPEND_SIZE_MAX: usize = 64 << 20;
/// The most events in one append.
pub const APPEND_COUNT_MAX: usize = 65_536;
/// The most tags of one event. Reserved tags, those that begin with `$`, do not count.
pub const TAG_COUNT_MAX: usize = 64;
/// The most tags of one event, reserved ones included.
pub const TAG_COUNT_TOTAL_MAX: usize = 255;
/// The most bytes in a tag.
pub const TAG_SIZE_MAX: usize = 255;
/// The most bytes in an event type.
pub const EVENT_TYPE_SIZE_MAX: usize = 255;
/// The most bytes in a content type.
pub const CONTENT_TYPE_SIZE_MAX: usize = 255;
/// The most bytes in the name of a stream.
pub const STREAM_NAME_SIZE_MAX: usize = 512;
/// The most bytes in the name of a reserved stream, one that begins with `$`.
pub const RESERVED_STREAM_NAME_SIZE_MAX: usize = 2_048;
