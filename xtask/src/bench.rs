//! `bench relay` measures the relay; the others (`engine`, `framework`, `postgres`, `kurrent`, `server`)
//! run the comparisons in `bench/`, workspaces of their own.

use crate::run::{Outcome, cargo_command, root, step};

/// Measures the relay on real brokers, in release.
pub(crate) fn relay(args: &[&str]) -> Outcome {
    step(cargo_command(&["bench", "-p", "quipu-relay", "--bench", "kafka", "--"]).args(args))
}

/// Builds `quipu` in release, as it is shipped, and measures it as a server beside others.
pub(crate) fn server(args: &[&str]) -> Outcome {
    step(&mut cargo_command(&["build", "--release", "-p", "quipu-server", "--bin", "quipu"]))?;
    run("bench/server", args)
}

/// Builds the comparison in that directory in release and runs it with these arguments.
pub(crate) fn run(workspace: &str, args: &[&str]) -> Outcome {
    let mut command = cargo_command(&["run", "--release", "--quiet", "--"]);
    // In its own directory, where its own cargo configuration names the target directory.
    command.current_dir(root().join(workspace)).args(args);
    step(&mut command)
}
