//! `quipu import`: adds the events of a file of JSON lines, each at most once.
//!
//! 1. Lines are read and parsed one by one ([`crate::line`]); a line without an id gets one
//!    ([`derive_id`]).
//! 2. They are gathered to batches, and each batch is checked whole, so that a wrong line refuses
//!    its batch before any of it is appended.
//! 3. Each batch is appended as one ([`batch`]); what is there already is counted, not appended.
//!
//! # Invariants
//!
//! - Lines become events in their order.
//! - What the summary counts is in the store, also when the import ends early.

mod batch;
mod derive_id;

use std::collections::HashSet;

use anyhow::Context as _;
use futures_lite::future::block_on;
use quipu_core::{AppendError, EventStore, NewEvent, Position, Query, ReadAll, Rights, StreamName};

use self::batch::{Batch, Item, Tally};
use self::derive_id::IdDeriver;
use super::{Answer, Context, read};
use crate::cli::{Format, ImportArgs};
use crate::input::Input;
use crate::line::{self, LINE_SIZE_MAX, Line};
use crate::open::{Store, Target};
use crate::output::{Bar, EventPrinter, Output, Value, fact, group_digits};
use crate::report::Hinted;

pub(crate) fn run(args: &ImportArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let input = Input::open(&args.file)
        .with_context(|| format!("could not open {}", args.file.display()))?;
    let mut import = Import::new(args, context.target.clone(), input);
    let outcome = import.run();
    // The summary comes first, whatever happened: it says how far the import came.
    import.summarize(&mut context.output)?;
    context.output.flush()?;
    outcome?;
    if let (Some(store), Some(limit)) = (&import.store, args.show) {
        show(&**store, limit, &mut context.output)?;
    }
    if let Some(store) = import.store {
        store.close()?;
    }
    Ok(Answer::Yes)
}

fn show(store: &dyn EventStore, limit: u64, output: &mut Output) -> anyhow::Result<()> {
    let read = block_on(store.read_all(ReadAll::new(Query::all())))?;
    if output.format() == Format::Table {
        output.text("")?;
    }
    let mut printer = EventPrinter::new();
    read::print(
        read.batches,
        |event| !super::is_reserved(event),
        Some(limit),
        |batch| Ok(printer.print(batch, output)?),
    )?;
    Ok(printer.flush(output)?)
}

struct Import<'a> {
    args: &'a ImportArgs,
    target: Target,
    input: Input,
    store: Option<Store>,
    ids: IdDeriver,
    batch: Batch,
    tally: Tally,
    streams: HashSet<StreamName>,
    /// The number of the line that was read last, counted from 1.
    line_number: u64,
    /// All lines up to this one are dealt with.
    done_number: u64,
}

impl<'a> Import<'a> {
    fn new(args: &'a ImportArgs, target: Target, input: Input) -> Self {
        Self {
            args,
            target,
            input,
            store: None,
            ids: IdDeriver::default(),
            batch: Batch::default(),
            tally: Tally::default(),
            streams: HashSet::new(),
            line_number: 0,
            done_number: 0,
        }
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let bar = Bar::bytes(self.input.size);
        let mut text = Vec::new();
        while self.read_line(&mut text)? {
            let bytes = if self.line_number == 1 { without_mark(&text) } else { &text };
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = self.parse(bytes)?;
            self.add(line);
            if self.batch.is_full() {
                self.finish_batch()?;
                let count = group_digits(self.tally.event_count());
                bar.show_bytes(self.input.done(), format!("{count} events"));
            }
        }
        self.finish_batch()?;
        if !self.args.dry_run {
            // A file without lines makes a store too.
            self.store()?;
        }
        Ok(())
    }

    fn read_line(&mut self, text: &mut Vec<u8>) -> anyhow::Result<bool> {
        let is_line = self.input.read_line(text, LINE_SIZE_MAX).map_err(|error| {
            let place = format!("{}:{}", self.input.name, self.line_number + 1);
            self.with_hint(format!("{place}: could not be read"), Some(error.into()))
        })?;
        self.line_number += u64::from(is_line);
        if text.len() > LINE_SIZE_MAX {
            let reason = format!("the line has more than {LINE_SIZE_MAX} bytes");
            return Err(self.refuse_line(self.line_number, LINE_SIZE_MAX, &reason));
        }
        Ok(is_line)
    }

    fn parse(&self, text: &[u8]) -> anyhow::Result<Line> {
        line::from_json(text)
            .map_err(|error| self.refuse_line(self.line_number, error.column, &error.reason))
    }

    fn add(&mut self, line: Line) {
        let id = line.id.unwrap_or_else(|| self.ids.derive(&line));
        let event = NewEvent {
            id,
            event_type: line.event_type,
            tags: line.tags,
            content_type: line.content_type,
            data: line.data,
            metadata: line.metadata,
            recorded_at: line.time.filter(|_| self.args.keep_time),
        };
        self.batch.push(Item { line_number: self.line_number, stream: line.stream, event });
    }

    fn finish_batch(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if let Err((item, invalid)) = batch.check(self.rights()) {
            let number = batch.line_number(item).unwrap_or(self.line_number);
            return Err(self.refuse_line(number, 1, &invalid.to_string()));
        }
        // Counted before the append takes the batch, kept only when it succeeds.
        let streams: Vec<StreamName> = batch.streams();
        if self.args.dry_run {
            self.tally.imported_count += batch.count();
        } else if batch.count() > 0 {
            let store = self.store()?.clone();
            let appended = block_on(batch.append(&store, &mut self.tally));
            appended.map_err(|(number, error)| self.fail(number, error))?;
        }
        self.streams.extend(streams);
        self.done_number = self.line_number;
        Ok(())
    }

    /// The store, opened when the first batch is right: a file that is wrong from the start
    /// leaves nothing behind.
    fn store(&mut self) -> anyhow::Result<&Store> {
        let store = match self.store.take() {
            Some(store) => store,
            None => self.target.for_writing_or_new(self.rights())?,
        };
        Ok(self.store.insert(store))
    }

    fn rights(&self) -> Rights {
        if self.args.system { Rights::System } else { Rights::Application }
    }

    fn fail(&self, line_number: u64, error: AppendError) -> anyhow::Error {
        let place = format!("{}:{line_number}", self.input.name);
        let message = format!("{place}: the batch that begins here was not appended whole");
        let is_of_input = matches!(error, AppendError::Conflict { .. } | AppendError::Invalid(_));
        if is_of_input {
            self.with_hint(message, Some(error.into()))
        } else {
            anyhow::Error::new(error).context(message)
        }
    }

    fn refuse_line(&self, number: u64, column: usize, reason: &str) -> anyhow::Error {
        self.with_hint(format!("{}:{number}:{column}: {reason}", self.input.name), None)
    }

    fn with_hint(
        &self,
        message: String,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> anyhow::Error {
        let done = match (self.done_number, self.args.dry_run) {
            (0, true) => "nothing would be appended".to_owned(),
            (0, false) => "nothing was appended".to_owned(),
            (number, true) => format!("lines 1 to {number} are right"),
            (number, false) => format!("lines 1 to {number} are in the store"),
        };
        let hint = format!("{done}; mend the input and import it again, nothing is added twice");
        Hinted { message, hint, source }.into()
    }

    fn summarize(&self, output: &mut Output) -> anyhow::Result<()> {
        let last =
            self.tally.last.map_or(Value::Nothing, |last: Position| Value::Place(last.get()));
        let imported = if self.args.dry_run { "would_import" } else { "imported" };
        Ok(output.facts(&[
            fact(imported, Value::Count(self.tally.imported_count)),
            fact("already_there", Value::Count(self.tally.present_count)),
            fact("clamped", Value::Count(self.tally.clamped_count)),
            fact("streams", Value::Count(self.streams.len() as u64)),
            fact("last_position", last),
            fact("lines", Value::Count(self.done_number)),
        ])?)
    }
}

/// The line without the byte order mark that some programs begin a text with.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}
