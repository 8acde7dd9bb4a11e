//! The framework beside the bare engine and cqrs-es: the same jobs in one process, round by round.
//!
//! What is measured and how stands in `docs/benchmarks.md`.

mod ours;
#[path = "../../src/output.rs"]
mod output;
mod report;
mod rows;
mod theirs;

use std::process::ExitCode;

use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a job failed. A bench has nothing to do about it but to say so.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What every event carries beside its account and its cents.
pub(crate) const PURPOSE: &str = "A text of some length, as the events of applications have them: \
     who pays whom, what for, and the number of the invoice.";

const USAGE: &str = "\
cargo xtask bench framework [options]

  --quick              fewer commands and rounds, a history of 10,000 events at most: a look
  --rounds N           interleaved rounds (default 5)
  --rows A,B           only rows whose name contains one of these
  --format md|jsonl    what standard output gets (default md)
";

/// The command line, understood.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) is_quick: bool,
    pub(crate) round_count: usize,
    pub(crate) rows: Vec<String>,
    pub(crate) is_jsonl: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            output::result(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            output::progress(&format!("error: {reason}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match measure(&options).await {
        Ok(report) => {
            if report.print(options.is_jsonl) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            }
        }
        Err(error) => {
            output::progress(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn measure(options: &Options) -> Result<Report> {
    let beside = std::env::current_exe()?;
    let beside = beside.parent().ok_or("the program is in no directory")?;
    // On the disk that the program is on: a temporary directory may be in memory.
    let scratch = tempfile::Builder::new().prefix("quipu-bench-framework-").tempdir_in(beside)?;
    let mut report = Report::default();
    for round in 0..options.round_count {
        output::progress(&format!("round {} of {}", round + 1, options.round_count));
        let directory = scratch.path().join(round.to_string());
        std::fs::create_dir(&directory)?;
        rows::round(options, &directory, &mut report).await?;
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(report)
}

fn parse(args: impl Iterator<Item = String>) -> std::result::Result<Option<Options>, String> {
    let mut options =
        Options { is_quick: false, round_count: 5, rows: Vec::new(), is_jsonl: false };
    let mut args = args;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} takes a value"));
        match &*arg {
            "--quick" => (options.is_quick, options.round_count) = (true, 3),
            "--rounds" => {
                let number = value()?.parse().ok().filter(|number| *number > 0);
                options.round_count = number.ok_or("--rounds takes a number above 0")?;
            }
            "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
            "--format" => {
                options.is_jsonl = match &*value()? {
                    "md" => false,
                    "jsonl" => true,
                    other => return Err(format!("there is no format \"{other}\"")),
                }
            }
            "--help" | "-h" | "help" => return Ok(None),
            other => return Err(format!("there is no option \"{other}\"")),
        }
    }
    Ok(Some(options))
}
