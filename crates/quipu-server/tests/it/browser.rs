//! The page at `/` in a real browser: what the scripts in `tests/browser` do and see.
//!
//! Chromium, Node and two packages are needed (`.ci/install/chromium`). Where they are missing the test
//! says so and passes, unless `QUIPU_REQUIRE_SERVICES=1`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{program, real_log, skip};

/// Where `.ci/install/chromium` puts the packages.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/browser");
/// How long one test of a script may take where nothing is said.
const PATIENCE: Duration = Duration::from_mins(4);

/// Runs a script of tests with Node.
fn run(script: &str) {
    run_for(script, PATIENCE, &[]);
}

/// Runs a script whose tests take that long at most, with variables of its own.
fn run_for(script: &str, patience: Duration, variables: &[(&str, String)]) {
    let (node, chromium) = (program("node"), program("chromium"));
    let has_modules = Path::new(MODULES).join("node_modules/playwright-core").is_dir();
    let (Some(node), Some(chromium), true) = (node, chromium, has_modules) else {
        return skip("node, chromium or their packages are missing: run .ci/install/chromium");
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let mut command = Command::new(node);
    command
        .args(["--test", "--test-reporter=spec"])
        .arg(format!("--test-timeout={}", patience.as_millis()))
        .arg(scripts.join(script))
        .env("QUIPU_BIN", env!("CARGO_BIN_EXE_quipu"))
        .env("QUIPU_CHROMIUM", chromium)
        .env("QUIPU_BROWSER_MODULES", MODULES)
        .envs(variables.iter().map(|(name, value)| (name, value)));
    if let Some(loans) = real_log("loans.jsonl.gz") {
        command.env("QUIPU_LOANS", loans);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}:\n{text}\n{errors}");
    eprintln!("{text}");
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
fn queries_are_completed_and_saved_in_a_browser() {
    run("queries.test.mjs");
}

#[test]
fn consumers_are_asked_for_everything_in_a_browser() {
    run("consumers.test.mjs");
}

/// Ten million events under `cargo xtask torture`; `QUIPU_UI_EVENTS` sets another number.
#[test]
fn a_long_log_stays_usable_in_a_browser() {
    let is_torture = std::env::var_os("QUIPU_TORTURE_MINUTES").is_some();
    let wanted = std::env::var("QUIPU_UI_EVENTS").ok().map(|count| count.parse().unwrap());
    let count: u64 = wanted.unwrap_or(if is_torture { 10_000_000 } else { 40_000 });
    // Some of what is done reads all of them once.
    let patience = PATIENCE + Duration::from_millis(count);
    run_for("long.test.mjs", patience, &[("QUIPU_UI_EVENTS", count.to_string())]);
}
