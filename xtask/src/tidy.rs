//! `tidy`: what must hold of the sources and that no compiler checks.
//!
//! Each check looks at the files and answers [`Finding`]s, each with a place and what to do.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::output::say;
use crate::run::{Outcome, root};

mod format_hash;
mod links;
mod map;
mod names;
mod rust;
mod source;

/// The most lines in a Rust file, tests included. At 600 ask what the second topic is.
const FILE_LINES_MAX: usize = 1_000;

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: PathBuf,
    /// Counted from 1; 0 is the file as a whole.
    line: usize,
    advice: String,
}

impl Finding {
    fn new(path: &Path, line: usize, advice: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.advice)
    }
}

/// Runs all checks on the workspace.
pub(crate) fn run() -> Outcome {
    let root = root();
    let files = rust_files(&root)?;
    let mut findings = Vec::new();
    for path in &files {
        let text = read(&root, path)?;
        findings.extend(check_size(path, &text));
        findings.extend(rust::check(path, &text));
        if path.starts_with("crates") {
            findings.extend(names::check(path, &text));
        }
    }
    findings.extend(map::check(&root)?);
    findings.extend(links::check(&root)?);
    findings.extend(format_hash::check(&root)?);
    for finding in &findings {
        say(&finding.to_string());
    }
    match findings.len() {
        0 => {
            say(&format!("tidy: {} Rust files are fine", files.len()));
            Ok(())
        }
        1 => Err("tidy: 1 finding".to_owned()),
        count => Err(format!("tidy: {count} findings")),
    }
}

fn check_size(path: &Path, text: &str) -> Option<Finding> {
    let count = text.lines().count();
    let advice = format!("{count} lines, at most {FILE_LINES_MAX}: give its second topic a file");
    (count > FILE_LINES_MAX).then(|| Finding::new(path, 0, advice))
}

/// All our Rust files, relative to the root, in the order of their paths.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for part in ["crates", "xtask", "bench", "fuzz", "examples"] {
        let dir = root.join(part);
        if dir.is_dir() {
            collect(&dir, "rs", &mut files)?;
        }
    }
    let mut files: Vec<PathBuf> =
        files.iter().filter_map(|path| Some(path.strip_prefix(root).ok()?.to_path_buf())).collect();
    files.sort();
    Ok(files)
}

/// Gathers the files below `dir` that have this extension, but for what is built.
fn collect(dir: &Path, extension: &str, into: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(dir).map_err(|cause| format!("{}: {cause}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|cause| format!("{}: {cause}", dir.display()))?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, extension, into)?;
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            into.push(path);
        }
    }
    Ok(())
}

fn read(root: &Path, path: &Path) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|cause| format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_thousand_lines_is_the_largest() {
        let path = Path::new("crates/a/src/lib.rs");

        assert_eq!(check_size(path, &"x\n".repeat(FILE_LINES_MAX)), None);
        assert!(check_size(path, &"x\n".repeat(FILE_LINES_MAX + 1)).is_some());
    }

    #[test]
    fn a_finding_names_its_place() {
        let finding = Finding::new(Path::new("a.rs"), 7, "mend it");

        assert_eq!(finding.to_string(), "a.rs:7: mend it");
    }
}
