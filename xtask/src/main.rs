//! Chores of the workspace: `cargo xtask <chore>`.
//!
//! One file a chore. They need nothing but the standard library, so that a fresh clone runs them
//! at once.

use std::env;
use std::process::ExitCode;

mod bench;
mod check;
mod output;
mod run;
mod screenshots;
mod tidy;
mod torture;

use output::{error, say};

const USAGE: &str = "\
cargo xtask <chore>

  tidy                     what the compiler does not check: sizes, maps, names
  ci                       everything that must pass: fmt, clippy, rustdoc, deny, tidy, tests
  bench engine [args]      the store beside a plain log, SQLite and tephra, in release;
                           the arguments go to the bench, --help lists them
  bench framework [args]   the framework beside the bare engine and cqrs-es, likewise
  bench postgres [args]    the store on PostgreSQL beside a bare INSERT, likewise
  bench kurrent [args]     KurrentDB's client beside the native one on one server, likewise
  bench server [args]      the server beside UmaDB and tephra-server, likewise
  bench relay              the relay to Kafka beside the same client producing from memory
  screenshots              the pictures in docs/images, of the running product; needs Node, and
                           installs Chromium where it is missing
  torture --minutes N      the reliability tests with large counts, for N minutes
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["tidy"] => tidy::run(),
        ["ci"] => check::run(),
        ["bench", "engine", rest @ ..] => bench::run("bench", rest),
        ["bench", "framework", rest @ ..] => bench::run("bench/framework", rest),
        ["bench", "postgres", rest @ ..] => bench::run("bench/postgres", rest),
        ["bench", "kurrent", rest @ ..] => bench::run("bench/kurrent", rest),
        ["bench", "server", rest @ ..] => bench::server(rest),
        ["bench", "relay", rest @ ..] => bench::relay(rest),
        ["screenshots"] => screenshots::run(),
        ["torture", rest @ ..] => torture::run(rest),
        [] | ["help" | "--help" | "-h"] => {
            say(USAGE);
            Ok(())
        }
        _ => Err(format!("there is no such chore\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error(&reason);
            ExitCode::from(2)
        }
    }
}
