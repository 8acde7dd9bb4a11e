//! `events.lock`: a file in the application's repository that keeps stored shapes from breaking.
//!
//! What was appended stays. A struct may change only in ways that old data fits, or with a new
//! schema version and an upcaster. The file lists the shape of every type and version; a test
//! compares it with the structs:
//!
//! ```no_run
//! # use quipu::{Event, EventSet};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(type = "door.opened")]
//! # struct Opened { #[tag] door: String }
//! # #[derive(EventSet)]
//! # enum DoorEvent { Opened(Opened) }
//! #[test]
//! fn stored_shapes_only_grow() {
//!     quipu::lock::check!("events.lock", DoorEvent);
//! }
//! # fn main() {}
//! ```
//!
//! What may change without a new version: a new field that is optional or has a default. What needs
//! one: everything else. `UPDATE=1 cargo test` adds what is new to the file; it never rewrites what
//! is there.
//!
//! # Layout
//!
//! One paragraph for each type and version, in order; one line for each field: name, type, and, if
//! there are any, `optional`, `tag NAME` and `serde(...)`, parted by ` | `.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use crate::event::{EventShape, FieldShape};

pub use crate::__check_lock as check;

/// Compares the shapes of these sets of events with a file, given from the package's directory.
///
/// Use it as [`lock::check!`](crate::lock::check).
#[doc(hidden)]
#[macro_export]
macro_rules! __check_lock {
    ($path:expr, $($set:ty),+ $(,)?) => {{
        let path = ::std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join($path);
        let shapes: ::std::vec::Vec<$crate::EventShape> =
            [$(<$set as $crate::EventSet>::SHAPES),+].concat();
        let update = ::std::env::var_os("UPDATE").is_some_and(|value| value == "1");
        let mode = if update { $crate::lock::Mode::Update } else { $crate::lock::Mode::Check };
        if let Err(error) = $crate::lock::compare(&path, &shapes, mode) {
            panic!("{error}");
        }
    }};
}

/// Whether what is new is added to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Mode {
    /// What is new is an error, so that nobody forgets to commit it.
    Check,
    /// What is new is added.
    Update,
}

/// Why the shapes and the file do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Stored data may no longer be readable. Undo the change, or give the event a new version and
    /// add an upcaster from the old one.
    #[error("stored events would break:\n{}", .changes.join("\n"))]
    Breaking {
        /// What changed, a line each, with what to do.
        changes: Vec<String>,
    },
    /// The file lacks what is new. Run the test with `UPDATE=1` and commit the file.
    #[error("{file} is not up to date:\n{}\nrun this test with UPDATE=1 and commit the file", .changes.join("\n"))]
    Outdated {
        /// The file.
        file: String,
        /// What is new, a line each.
        changes: Vec<String>,
    },
    /// A line of the file is not one. Take the file from version control again.
    #[error("{file} line {line} is not one of an events.lock")]
    Malformed {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// The file could not be read or written.
    #[error("{file} could not be read or written")]
    Io {
        /// The file.
        file: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// A type, and a schema version of it.
type Key = (String, u32);
/// The lines of each shape: the first is the event's own, the others its fields'.
type Shapes = BTreeMap<Key, Vec<String>>;

/// Compares shapes with a file; [`check!`] is this for a test.
///
/// # Errors
///
/// See [`LockError`].
pub fn compare(path: &Path, shapes: &[EventShape], mode: Mode) -> Result<(), LockError> {
    let file = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => String::new(),
        Err(cause) => return Err(LockError::Io { file, cause }),
    };
    let mut locked = parse(&file, &text)?;
    let mut breaking = Vec::new();
    let mut new = Vec::new();
    let known: Vec<&str> = shapes.iter().map(|shape| shape.event_type).collect();
    for (event_type, version) in locked.keys() {
        if !known.contains(&event_type.as_str()) {
            breaking.push(format!(
                "{event_type} version {version} is in {file}, but in none of the sets: list its \
                 set, or take the paragraph out if no log has such events"
            ));
        }
    }
    for shape in shapes {
        let key = (shape.event_type.to_owned(), shape.version);
        let lines = lines(shape);
        if let Some(own) = locked.get(&key) {
            compare_lines(&key, own, &lines, &mut breaking, &mut new);
        } else {
            new.push(format!("{} version {} is new", key.0, key.1));
        }
        if !shapes.iter().any(|own| own.event_type == key.0 && own.version > key.1) {
            check_version(&locked, &key, &mut breaking);
        }
        locked.insert(key, lines);
    }
    if !breaking.is_empty() {
        return Err(LockError::Breaking { changes: breaking });
    }
    if new.is_empty() {
        return Ok(());
    }
    match mode {
        Mode::Check => Err(LockError::Outdated { file, changes: new }),
        Mode::Update => {
            fs::write(path, render(&locked)).map_err(|cause| LockError::Io { file, cause })
        }
    }
}

/// A version never goes back: the log has events of the higher one.
fn check_version(locked: &Shapes, (event_type, version): &Key, breaking: &mut Vec<String>) {
    let highest = locked.keys().filter(|(own, _)| own == event_type).map(|(_, own)| *own).max();
    if let Some(highest) = highest.filter(|highest| highest > version) {
        breaking.push(format!(
            "{event_type} went back from version {highest} to {version}: events of version \
             {highest} may be stored; give it version {}",
            highest + 1
        ));
    }
}

fn compare_lines(
    (event_type, version): &Key,
    locked: &[String],
    found: &[String],
    breaking: &mut Vec<String>,
    new: &mut Vec<String>,
) {
    let advice = format!("give it version {} and add an upcaster", version + 1);
    if locked.first() != found.first() {
        let of = |lines: &[String]| lines.first().cloned().unwrap_or_default();
        breaking.push(format!(
            "{event_type} version {version} was \"{}\" and is \"{}\": {advice}",
            of(locked),
            of(found)
        ));
    }
    let name = |line: &str| line.split(" | ").next().unwrap_or_default().to_owned();
    let find = |lines: &[String], wanted: &str| {
        lines.iter().skip(1).find(|line| name(line) == wanted).cloned()
    };
    for line in locked.iter().skip(1) {
        let field = name(line);
        match find(found, &field) {
            None => breaking.push(format!(
                "{event_type} version {version} lost the field `{field}`: put it back, or {advice}"
            )),
            Some(own) if own != *line && !becomes_optional(line, &own) => breaking.push(format!(
                "the field `{field}` of {event_type} version {version} was \"{line}\" and is \
                 \"{own}\": change it back, or {advice}"
            )),
            Some(own) if own != *line => {
                new.push(format!("the field `{field}` of {event_type} is optional now"));
            }
            Some(_) => {}
        }
    }
    for line in found.iter().skip(1) {
        let field = name(line);
        if find(locked, &field).is_some() {
            continue;
        }
        if line.contains(" | optional") {
            new.push(format!("{event_type} version {version} has a new field `{field}`"));
        } else {
            breaking.push(format!(
                "{event_type} version {version} has a new field `{field}` that old data lacks: \
                 make it an Option or #[serde(default)], or {advice}"
            ));
        }
    }
}

/// Whether a field is the same but for a default that it has got.
fn becomes_optional(locked: &str, found: &str) -> bool {
    let plain = |line: &str| -> Vec<String> {
        let parts =
            line.split(" | ").filter(|part| *part != "optional" && *part != "serde(default)");
        parts.map(str::to_owned).collect()
    };
    !locked.contains(" | optional")
        && found.contains(" | optional")
        && plain(locked) == plain(found)
}

fn lines(shape: &EventShape) -> Vec<String> {
    let mut own = shape.content_type.to_owned();
    if !shape.serde.is_empty() {
        own = format!("{own} | serde({})", shape.serde);
    }
    let mut lines = vec![own];
    lines.extend(shape.fields.iter().map(field_line));
    lines
}

fn field_line(field: &FieldShape) -> String {
    let mut line = format!("{} | {}", field.name, field.ty);
    if field.optional {
        line.push_str(" | optional");
    }
    if !field.tag.is_empty() {
        line = format!("{line} | tag {}", field.tag);
    }
    if !field.serde.is_empty() {
        line = format!("{line} | serde({})", field.serde);
    }
    line
}

fn render(shapes: &Shapes) -> String {
    let mut text = vec![
        "# The shapes of stored events, kept by quipu::lock::check!. Commit this file.".to_owned(),
    ];
    for ((event_type, version), lines) in shapes {
        let mut lines = lines.iter();
        let own = lines.next().map_or("", String::as_str);
        text.push(String::new());
        text.push(format!("{version} {event_type} | {own}"));
        text.extend(lines.map(|line| format!("  {line}")));
    }
    text.push(String::new());
    text.join("\n")
}

fn parse(file: &str, text: &str) -> Result<Shapes, LockError> {
    let mut shapes = Shapes::new();
    let mut current: Option<Key> = None;
    for (index, line) in text.lines().enumerate() {
        let malformed = || LockError::Malformed { file: file.to_owned(), line: index + 1 };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(field) = line.strip_prefix("  ") {
            let key = current.as_ref().ok_or_else(malformed)?;
            shapes.entry(key.clone()).or_default().push(field.to_owned());
            continue;
        }
        let (names, own) = line.split_once(" | ").ok_or_else(malformed)?;
        let (version, event_type) = names.split_once(' ').ok_or_else(malformed)?;
        let version = version.parse().map_err(|_| malformed())?;
        let key = (event_type.to_owned(), version);
        if shapes.insert(key.clone(), vec![own.to_owned()]).is_some() {
            return Err(malformed());
        }
        current = Some(key);
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests;
