//! `torture --minutes N`: the reliability tests with large counts.
//!
//! The tests are the ones that CI runs. They read `QUIPU_TORTURE_MINUTES` and go on with new seeds
//! for their share of that time instead of stopping at CI's counts; each prints its counts. The web
//! UI is looked at on ten million events then, however long that takes.

use crate::output::say;
use crate::run::{Outcome, cargo_command, step};

/// What the tests read to know how long they may go on.
const MINUTES: &str = "QUIPU_TORTURE_MINUTES";

/// Runs the tests for as long as the arguments say.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let (minutes, rest) = parse(args)?;
    say(&format!("torture for {minutes} minutes; QUIPU_SEED replays a seed that a failure prints"));
    let mut command = cargo_command(&["test", "--workspace", "--tests"]);
    // A single thread: the minutes are shared out one test after the other, and the printed counts
    // of two tests do not mix.
    command.args(["--", "--nocapture", "--test-threads", "1"]).args(rest);
    step(command.env(MINUTES, minutes.to_string()))
}

fn parse<'a>(args: &'a [&'a str]) -> Result<(u64, &'a [&'a str]), String> {
    match args {
        ["--minutes", minutes, rest @ ..] => match minutes.parse() {
            Ok(minutes) if minutes > 0 => Ok((minutes, rest)),
            _ => Err(format!("--minutes takes a whole number above 0, not \"{minutes}\"")),
        },
        [] => Ok((10, args)),
        _ => Err("usage: cargo xtask torture --minutes N [names of tests]".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_a_whole_number_above_zero() {
        assert_eq!(parse(&["--minutes", "30", "crash"]), Ok((30, &["crash"][..])));
        assert!(parse(&["--minutes", "0"]).is_err());
        assert!(parse(&["--minutes", "soon"]).is_err());
        assert!(parse(&["--hours", "1"]).is_err());
    }
}
