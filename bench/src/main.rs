//! Quipu beside a plain log, SQLite and tephra: the same jobs in one process, round by round.
//!
//! What is measured and how stands in `docs/benchmarks.md`.

use std::process::ExitCode;

mod child;
mod growth;
mod heap;
mod machine;
mod options;
mod output;
mod report;
mod rows;
mod stats;
mod store;
mod submitters;
mod workload;

use options::{Mode, Options, USAGE};
use output::{progress, result};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            result(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            progress(&format!("error: {reason}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let outcome = match options.mode {
        Mode::Rows => rows::run(&options).map(|report| report.print(options.format)),
        Mode::Growth => growth::run(&options),
        Mode::Child => child::run(&options).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // A row is below its bar.
        Ok(false) => ExitCode::from(1),
        Err(cause) => {
            progress(&format!("error: {cause}"));
            let mut below = cause.source();
            while let Some(cause) = below {
                progress(&format!("cause: {cause}"));
                below = cause.source();
            }
            ExitCode::from(2)
        }
    }
}
