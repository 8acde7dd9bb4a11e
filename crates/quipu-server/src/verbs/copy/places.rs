//! Which positions became which: runs of positions that follow each other in both logs.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use quipu_core::Position;

#[derive(Default)]
pub(super) struct Places {
    file: Option<BufWriter<File>>,
    run: Option<Run>,
    has_moved: bool,
}

struct Run {
    from: Position,
    to: Position,
    count: u64,
}

impl Places {
    pub(super) fn into_file(file: File) -> Self {
        Self { file: Some(BufWriter::new(file)), ..Self::default() }
    }

    /// Whether somebody wants to know all of them.
    pub(super) fn is_wanted(&self) -> bool {
        self.file.is_some()
    }

    /// Whether every position is what it was.
    pub(super) fn are_kept(&self) -> bool {
        !self.has_moved
    }

    pub(super) fn push(&mut self, from: Position, to: Position) -> io::Result<()> {
        self.has_moved |= from != to;
        if let Some(run) = &mut self.run
            && from.get() == run.from.get() + run.count
            && to.get() == run.to.get() + run.count
        {
            run.count += 1;
            return Ok(());
        }
        self.finish()?;
        self.run = Some(Run { from, to, count: 1 });
        Ok(())
    }

    /// Writes the last run.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let (Some(Run { from, to, count }), Some(file)) = (self.run.take(), &mut self.file) {
            writeln!(file, r#"{{"from":{from},"to":{to},"count":{count}}}"#)?;
            file.flush()?;
        }
        Ok(())
    }
}
