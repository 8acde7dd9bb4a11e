//! The manifest: which log this is, which of its files count, and how far it is known to be whole.
//!
//! There are two copies. Each change goes to the older one and is synced, so that a crash in the
//! middle leaves the other; the valid copy with the higher generation counts.

use quipu_core::{Incarnation, Lives, LogId, Position};
use uuid::Uuid;

use super::fields::Fields;
use super::run::RunName;
use super::{FORMAT_VERSION, checksum};

const MAGIC: [u8; 8] = *b"QuipuMan";
const HEADER_SIZE: usize = 40;
/// A manifest is small; a size beyond this is not one.
pub(crate) const MANIFEST_SIZE_MAX: usize = 64 << 20;

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Rises with each change.
    pub(crate) generation: u64,
    pub(crate) log: LogId,
    pub(crate) name: String,
    pub(crate) lives: Lives,
    /// The seed of the index's hashes.
    pub(crate) hash_seed: u64,
    /// Bytes of an ordinary segment.
    pub(crate) segment_size: u64,
    /// The end of the log when it was last known to be whole.
    pub(crate) floor: Floor,
    /// Segments that scavenging rewrote, with their present generation, in order.
    pub(crate) rewritten: Vec<(u64, u32)>,
    /// The runs of the index, in order of their positions.
    pub(crate) runs: Vec<RunName>,
}

/// The end of the log when it was known to be whole: damage at or below it is corruption.
///
/// One that knows more of a log is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Floor {
    /// The segment of the last batch; 0 while there is none.
    pub(crate) segment: u64,
    /// Where the last batch ends in it.
    pub(crate) offset: u64,
    /// The sequence of the last batch.
    pub(crate) sequence: u64,
    /// The header checksum of the last batch.
    pub(crate) header_crc: u32,
    /// The position of the last event.
    pub(crate) position: u64,
}

/// Why bytes are not a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestError {
    /// They are damaged, or something else.
    Damaged(&'static str),
    /// They were written by a newer version, with features that this one does not know.
    Newer(u32),
}

impl Manifest {
    /// The generation of a segment that counts.
    pub(crate) fn generation_of(&self, segment: u64) -> u32 {
        let index = self.rewritten.binary_search_by_key(&segment, |(number, _)| *number);
        index.map_or(0, |index| self.rewritten[index].1)
    }

    /// Makes another generation of a segment the one that counts.
    pub(crate) fn set_generation(&mut self, segment: u64, generation: u32) {
        match self.rewritten.binary_search_by_key(&segment, |(number, _)| *number) {
            Ok(index) => self.rewritten[index].1 = generation,
            Err(index) => self.rewritten.insert(index, (segment, generation)),
        }
    }

    /// Writes down how far the log is whole, if that is more than is known.
    pub(crate) fn raise_floor(&mut self, floor: Floor) {
        self.floor = self.floor.max(floor);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.encode_body();
        let mut bytes = Vec::with_capacity(HEADER_SIZE + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        // Features that a reader must know, and those it may ignore: none so far.
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(
            &u32::try_from(body.len()).expect("a manifest is small").to_le_bytes(),
        );
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&checksum(0, &body).to_le_bytes());
        let crc = checksum(0, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER_SIZE);
        bytes.extend_from_slice(&body);
        bytes
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let count = |count: usize| u32::try_from(count).expect("a manifest is small").to_le_bytes();
        body.extend_from_slice(self.log.as_uuid().as_bytes());
        body.extend_from_slice(&self.hash_seed.to_le_bytes());
        body.extend_from_slice(&self.segment_size.to_le_bytes());
        body.extend_from_slice(&self.floor.segment.to_le_bytes());
        body.extend_from_slice(&self.floor.offset.to_le_bytes());
        body.extend_from_slice(&self.floor.sequence.to_le_bytes());
        body.extend_from_slice(&self.floor.header_crc.to_le_bytes());
        body.extend_from_slice(&self.floor.position.to_le_bytes());
        body.extend_from_slice(&count(self.name.len()));
        body.extend_from_slice(self.name.as_bytes());
        body.extend_from_slice(&count(self.lives.later().len()));
        for (incarnation, began_at) in self.lives.later() {
            body.extend_from_slice(&incarnation.get().to_le_bytes());
            body.extend_from_slice(&began_at.get().to_le_bytes());
        }
        body.extend_from_slice(&count(self.rewritten.len()));
        for (segment, generation) in &self.rewritten {
            body.extend_from_slice(&segment.to_le_bytes());
            body.extend_from_slice(&generation.to_le_bytes());
        }
        body.extend_from_slice(&count(self.runs.len()));
        for run in &self.runs {
            body.extend_from_slice(&run.first.to_le_bytes());
            body.extend_from_slice(&run.last.to_le_bytes());
            body.extend_from_slice(&run.level.to_le_bytes());
        }
        body
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        const SHORT: ManifestError = ManifestError::Damaged("the manifest is cut short");
        let (head, rest) = bytes.split_at_checked(HEADER_SIZE).ok_or(SHORT)?;
        if head[..8] != MAGIC {
            return Err(ManifestError::Damaged("this is not a manifest"));
        }
        if checksum(0, &head[..HEADER_SIZE - 4]).to_le_bytes() != head[HEADER_SIZE - 4..] {
            return Err(ManifestError::Damaged("the manifest's header fails its checksum"));
        }
        let mut fields = Fields::new(&head[8..]);
        let version = fields.u32().ok_or(SHORT)?;
        let must_know = fields.u32().ok_or(SHORT)?;
        if version > FORMAT_VERSION || must_know != 0 {
            return Err(ManifestError::Newer(version));
        }
        let _may_ignore = fields.u32().ok_or(SHORT)?;
        let size = fields.u32().ok_or(SHORT)? as usize;
        let generation = fields.u64().ok_or(SHORT)?;
        let crc = fields.u32().ok_or(SHORT)?;
        let body = rest.get(..size).ok_or(SHORT)?;
        if checksum(0, body) != crc {
            return Err(ManifestError::Damaged("the manifest fails its checksum"));
        }
        Self::decode_body(&mut Fields::new(body), generation)
            .ok_or(ManifestError::Damaged("the manifest's fields are not well-formed"))
    }

    fn decode_body(fields: &mut Fields<'_>, generation: u64) -> Option<Self> {
        let log = LogId::from_uuid(Uuid::from_bytes(fields.array()?));
        let hash_seed = fields.u64()?;
        let segment_size = fields.u64()?;
        let floor = Floor {
            segment: fields.u64()?,
            offset: fields.u64()?,
            sequence: fields.u64()?,
            header_crc: fields.u32()?,
            position: fields.u64()?,
        };
        let name_size = fields.u32()? as usize;
        let name = std::str::from_utf8(fields.bytes(name_size)?).ok()?.to_owned();
        let lives = (0..fields.u32()?)
            .map(|_| Some((Incarnation::new(fields.u64()?), Position::new(fields.u64()?))))
            .collect::<Option<Vec<_>>>()?;
        let rewritten = (0..fields.u32()?)
            .map(|_| Some((fields.u64()?, fields.u32()?)))
            .collect::<Option<Vec<_>>>()?;
        let runs = (0..fields.u32()?)
            .map(|_| {
                Some(RunName { first: fields.u64()?, last: fields.u64()?, level: fields.u32()? })
            })
            .collect::<Option<Vec<_>>>()?;
        let lives = Lives::new(log, lives);
        let manifest =
            Self { generation, log, name, lives, hash_seed, segment_size, floor, rewritten, runs };
        (fields.is_at_end() && manifest.is_in_order()).then_some(manifest)
    }

    /// Whether the runs begin at position 1 and follow each other without gaps, and the rewritten
    /// segments rise.
    fn is_in_order(&self) -> bool {
        if !self.rewritten.is_sorted_by(|one, other| one.0 < other.0) {
            return false;
        }
        let mut next = 1;
        for run in &self.runs {
            if run.first != next || run.last < run.first {
                return false;
            }
            next = run.last + 1;
        }
        true
    }
}
