//! `ci`: everything that must pass before a change is merged.
//!
//! Every step runs even if an earlier one failed, so that one run shows all there is to mend. The
//! tests come last: their summary closes the output.

use crate::output::say;
use crate::run::{Outcome, cargo_command, has_cargo, step};
use crate::tidy;

/// Runs all checks and then the tests.
pub(crate) fn run() -> Outcome {
    let mut failures = Vec::new();
    let mut note = |outcome: Outcome| failures.extend(outcome.err());

    note(tidy::run());
    if is_installed("fmt", "rustfmt") {
        note(step(&mut cargo_command(&["fmt", "--all", "--", "--check"])));
    }
    if is_installed("clippy", "clippy") {
        let clippy = ["clippy", "--workspace", "--all-targets", "--all-features"];
        note(step(cargo_command(&clippy).args(["--", "-D", "warnings"])));
    }
    let mut doc = cargo_command(&["doc", "--workspace", "--all-features", "--no-deps"]);
    note(step(doc.env("RUSTDOCFLAGS", "-D warnings")));
    if is_installed("deny", "cargo-deny") {
        note(step(&mut cargo_command(&["deny", "check"])));
    }
    if !failures.is_empty() {
        say(&format!("failed before the tests:\n- {}", failures.join("\n- ")));
    }
    if let Err(reason) = step(&mut cargo_command(&["test", "--workspace"])) {
        failures.push(reason);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n       ")) }
}

/// A machine may lack a component; a step that is left out is left out aloud.
fn is_installed(subcommand: &str, component: &str) -> bool {
    let installed = has_cargo(subcommand);
    if !installed {
        say(&format!("SKIPPED cargo {subcommand}: {component} is not installed"));
    }
    installed
}
