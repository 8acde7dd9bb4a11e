//! Everything that is printed: the only place that writes to standard output and standard error.
//!
//! Answers go to standard output, as tables for people or as JSON lines for programs. Notes,
//! errors and progress go to standard error; progress only where that is a terminal.

mod events;
mod table;

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::process::ExitCode;
use std::time::Duration;

use console::{Style, Term};
use indicatif::{ProgressBar, ProgressStyle};
use quipu_engine::Progress;
use quipu_wire::proto::TaskProgress;
use serde::ser::{Serialize, SerializeMap, Serializer};

pub(crate) use events::EventPrinter;
pub(crate) use table::{Align, Column, Table};

use crate::cli::Format;
use crate::report;

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    stdout: BufWriter<Stdout>,
    /// The terminal's width in columns, where standard output is one.
    width: Option<usize>,
}

/// Why an answer could not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Who read standard output went away: they want no more.
    #[error("standard output was closed")]
    Closed,
    /// The system refused it: the disk that a file is on is full, for instance.
    #[error("could not write to standard output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error) }
    }
}

/// One named value of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) key: &'static str,
    pub(crate) value: Value,
}

/// A value that is shown to people in one way and to programs in another.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing: `-`, or null.
    Nothing,
    /// A number that is read as it is: a position, a revision.
    Place(u64),
    /// How many.
    Count(u64),
    /// How many bytes.
    Size(u64),
    /// A number with a fraction.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// Anything else.
    Text(String),
}

/// A fact.
pub(crate) fn fact(key: &'static str, value: Value) -> Fact {
    Fact { key, value }
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| usize::from(Term::stdout().size().1));
        Self { format, stdout: BufWriter::with_capacity(64 << 10, stdout), width }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether people look at the answer on a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// Prints facts that belong together: a line for each, or one object.
    pub(crate) fn facts(&mut self, facts: &[Fact]) -> Result<(), OutputError> {
        if self.format == Format::Jsonl {
            return self.object(facts);
        }
        let labels: Vec<String> = facts.iter().map(|fact| fact.key.replace('_', " ")).collect();
        let width = labels.iter().map(String::len).max().unwrap_or_default();
        for (label, fact) in labels.iter().zip(facts) {
            let label = self.dim().apply_to(format!("{label:width$}"));
            writeln!(self.stdout, "{label}  {}", fact.value.to_text())?;
        }
        Ok(())
    }

    /// Prints facts as one JSON object on a line.
    pub(crate) fn object(&mut self, facts: &[Fact]) -> Result<(), OutputError> {
        let mut line = serde_json::to_vec(&Object(facts)).map_err(io::Error::from)?;
        line.push(b'\n');
        self.raw(&line)
    }

    /// Prints the rows that a table has gathered.
    pub(crate) fn table(&mut self, table: &mut Table) -> Result<(), OutputError> {
        let text = table.render(self.width, &self.bold());
        self.raw(text.as_bytes())
    }

    /// Prints one line of text.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), OutputError> {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Hands everything printed so far to the system.
    pub(crate) fn flush(&mut self) -> Result<(), OutputError> {
        Ok(self.stdout.flush()?)
    }

    fn bold(&self) -> Style {
        self.style(Style::new().bold())
    }

    fn dim(&self) -> Style {
        self.style(Style::new().dim())
    }

    fn style(&self, style: Style) -> Style {
        style.force_styling(self.is_terminal() && console::colors_enabled())
    }
}

struct Object<'a>(&'a [Fact]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for fact in self.0 {
            match &fact.value {
                Value::Nothing => map.serialize_entry(fact.key, &())?,
                Value::Place(number) | Value::Count(number) | Value::Size(number) => {
                    map.serialize_entry(fact.key, number)?;
                }
                Value::Number(number) => map.serialize_entry(fact.key, number)?,
                Value::Flag(flag) => map.serialize_entry(fact.key, flag)?,
                Value::Text(text) => map.serialize_entry(fact.key, text)?,
            }
        }
        map.end()
    }
}

impl Value {
    /// The value for people.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Place(number) => number.to_string(),
            Self::Count(count) => group_digits(*count),
            Self::Size(size) => size_to_text(*size),
            Self::Number(number) => format!("{number:.1}"),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Self::Text(text) => plain(text).into_owned(),
        }
    }
}

/// The number with a comma between thousands.
pub(crate) fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size_to_text(size: u64) -> String {
    match size {
        0..1_024 => format!("{size} B"),
        _ => indicatif::BinaryBytes(size).to_string(),
    }
}

/// The text with everything escaped that a terminal would obey instead of show: control
/// characters, and those that reverse the direction of what follows.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_active = |character: char| {
        character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_active(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

/// Prints what is worth knowing but is no part of the answer.
#[expect(clippy::print_stderr, reason = "this module is where printing happens")]
pub(crate) fn note(text: &str) {
    eprintln!("{}", plain(text));
}

/// Prints an error, a line for what it says, for each cause and for the hint.
#[expect(clippy::print_stderr, reason = "this module is where printing happens")]
pub(crate) fn print_error(text: &str) {
    let style = Style::new().for_stderr().red().bold();
    for line in text.lines() {
        match line.strip_prefix("error: ") {
            Some(rest) => eprintln!("{} {}", style.apply_to("error:"), plain(rest)),
            None => eprintln!("{}", plain(line)),
        }
    }
}

/// Prints help, the version, or what is wrong with the arguments.
pub(crate) fn print_usage(usage: &clap::Error) -> ExitCode {
    let is_failure = usage.use_stderr();
    match usage.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(report::FAILURE),
        _ if is_failure => ExitCode::from(report::FAILURE),
        _ => ExitCode::SUCCESS,
    }
}

/// How far some long work has come, shown where standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar for work of unknown size.
    pub(crate) fn new() -> Self {
        Self::with_template(None, "{spinner} {elapsed}")
    }

    /// A bar for an input of so many bytes.
    pub(crate) fn bytes(size: Option<u64>) -> Self {
        match size {
            Some(_) => Self::with_template(
                size,
                "{bar:30} {binary_bytes}/{binary_total_bytes} {msg} {eta}",
            ),
            None => Self::with_template(None, "{spinner} {binary_bytes} {msg}"),
        }
    }

    fn with_template(size: Option<u64>, template: &str) -> Self {
        let bar = Self(size.map_or_else(ProgressBar::no_length, ProgressBar::new));
        bar.set_template(template);
        // Drawn from here on, and not before it looks as it should.
        bar.0.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Shows how far the store says that it has come.
    pub(crate) fn show(&self, progress: Progress) {
        self.advance(progress.done, progress.total, progress.unit);
    }

    /// Shows how far a server says that it has come.
    pub(crate) fn show_remote(&self, progress: &TaskProgress) {
        self.advance(progress.done, progress.total, &progress.unit);
    }

    /// Shows that `done` of `total` are done.
    pub(crate) fn advance(&self, done: u64, total: u64, unit: &str) {
        if self.0.length() != Some(total) {
            self.0.set_length(total);
            self.set_template(&format!("{{bar:30}} {{pos}}/{{len}} {unit} {{eta}}"));
        }
        self.0.set_position(done);
    }

    /// Shows how far the input was read, with a word on it.
    pub(crate) fn show_bytes(&self, done: u64, message: String) {
        self.0.set_position(done);
        self.0.set_message(message);
    }

    fn set_template(&self, template: &str) {
        // A template that does not parse costs the looks of the bar, nothing else.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let texts = [0, 999, 1_000, 262_200, 1_234_567].map(group_digits);

        assert_eq!(texts, ["0", "999", "1,000", "262,200", "1,234,567"]);
    }

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        assert_eq!(plain("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
        assert!(matches!(plain("zürich \u{1F9F6}"), Cow::Borrowed(_)));
    }

    #[test]
    fn facts_are_one_object_in_their_order() {
        let facts = [fact("b", Value::Count(1)), fact("a", Value::Nothing)];

        assert_eq!(serde_json::to_string(&Object(&facts)).unwrap(), r#"{"b":1,"a":null}"#);
    }
}
