//! `screenshots`: the pictures in `docs/images`, taken of the running product.

use std::process::Command;

use crate::run::{Outcome, cargo_command, root, step};

/// Builds the server, runs it on its sample, and lets a browser look at it.
pub(crate) fn run() -> Outcome {
    step(&mut cargo_command(&["build", "--package", "quipu-server"]))?;
    let root = root();
    step(Command::new(root.join(".ci/install/chromium")).current_dir(&root))?;
    let mut node = Command::new("node");
    node.current_dir(&root)
        .arg("crates/quipu-server/tests/browser/screenshots.mjs")
        .arg("docs/images")
        .env("QUIPU_BIN", root.join("target/debug/quipu"))
        .env("QUIPU_CHROMIUM", "/usr/bin/chromium")
        .env("QUIPU_BROWSER_MODULES", root.join("target/browser"));
    step(&mut node)
}
