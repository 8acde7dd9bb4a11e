//! `bench relay` measures the relay; the others (`engine`, `framework`, `postgres`, `kurrent`) run the
//! comparisons in `bench/`, workspaces of their own.

use std::process::Command;

use crate::run::{Outcome, cargo, cargo_command, root, step};

/// Measures the relay on real brokers, in release.
pub(crate) fn relay(args: &[&str]) -> Outcome {
    step(cargo_command(&["bench", "-p", "quipu-relay", "--bench", "kafka", "--"]).args(args))
}

/// Builds the comparison in that directory in release and runs it with these arguments.
pub(crate) fn run(workspace: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(cargo());
    // In its own directory, where its own cargo configuration names the target directory.
    command.current_dir(root().join(workspace));
    command.args(["run", "--release", "--quiet", "--"]).args(args);
    step(&mut command)
}
