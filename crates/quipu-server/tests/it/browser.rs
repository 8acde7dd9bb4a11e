//! The page at `/` in a real browser: what the scripts in `tests/browser` do and see.
//!
//! Chromium, Node and two packages are needed (`.ci/install/chromium`). Where they are missing the test
//! says so and passes, unless `QUIPU_REQUIRE_SERVICES=1`.

use std::path::Path;
use std::process::Command;

use crate::support::{program, real_log, skip};

/// Where `.ci/install/chromium` puts the packages.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/browser");

/// Runs a script of tests with Node.
fn run(script: &str) {
    let (node, chromium) = (program("node"), program("chromium"));
    let has_modules = Path::new(MODULES).join("node_modules/playwright-core").is_dir();
    let (Some(node), Some(chromium), true) = (node, chromium, has_modules) else {
        return skip("node, chromium or their packages are missing: run .ci/install/chromium");
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let mut command = Command::new(node);
    command
        .arg("--test")
        .args(["--test-reporter=spec", "--test-timeout=240000"])
        .arg(scripts.join(script))
        .env("QUIPU_BIN", env!("CARGO_BIN_EXE_quipu"))
        .env("QUIPU_CHROMIUM", chromium)
        .env("QUIPU_BROWSER_MODULES", MODULES);
    if let Some(loans) = real_log("loans.jsonl.gz") {
        command.env("QUIPU_LOANS", loans);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}:\n{text}\n{errors}");
}

#[test]
fn every_page_is_drawn_and_works_in_a_browser() {
    run("pages.test.mjs");
}

#[test]
fn the_page_copes_with_what_is_not_every_days_in_a_browser() {
    run("edges.test.mjs");
}

#[test]
fn consumers_are_asked_for_everything_in_a_browser() {
    run("consumers.test.mjs");
}
