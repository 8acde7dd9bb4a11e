//! The only place that prints: results on standard output, all else on standard error.

/// A line of results.
pub(crate) fn result(line: &str) {
    println!("{line}");
}

/// What is going on.
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}
