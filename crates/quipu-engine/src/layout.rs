//! Which file is where in a store's directory.

use std::path::{Path, PathBuf};

/// The paths in one store's directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The two copies of the manifest.
    pub(crate) fn manifests(&self) -> [PathBuf; 2] {
        [self.root.join("manifest-a"), self.root.join("manifest-b")]
    }

    /// A copy of the manifest that is not whole yet.
    pub(crate) fn new_manifest(&self) -> PathBuf {
        self.root.join("manifest.new")
    }

    pub(crate) fn watermark(&self) -> PathBuf {
        self.root.join("watermark")
    }

    /// Space held back so that what frees space can be done on a full disk.
    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(crate) fn segment(&self, number: u64, generation: u32) -> PathBuf {
        self.segments().join(segment_name(number, generation, "log"))
    }

    pub(crate) fn offsets(&self, number: u64, generation: u32) -> PathBuf {
        self.segments().join(segment_name(number, generation, "offsets"))
    }

    /// The offsets so far of the segment that is being written.
    pub(crate) fn growing_offsets(&self, number: u64) -> PathBuf {
        self.segments().join(segment_name(number, 0, GROWING_OFFSETS))
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// What recovery took out of the log: bytes of a batch that was never acknowledged.
    pub(crate) fn torn(&self) -> PathBuf {
        self.root.join("torn")
    }

    /// What is kept beside the log.
    pub(crate) fn beside(&self) -> PathBuf {
        self.root.join("beside")
    }
}

const GROWING_OFFSETS: &str = "growing";

fn segment_name(number: u64, generation: u32, extension: &str) -> String {
    match generation {
        0 => format!("{number:08}.{extension}"),
        _ => format!("{number:08}.{generation}.{extension}"),
    }
}

/// The number and generation in the name of a segment file; `None` for other files.
pub(crate) fn parse_segment_name(name: &str) -> Option<(u64, u32)> {
    parse_numbers(name.strip_suffix(".log")?)
}

/// The number and generation in the name of the table beside a segment; `None` for other files.
pub(crate) fn parse_offsets_name(name: &str) -> Option<(u64, u32)> {
    parse_numbers(name.strip_suffix(".offsets")?)
}

/// The number in the name of the offsets of a segment that was being written; `None` for other files.
pub(crate) fn parse_growing_offsets_name(name: &str) -> Option<u64> {
    name.strip_suffix(GROWING_OFFSETS)?.strip_suffix('.')?.parse().ok()
}

fn parse_numbers(stem: &str) -> Option<(u64, u32)> {
    match stem.split_once('.') {
        None => Some((stem.parse().ok()?, 0)),
        Some((number, generation)) => Some((number.parse().ok()?, generation.parse().ok()?)),
    }
}
