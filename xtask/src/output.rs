//! The only place that prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "chores talk to a person")]

/// Says what is done or found.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Says what runs, apart from what it prints.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Says why the chore failed.
pub(crate) fn error(text: &str) {
    eprintln!("error: {text}");
}
