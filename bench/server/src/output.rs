//! The only place that prints: results on standard output, all else on standard error.

use std::io::Write;

/// A line of results.
pub(crate) fn result(line: &str) {
    // Whoever does not read on has seen enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What is going on.
pub(crate) fn progress(line: &str) {
    // The same: a bench goes on without its watcher.
    let _ = writeln!(std::io::stderr(), "{line}");
}
