//! Events on their way out: JSON lines, or rows of a table.

use console::truncate_str;
use quipu_core::{EventBatch, EventRef};

use super::{Align, Column, Output, OutputError, Table, plain};
use crate::cli::Format;
use crate::{line, time};

/// Rows that are laid out together.
const PAGE_COUNT: usize = 200;
/// The most characters of data that a row shows.
const DATA_COUNT_MAX: usize = 200;
/// The widest that tags are on a terminal, where data must fit on the same line.
const TAGS_WIDTH_MAX: usize = 32;

const COLUMNS: &[Column] = &[
    Column { title: "position", align: Align::Right },
    Column { title: "time", align: Align::Left },
    Column { title: "stream", align: Align::Left },
    Column { title: "revision", align: Align::Right },
    Column { title: "type", align: Align::Left },
    Column { title: "tags", align: Align::Left },
    Column { title: "data", align: Align::Left },
];

/// Prints events in the format asked for.
///
/// A table shortens data, shows times to the second, and escapes what a terminal would obey; JSON
/// lines hold all of it.
#[derive(Debug)]
pub(crate) struct EventPrinter {
    table: Table,
    lines: Vec<u8>,
}

impl EventPrinter {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(COLUMNS), lines: Vec::new() }
    }

    /// Prints a batch, but for the rows that wait for the rest of their page.
    pub(crate) fn print(
        &mut self,
        batch: &EventBatch,
        output: &mut Output,
    ) -> Result<(), OutputError> {
        for event in batch.iter() {
            match output.format() {
                Format::Jsonl => {
                    self.lines.clear();
                    line::to_json(event, &mut self.lines);
                    output.raw(&self.lines)?;
                }
                Format::Table => {
                    self.table.push(row(event, output.is_terminal()));
                    if self.table.row_count() == PAGE_COUNT {
                        output.table(&mut self.table)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Prints what waits, and hands everything to the system.
    pub(crate) fn flush(&mut self, output: &mut Output) -> Result<(), OutputError> {
        output.table(&mut self.table)?;
        output.flush()
    }
}

fn row(event: EventRef<'_>, is_terminal: bool) -> Vec<String> {
    let tags = event.tags().collect::<Vec<_>>().join(" ");
    let tags = plain(&tags);
    let tags = if is_terminal { truncate_str(&tags, TAGS_WIDTH_MAX, "…") } else { tags };
    vec![
        event.position().to_string(),
        time::to_seconds_text(event.recorded_at()),
        plain(event.stream()).into_owned(),
        event.revision().to_string(),
        plain(event.event_type()).into_owned(),
        tags.into_owned(),
        data_to_text(event),
    ]
}

fn data_to_text(event: EventRef<'_>) -> String {
    if event.is_erased() {
        return "(erased)".to_owned();
    }
    let bytes = event.data_bytes();
    let Ok(text) = std::str::from_utf8(bytes) else {
        return format!("({} bytes)", bytes.len());
    };
    match text.char_indices().nth(DATA_COUNT_MAX) {
        Some((end, _)) => format!("{}…", plain(text.get(..end).unwrap_or_default())),
        None => plain(text).into_owned(),
    }
}
