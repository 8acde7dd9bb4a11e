//! The offsets of the segment that is being written, on disk as far as the manifest knows the log.
//!
//! Opening would otherwise walk all of that segment to find out where its records are. What is here
//! is no part of the log: without it, or where it is damaged, the segment is walked as a whole.

use std::sync::Arc;

use crate::error::DiskError;
use crate::format::offsets::OffsetsChunk;
use crate::format::segment::SegmentHeader;
use crate::io::{File, Io};
use crate::layout::Layout;
use crate::segment::create_or_open;

/// The file of them.
#[derive(Debug, Default)]
pub(crate) struct GrowingOffsets {
    /// `None` until there is something to write.
    file: Option<Arc<dyn File>>,
    /// The bytes of the chunks that count. What is behind them is written over.
    size: u64,
    /// How many offsets they have.
    count: usize,
}

impl GrowingOffsets {
    /// Reads the offsets of the segment's first `count` records, if the file begins with chunks of
    /// exactly these, and they take no more than `size_max` bytes.
    pub(crate) fn read(
        file: Arc<dyn File>,
        header: &SegmentHeader,
        count: usize,
        size_max: u64,
    ) -> Option<(Self, Vec<u32>)> {
        let size = file.size().ok()?.min(size_max);
        let mut all = vec![0; usize::try_from(size).ok()?];
        file.read_at(&mut all, 0).ok()?;
        let (mut rest, mut offsets) = (&*all, Vec::with_capacity(count.min(all.len() / 4)));
        while offsets.len() < count {
            let (chunk, behind) = chunk_after(header, offsets.len()).decode(rest)?;
            offsets.extend(chunk);
            rest = behind;
        }
        let size = (all.len() - rest.len()) as u64;
        (offsets.len() == count).then_some((Self { file: Some(file), size, count }, offsets))
    }

    /// How many offsets are written down.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Writes the offsets down that follow those that are. On `Ok` they are durable.
    pub(crate) fn add(
        &mut self,
        io: &dyn Io,
        layout: &Layout,
        header: &SegmentHeader,
        offsets: &[u32],
    ) -> Result<(), DiskError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let path = layout.growing_offsets(header.number);
        let file = if let Some(file) = &self.file {
            Arc::clone(file)
        } else {
            let file = create_or_open(io, &path)?;
            let directory = layout.segments();
            io.sync_dir(&directory).map_err(DiskError::io("sync", &directory))?;
            Arc::clone(self.file.insert(file))
        };
        let chunk = chunk_after(header, self.count).encode(offsets);
        file.write_at(&chunk, self.size).map_err(DiskError::io("write", &path))?;
        file.sync().map_err(DiskError::io("sync", &path))?;
        self.size += chunk.len() as u64;
        self.count += offsets.len();
        Ok(())
    }
}

/// The chunk behind those that have so many offsets.
fn chunk_after(header: &SegmentHeader, count: usize) -> OffsetsChunk {
    OffsetsChunk {
        log: header.log,
        segment: header.number,
        first_position: header.first_position + count as u64,
    }
}
