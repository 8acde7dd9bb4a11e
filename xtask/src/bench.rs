//! `bench engine`: runs the comparison in `bench/`, which is a workspace of its own.

use std::process::Command;

use crate::run::{Outcome, cargo, root, step};

/// Builds the comparison in release and runs it with these arguments.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let mut command = Command::new(cargo());
    // In its own directory, where its own cargo configuration names the target directory.
    command.current_dir(root().join("bench"));
    command.args(["run", "--release", "--quiet", "--"]).args(args);
    step(&mut command)
}
