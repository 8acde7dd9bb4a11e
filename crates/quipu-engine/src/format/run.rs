//! The layout of a run: the index of consecutive events in one file that never changes.
//!
//! All numbers are little-endian. The sections follow each other in this order, each at a multiple
//! of 64 bytes with zeros before it:
//!
//! | section | contents |
//! |---|---|
//! | header | 64 bytes, see [`Header`] |
//! | keys | blocks of 32 keys in rising order: their postings, then 32 hashes (`u64`), then where the postings of each end (`u32`, from the block's beginning); the last block may have fewer |
//! | block index | per block its first hash (`u64`) and where its hashes are in the file (`u64`) |
//! | key filter | see [`filter`] |
//! | ids | per event the hash of stream and id (`u64`) and its local position (`u32`), in rising order |
//! | id filter | see [`filter`] |
//! | names | the streams that begin in the run, see [`names`] |
//! | name index | per block of names where it begins in the section (`u64`) |
//! | checksums | the CRC32C (`u32`) of each 64 KiB page of all that comes before |
//! | footer | 176 bytes, the file's last, see [`Footer`] |
//!
//! A **local position** is an event's place in the run: 0 is the run's first event. Postings are
//! laid out as [`postings`] says.
//!
//! Why this order: a run is written front to back in one pass, and hashes follow the postings of
//! their block because only then it is known where those end. Hashes are spread evenly, so that
//! both the block of a hash and its block in a filter can be guessed from its value.
//!
//! What a reader does with damage: header, footer and checksums are compared when a run is opened,
//! a page the first time something in it is read. Whatever is wrong, the run is corrupt as a
//! whole; it is derived from the log and can be built again.

pub(crate) mod filter;
pub(crate) mod names;
pub(crate) mod postings;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use quipu_core::LogId;
use uuid::Uuid;

/// What a run's file begins with.
const MAGIC: [u8; 8] = *b"QUIPURUN";
/// What a run's file ends with.
const END_MAGIC: u32 = u32::from_le_bytes(*b"ENDR");
/// The format version of runs.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Bytes in the header.
pub(crate) const HEADER_SIZE: usize = 64;
/// Bytes in the footer.
pub(crate) const FOOTER_SIZE: usize = 176;
/// Sections begin at multiples of this many bytes.
pub(crate) const SECTION_ALIGNMENT: u64 = 64;
/// Bytes that share a checksum.
pub(crate) const PAGE_SIZE: u64 = 64 << 10;
/// Keys in a block.
pub(crate) const BLOCK_KEY_COUNT: u64 = 32;
/// Bytes of a key in its block: hash and end.
pub(crate) const KEY_SIZE: u64 = 12;
/// Bytes of a block in the block index.
pub(crate) const BLOCK_INDEX_SIZE: u64 = 16;
/// Bytes of an event in the ids.
pub(crate) const ID_SIZE: u64 = 12;
/// Names in a block.
pub(crate) const BLOCK_NAME_COUNT: u64 = 16;
/// Bytes of a block of names in the name index.
pub(crate) const NAME_INDEX_SIZE: u64 = 8;
/// The most events in a run, so that the places in a block of keys fit 32 bits.
pub(crate) const EVENT_COUNT_MAX: u64 = 1 << 26;

/// What the name of a run's file has behind it while the run is written.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// What is wrong with some bytes.
pub(crate) type Damage = &'static str;

/// Which run of a log: its level and its first and last position.
///
/// Level 0 is written from a tail, level n + 1 merged from runs of level n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunName {
    /// How often its entries were merged.
    pub(crate) level: u32,
    /// Its first position.
    pub(crate) first: u64,
    /// Its last position.
    pub(crate) last: u64,
}

impl RunName {
    /// How many events the run has.
    pub(crate) fn event_count(self) -> u64 {
        self.last - self.first + 1
    }
}

/// The name of the run's file.
impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}-{:020}-{:020}.qix", self.level, self.first, self.last)
    }
}

impl FromStr for RunName {
    type Err = Damage;

    fn from_str(file_name: &str) -> Result<Self, Damage> {
        const NOT_A_RUN: Damage = "the name is not a run's";
        let mut parts = file_name
            .strip_prefix('L')
            .and_then(|rest| rest.strip_suffix(".qix"))
            .ok_or(NOT_A_RUN)?
            .split('-');
        let (Some(level), Some(first), Some(last), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NOT_A_RUN);
        };
        let name = Self {
            level: level.parse().map_err(|_| NOT_A_RUN)?,
            first: first.parse().map_err(|_| NOT_A_RUN)?,
            last: last.parse().map_err(|_| NOT_A_RUN)?,
        };
        // Only the one spelling, so that a file has one name.
        if name.to_string() == file_name { Ok(name) } else { Err(NOT_A_RUN) }
    }
}

/// The log that runs belong to, and the seed that its names are hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The log.
    pub(crate) log: LogId,
    /// The seed of its keys.
    pub(crate) seed: u64,
}

/// A run's first bytes: which run it is.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | `QUIPURUN` |
/// | 8 | 4 | format version |
/// | 12 | 4 | level |
/// | 16 | 16 | log id |
/// | 32 | 8 | seed of the keys |
/// | 40 | 8 | first position |
/// | 48 | 8 | last position |
/// | 56 | 4 | zero |
/// | 60 | 4 | CRC32C of the bytes before |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whose run it is.
    pub(crate) origin: Origin,
    /// Which run it is.
    pub(crate) name: RunName,
}

impl Header {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.name.level.to_le_bytes());
        bytes[16..32].copy_from_slice(self.origin.log.as_uuid().as_bytes());
        bytes[32..40].copy_from_slice(&self.origin.seed.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.name.first.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.name.last.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header of these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        const SHORT: Damage = "the file is too short for a run";
        let bytes: &[u8; HEADER_SIZE] =
            bytes.get(..HEADER_SIZE).and_then(|bytes| bytes.try_into().ok()).ok_or(SHORT)?;
        if bytes[..8] != MAGIC {
            return Err("the file is not a run");
        }
        if u32_at(bytes, 60) != Some(crc32c::crc32c(&bytes[..60])) {
            return Err("the header does not match its checksum");
        }
        if u32_at(bytes, 8) != Some(FORMAT_VERSION) {
            return Err("the run has a format version that is not known");
        }
        let uuid = Uuid::from_slice(&bytes[16..32]).map_err(|_| SHORT)?;
        let name = RunName {
            level: u32_at(bytes, 12).ok_or(SHORT)?,
            first: u64_at(bytes, 40).ok_or(SHORT)?,
            last: u64_at(bytes, 48).ok_or(SHORT)?,
        };
        let last_max = name.first.checked_add(EVENT_COUNT_MAX - 1);
        if name.first > name.last || last_max.is_none_or(|last_max| name.last > last_max) {
            return Err("the run's first and last positions are impossible");
        }
        let seed = u64_at(bytes, 32).ok_or(SHORT)?;
        Ok(Self { origin: Origin { log: LogId::from_uuid(uuid), seed }, name })
    }
}

/// The sections between header and footer, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Blocks of keys.
    Keys,
    /// Where each block is.
    BlockIndex,
    /// Which keys there may be.
    KeyFilter,
    /// Event ids.
    Ids,
    /// Which ids there may be.
    IdFilter,
    /// Names of streams.
    Names,
    /// Where each block of names is.
    NameIndex,
    /// What the bytes before should be.
    Checksums,
}

/// How many sections there are.
pub(crate) const SECTION_COUNT: usize = Section::Checksums as usize + 1;

/// A run's last bytes: where everything is.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 × 16 | per section where it begins and how many bytes it has |
/// | 128 | 8 | how many keys there are |
/// | 136 | 8 | how many names there are |
/// | 144 | 4 | CRC32C of the header's 64 bytes |
/// | 148 | 4 | CRC32C of the checksums |
/// | 152 | 16 | zeros |
/// | 168 | 4 | CRC32C of the bytes before |
/// | 172 | 4 | `ENDR` |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Where each section begins and ends in the file.
    pub(crate) sections: [Range<u64>; SECTION_COUNT],
    /// How many keys there are.
    pub(crate) key_count: u64,
    /// How many names there are.
    pub(crate) name_count: u64,
    /// The checksum of the header.
    pub(crate) header_crc: u32,
    /// The checksum of the checksums.
    pub(crate) checksums_crc: u32,
}

impl Footer {
    /// Where a section begins and ends in the file.
    pub(crate) fn section(&self, section: Section) -> Range<u64> {
        self.sections[section as usize].clone()
    }

    /// The footer's bytes.
    pub(crate) fn encode(&self) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        for (place, section) in bytes.chunks_exact_mut(16).zip(&self.sections) {
            place[..8].copy_from_slice(&section.start.to_le_bytes());
            place[8..].copy_from_slice(&(section.end - section.start).to_le_bytes());
        }
        bytes[128..136].copy_from_slice(&self.key_count.to_le_bytes());
        bytes[136..144].copy_from_slice(&self.name_count.to_le_bytes());
        bytes[144..148].copy_from_slice(&self.header_crc.to_le_bytes());
        bytes[148..152].copy_from_slice(&self.checksums_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..168]);
        bytes[168..172].copy_from_slice(&crc.to_le_bytes());
        bytes[172..].copy_from_slice(&END_MAGIC.to_le_bytes());
        bytes
    }

    /// The footer of these bytes, of a file of that size that holds that many events.
    pub(crate) fn decode(bytes: &[u8], file_size: u64, event_count: u64) -> Result<Self, Damage> {
        const SHORT: Damage = "the file is too short for a run";
        if bytes.len() != FOOTER_SIZE || u32_at(bytes, 172) != Some(END_MAGIC) {
            return Err("the file does not end like a run");
        }
        if u32_at(bytes, 168) != Some(crc32c::crc32c(&bytes[..168])) {
            return Err("the footer does not match its checksum");
        }
        let mut footer = Self {
            key_count: u64_at(bytes, 128).ok_or(SHORT)?,
            name_count: u64_at(bytes, 136).ok_or(SHORT)?,
            header_crc: u32_at(bytes, 144).ok_or(SHORT)?,
            checksums_crc: u32_at(bytes, 148).ok_or(SHORT)?,
            ..Self::default()
        };
        for (place, section) in bytes.chunks_exact(16).zip(&mut footer.sections) {
            let begin = u64_at(place, 0).ok_or(SHORT)?;
            let size = u64_at(place, 8).ok_or(SHORT)?;
            *section = begin..begin.checked_add(size).ok_or("a section has an impossible size")?;
        }
        footer.check(file_size, event_count)?;
        Ok(footer)
    }

    /// Whether the sections fit each other, the counts and the file.
    fn check(&self, file_size: u64, event_count: u64) -> Result<(), Damage> {
        let mut end = HEADER_SIZE as u64;
        for section in &self.sections {
            if section.start != end.next_multiple_of(SECTION_ALIGNMENT) || section.end > file_size {
                return Err("a section is not where it should be");
            }
            end = section.end;
        }
        // Each key and name has at least a byte, so these products cannot overflow.
        if self.key_count > file_size || self.name_count > file_size {
            return Err("the footer counts more than the file can hold");
        }
        let size = |section| {
            let range = self.section(section);
            range.end - range.start
        };
        let pages = self.section(Section::Checksums).start.div_ceil(PAGE_SIZE);
        let fits = size(Section::Keys) >= self.key_count * KEY_SIZE
            && size(Section::BlockIndex)
                == self.key_count.div_ceil(BLOCK_KEY_COUNT) * BLOCK_INDEX_SIZE
            && size(Section::KeyFilter) == filter::size(self.key_count)
            && size(Section::Ids) == event_count * ID_SIZE
            && size(Section::IdFilter) == filter::size(event_count)
            && size(Section::NameIndex)
                == self.name_count.div_ceil(BLOCK_NAME_COUNT) * NAME_INDEX_SIZE
            && size(Section::Checksums) == pages * 4
            && file_size == end.next_multiple_of(SECTION_ALIGNMENT) + FOOTER_SIZE as u64;
        if fits { Ok(()) } else { Err("a section does not have the size that it should have") }
    }
}

/// The number at an offset, if the bytes go so far.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The number at an offset, if the bytes go so far.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Appends a number in as few bytes as it needs: seven bits in each, low bits first, the eighth bit
/// set in all but the last.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number that [`put_varint`] appended off the front of some bytes.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u32::from(byte & 0x7f);
        if shift == 28 && bits > 0xf {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The most bytes of a varint.
pub(crate) const VARINT_SIZE_MAX: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_put_is_taken() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 28, u32::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            bytes.push(7);

            let mut rest = bytes.as_slice();
            assert_eq!(take_varint(&mut rest), Some(number));
            assert_eq!(rest, [7]);
        }
    }

    #[test]
    fn a_number_that_does_not_end_or_does_not_fit_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 4], &[0xff, 0xff, 0xff, 0xff, 0x10], &[0x80; 6]] {
            assert_eq!(take_varint(&mut &*bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn a_file_name_says_which_run_it_is() {
        let name = RunName { level: 2, first: 1, last: 8_388_608 };

        let file_name = name.to_string();

        assert_eq!(file_name, "L2-00000000000000000001-00000000000008388608.qix");
        assert_eq!(file_name.parse(), Ok(name));
        for wrong in ["", "L2", "L2-1-2.qix", "x.qix", "L2-00000000000000000001.qix", "L-1-2.tmp"] {
            assert!(wrong.parse::<RunName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_says_what_was_put_in_it() {
        let header = Header {
            origin: Origin { log: LogId::from_uuid(Uuid::from_bytes([7; 16])), seed: 99 },
            name: RunName { level: 1, first: 5, last: 77 },
        };

        let bytes = header.encode();

        assert_eq!(Header::decode(&bytes), Ok(header));
        assert!(Header::decode(&bytes[..63]).is_err());
        for bit in 0..HEADER_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
