//! `quipu export`: writes events as JSON lines, to standard output or to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_lite::future::block_on;
use quipu_core::{Direction, EventBatch, EventRef, LogRead, Position, ReadAll};
use tempfile::NamedTempFile;

use super::{Answer, Context, is_reserved, read};
use crate::cli::ExportArgs;
use crate::line;
use crate::output::{Bar, Value, fact};

/// zstd's own default: a fair bargain of time and size.
const ZSTD_LEVEL: i32 = 3;

pub(crate) fn run(args: &ExportArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let LogRead { frontier, batches } = block_on(store.read_all(ReadAll {
        query: args.queries.query(),
        from: args.from.map(Position::new),
        direction: Direction::Forward,
        limit: args.limit.filter(|_| args.full),
        as_of: args.moment.as_of,
    }))?;
    let is_wanted = |event: EventRef<'_>| args.full || !is_reserved(event);
    if args.file == Path::new("-") {
        let output = &mut context.output;
        let mut lines = Vec::new();
        read::print(batches, is_wanted, args.limit, |batch| {
            Ok(output.raw(encode(batch, &mut lines))?)
        })?;
        return Ok(Answer::Yes);
    }
    let failed = || format!("could not write {}", args.file.display());
    let mut target = Target::create(&args.file).with_context(failed)?;
    let bar = Bar::new();
    let mut lines = Vec::new();
    let count = read::print(batches, is_wanted, args.limit, |batch| {
        if let Some(last) = batch.last() {
            bar.advance(last.position().get(), frontier.get(), "events");
        }
        target.encoder.write_all(encode(batch, &mut lines)).with_context(failed)
    })?;
    target.finish(&args.file).with_context(failed)?;
    drop(bar);
    context.output.facts(&[
        fact("exported", Value::Count(count)),
        fact("file", Value::Text(args.file.display().to_string())),
    ])?;
    Ok(Answer::Yes)
}

fn encode<'a>(batch: &EventBatch, lines: &'a mut Vec<u8>) -> &'a [u8] {
    lines.clear();
    for event in batch.iter() {
        line::to_json(event, lines);
    }
    lines
}

/// A file in the making. It has its name only when it is whole, so that nobody takes the first
/// half of an export for all of it.
struct Target {
    encoder: Encoder,
}

enum Encoder {
    Plain(BufWriter<NamedTempFile>),
    Gzip(GzEncoder<BufWriter<NamedTempFile>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<NamedTempFile>>),
}

impl Target {
    fn create(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".quipu-export-");
        // The mode that a file made by its name would have; temporary files are private otherwise.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = BufWriter::new(builder.tempfile_in(parent.unwrap_or(Path::new(".")))?);
        let extension = path.extension().and_then(std::ffi::OsStr::to_str);
        let encoder = match extension {
            Some("gz") => Encoder::Gzip(GzEncoder::new(file, Compression::default())),
            Some("zst") => Encoder::Zstd(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?),
            _ => Encoder::Plain(file),
        };
        Ok(Self { encoder })
    }

    fn finish(self, path: &Path) -> anyhow::Result<()> {
        let file = match self.encoder {
            Encoder::Plain(file) => file,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        let file = file.into_inner().map_err(|error| anyhow!(error.into_error()))?;
        // Synced before it is named: after a crash the name would else stand on an empty file.
        file.as_file().sync_all()?;
        let _: File = file.persist(path)?;
        Ok(())
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
