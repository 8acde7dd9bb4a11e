//! Verifying a store: every byte of it, without changing one.
//!
//! 1. both copies of the manifest;
//! 2. every run of the index: that it is whole, and its checksums;
//! 3. every segment in order: its head, the chain of its batches, every record, what streams and
//!    times must keep to, and the table beside it;
//! 4. while at it, that the index says what the log says, neither less nor more.
//!
//! Damage is reported and gone past, as far as the bytes behind it can be told apart again.
//!
//! Memory is bounded by the largest batch, by 131,072 events' keys, and by some 20 bytes for each
//! stream, whose last revision is kept by the hash of its name. Two of ten million streams share a
//! hash with a probability of about one in 400,000, and would then be reported.

mod index;
mod log;
mod window;

use std::fmt;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DiskError;
use crate::format::FORMAT_VERSION;
use crate::format::manifest::{MANIFEST_SIZE_MAX, Manifest, ManifestError};
use crate::format::watermark::{WATERMARK_SIZE, WatermarkMark};
use crate::io::{Io, SystemIo};
use crate::layout::{Layout, parse_segment_name};
use crate::options::OpenError;
use crate::progress::{Progress, Wish};

/// How often a file that another process is replacing is read again.
const ATTEMPT_COUNT_MAX: usize = 16;

/// Something in a store's files that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, reason } = self;
        write!(f, "{} is damaged at byte {offset}: {reason}", file.display())
    }
}

/// What verifying found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Events that are whole, those that were scavenged included.
    pub event_count: u64,
    /// Events of which only a stub is left.
    pub scavenged_count: u64,
    /// Segments that hold events.
    pub segment_count: u64,
    /// Runs of the index.
    pub run_count: u64,
    /// How often damage was reported.
    pub damage_count: u64,
    /// Files of torn bytes that recovery kept aside: remains of batches that were never
    /// acknowledged. They are no damage.
    pub torn_count: u64,
    /// Bytes in those files.
    pub torn_size: u64,
    /// Bytes behind the end of the log that the next opening for writing will keep aside, as it
    /// did with those.
    pub loose_size: u64,
}

/// Why a store could not be verified at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no store there, or one that this version cannot read: as in opening it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Whoever watched the progress wanted no more.
    #[error("the verification was cancelled")]
    Cancelled,
}

impl From<DiskError> for VerifyError {
    fn from(error: DiskError) -> Self {
        OpenError::Disk(error).into()
    }
}

/// Checks every byte of the store in `directory`, changes none, and gives each damage to `damage`.
///
/// It may run beside a process that writes: then it looks at what was durable when it began, and
/// perhaps a little more.
///
/// # Errors
///
/// [`VerifyError::Open`] where there is nothing to verify. Damage is not an error.
pub fn verify<W: Wish>(
    directory: &Path,
    damage: &mut dyn FnMut(Damage),
    progress: &mut dyn FnMut(Progress) -> W,
) -> Result<Verified, VerifyError> {
    verify_with(Arc::new(SystemIo::new()), directory, damage, progress)
}

/// Verifies a store on another disk than the machine's, as [`verify`] does: for simulations.
///
/// # Errors
///
/// As in [`verify`].
#[expect(clippy::needless_pass_by_value, reason = "callers hand disks over, as in opening")]
pub fn verify_with<W: Wish>(
    io: Arc<dyn Io>,
    directory: &Path,
    damage: &mut dyn FnMut(Damage),
    progress: &mut dyn FnMut(Progress) -> W,
) -> Result<Verified, VerifyError> {
    let layout = Layout::new(directory);
    list_root(&io, directory)?;
    let mut watch = |own| progress(own).flow();
    let mut findings = Findings {
        damage,
        progress: &mut watch,
        is_cancelled: false,
        damage_count: 0,
        done: 0,
        total: 0,
    };
    let Some(manifest) = verify_manifests(&io, &layout, &mut findings)? else {
        // Without a manifest nobody knows which segments count, nor what the index hashes with.
        let damage_count = findings.damage_count;
        return Ok(Verified { damage_count, ..Verified::default() });
    };
    let (manifest, index) = index::open(&io, &layout, manifest, &mut findings)?;
    // The mark is read after the manifest, so all that runs hold is at or below it.
    let mark = read_mark(&io, &layout);
    let mut files = list_segments(&io, &layout)?;
    files.retain(|(number, generation, _)| *generation == manifest.generation_of(*number));
    findings.total = files.iter().map(|(_, _, size)| size).sum();
    let numbers = files.into_iter().map(|(number, ..)| number).collect();
    let walk = log::Walk::new(&io, &layout, &manifest, mark, index, &mut findings);
    let mut verified = walk.run(numbers);
    if findings.is_cancelled {
        return Err(VerifyError::Cancelled);
    }
    verified.damage_count = findings.damage_count;
    for (_, size) in files_in(&io, &layout.torn())? {
        verified.torn_count += 1;
        verified.torn_size += size;
    }
    Ok(verified)
}

/// Where damage and progress go.
struct Findings<'a> {
    damage: &'a mut dyn FnMut(Damage),
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    /// Whether whoever watches wants no more.
    is_cancelled: bool,
    damage_count: u64,
    done: u64,
    total: u64,
}

impl Findings<'_> {
    fn report(&mut self, file: &Path, offset: u64, reason: impl Into<String>) {
        self.damage_count += 1;
        (self.damage)(Damage { file: file.to_owned(), offset, reason: reason.into() });
    }

    /// Reports what kept a file from being read: bytes that cannot be read are as good as damaged.
    fn report_error(&mut self, error: DiskError) {
        match error {
            DiskError::Corrupt(corrupt) => {
                self.report(&corrupt.file, corrupt.offset, corrupt.reason);
            }
            DiskError::Io { operation, path, source } => {
                self.report(&path, 0, format!("could not {operation} it: {source}"));
            }
        }
    }

    /// Counts bytes that were looked at.
    fn advance(&mut self, size: u64) {
        self.done = (self.done + size).min(self.total);
        let flow = (self.progress)(Progress::new(self.done, self.total, "bytes"));
        self.is_cancelled |= flow.is_break();
    }
}

fn list_root(io: &Arc<dyn Io>, directory: &Path) -> Result<(), OpenError> {
    let directory = || directory.to_owned();
    match io.list(&directory()) {
        Ok(names) if names.iter().any(|name| name.starts_with("manifest-")) => Ok(()),
        Ok(_) => Err(OpenError::NotAStore { directory: directory() }),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => OpenError::Missing { directory: directory() },
            ErrorKind::NotADirectory => OpenError::NotAStore { directory: directory() },
            _ => DiskError::io("list", &directory())(error).into(),
        }),
    }
}

/// Checks both copies of the manifest and answers the newer one that is whole.
fn verify_manifests(
    io: &Arc<dyn Io>,
    layout: &Layout,
    findings: &mut Findings<'_>,
) -> Result<Option<Manifest>, VerifyError> {
    let mut newest: Option<Manifest> = None;
    let mut missing = None;
    for path in layout.manifests() {
        match read_manifest(io, &path)? {
            None => missing = Some(path),
            Some(Ok(manifest)) => {
                if newest.as_ref().is_none_or(|own| own.generation < manifest.generation) {
                    newest = Some(manifest);
                }
            }
            Some(Err(ManifestError::Damaged(reason))) => findings.report(&path, 0, reason),
            Some(Err(ManifestError::Newer(found))) => {
                let directory = layout.root().to_owned();
                return Err(
                    OpenError::NewerFormat { directory, found, known: FORMAT_VERSION }.into()
                );
            }
        }
    }
    // The first change makes one copy, the second the other.
    if let (Some(path), Some(manifest)) = (missing, &newest)
        && manifest.generation > 1
    {
        findings.report(&path, 0, "a copy of the manifest is missing");
    }
    Ok(newest)
}

/// Reads a copy of the manifest, again where it is just being replaced.
fn read_manifest(
    io: &Arc<dyn Io>,
    path: &Path,
) -> Result<Option<Result<Manifest, ManifestError>>, DiskError> {
    let mut before = None;
    for _ in 0..ATTEMPT_COUNT_MAX {
        let file = match io.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io("open", path)(error)),
        };
        let size = file.size().map_err(DiskError::io("read", path))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(MANIFEST_SIZE_MAX)];
        if let Err(error) = file.read_at(&mut bytes, 0) {
            if error.kind() == ErrorKind::UnexpectedEof {
                continue;
            }
            return Ok(Some(Err(ManifestError::Damaged("it cannot be read"))));
        }
        let decoded = Manifest::decode(&bytes);
        if decoded.is_ok() || before.as_ref() == Some(&bytes) {
            return Ok(Some(decoded));
        }
        before = Some(bytes);
    }
    Ok(Some(Err(ManifestError::Damaged("it is being replaced all the time"))))
}

/// How far a writer said that the log is durable, if it did.
fn read_mark(io: &Arc<dyn Io>, layout: &Layout) -> Option<WatermarkMark> {
    (0..ATTEMPT_COUNT_MAX).find_map(|_| {
        let mut bytes = [0; WATERMARK_SIZE];
        let file = io.open(&layout.watermark()).ok()?;
        file.read_at(&mut bytes, 0).ok()?;
        WatermarkMark::decode(&bytes)
    })
}

/// Number, generation and size of the segments' files, in order.
fn list_segments(io: &Arc<dyn Io>, layout: &Layout) -> Result<Vec<(u64, u32, u64)>, DiskError> {
    let mut segments: Vec<_> = files_in(io, &layout.segments())?
        .into_iter()
        .filter_map(|(name, size)| {
            let (number, generation) = parse_segment_name(&name)?;
            Some((number, generation, size))
        })
        .collect();
    segments.sort_unstable();
    Ok(segments)
}

/// The files in a directory and their sizes; none where it is missing.
pub(crate) fn files_in(
    io: &Arc<dyn Io>,
    directory: &Path,
) -> Result<Vec<(String, u64)>, DiskError> {
    let names = match io.list(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DiskError::io("list", directory)(error)),
    };
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        let path = directory.join(&name);
        match io.open(&path).and_then(|file| file.size()) {
            Ok(size) => files.push((name, size)),
            // Another process may have removed it since.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::io("open", &path)(error)),
        }
    }
    Ok(files)
}
