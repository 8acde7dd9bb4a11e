//! Bytes of rows and small files: numbers little-endian, texts and byte strings behind their size,
//! everything under a checksum.

/// Builds bytes.
#[derive(Debug, Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(super) fn i64(mut self, number: i64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// Bytes whose number the reader knows, or that are the last.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Bytes behind their number.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.u64(bytes.len() as u64).raw(bytes)
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes bytes apart. Each method answers `None` where the bytes are not what they should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn raw<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.raw().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.raw().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.raw().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.raw().map(i64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(self.u64()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Puts a checksum before `body`. It covers `place`, too: what the bytes are and where they
/// belong, so that bytes in a wrong place do not pass.
pub(super) fn seal(place: &[&[u8]], body: &[u8]) -> Vec<u8> {
    Encoder::default().u32(checksum(place, body)).raw(body).finish()
}

/// The body of sealed bytes, or `None` if they are damaged or belong elsewhere.
pub(super) fn unseal<'a>(place: &[&[u8]], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let mut decoder = Decoder::new(sealed);
    let expected = decoder.u32()?;
    let body = decoder.rest();
    (checksum(place, body) == expected).then_some(body)
}

fn checksum(place: &[&[u8]], body: &[u8]) -> u32 {
    let mut sum = 0;
    for part in place {
        // With its size, so that no two places give the same bytes.
        sum = crc32c::crc32c_append(sum, &(part.len() as u64).to_le_bytes());
        sum = crc32c::crc32c_append(sum, part);
    }
    crc32c::crc32c_append(sum, body)
}
