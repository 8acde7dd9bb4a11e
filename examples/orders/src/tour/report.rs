//! The closing table, and what it comes to.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

/// What came of a check.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) shows: &'static str,
    pub(super) verdict: Verdict,
    /// What was counted or timed, or what is wrong.
    pub(super) figure: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// The machine did not let it run: no space, no process, no permission.
    NotRun,
}

impl Verdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "PASS",
            Self::Failed => "FAIL",
            Self::NotRun => "NOT RUN",
        }
    }
}

/// Something that was promised does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) String);

/// Whether a check failed or could not run, and why.
///
/// The tour's own dealings with files and processes fail with an error of the system. Whatever comes
/// from Quipu has a type of its own, and it counts against Quipu.
pub(super) fn judge(failure: &(dyn Error + Send + Sync + 'static)) -> (Verdict, String) {
    let verdict = if failure.is::<io::Error>() { Verdict::NotRun } else { Verdict::Failed };
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let own = error.to_string();
        // Some errors show their cause themselves.
        if !text.ends_with(&own) {
            text = format!("{text}: {own}");
        }
        cause = error.source();
    }
    (verdict, text.replace('\n', " "))
}

/// The closing table: a line for each check, the columns below each other.
pub(super) fn table(lines: &[Line]) -> String {
    let head = [("check", "result", "what was shown", "figure")];
    let rows = lines.iter().map(|it| (it.name, it.verdict.as_str(), it.shows, &*it.figure));
    let rows: Vec<_> = head.into_iter().chain(rows).collect();
    let width = |of: fn(&(&str, &str, &str, &str)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let name_width = width(|row| row.0.len());
    let result_width = width(|row| row.1.len());
    let shows_width = width(|row| row.2.len());
    let mut text = String::new();
    for (name, result, shows, figure) in &rows {
        writeln!(
            text,
            "{name:<name_width$}  {result:<result_width$}  {shows:<shows_width$}  {figure}"
        )
        .expect("a text takes every line");
    }
    text
}

/// How many passed, in words.
pub(super) fn summary(lines: &[Line]) -> String {
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let passed = format!("{} of {} checks passed", count(Verdict::Passed), lines.len());
    match (count(Verdict::Failed), count(Verdict::NotRun)) {
        (0, 0) => passed,
        (failed, 0) => format!("{passed}, {failed} failed"),
        (failed, not_run) => format!("{passed}, {failed} failed, {not_run} could not run"),
    }
}

/// 0 if all passed, 1 if one failed, 2 if one could not run.
pub(super) fn exit_code(lines: &[Line]) -> u8 {
    let has = |verdict| lines.iter().any(|line| line.verdict == verdict);
    if has(Verdict::Failed) {
        1
    } else if has(Verdict::NotRun) {
        crate::COULD_NOT_RUN
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, verdict: Verdict) -> Line {
        Line { name, shows: "something", verdict, figure: "7 of 7".to_owned() }
    }

    #[test]
    fn one_check_that_fails_fails_the_tour() {
        let (passed, failed) = (line("a", Verdict::Passed), line("b", Verdict::Failed));
        let not_run = line("c", Verdict::NotRun);

        assert_eq!(exit_code(&[line("a", Verdict::Passed), line("b", Verdict::Passed)]), 0);
        assert_eq!(exit_code(&[line("a", Verdict::Passed), line("c", Verdict::NotRun)]), 2);
        let all = [passed, not_run, failed];
        assert_eq!(exit_code(&all), 1);
        assert_eq!(summary(&all), "1 of 3 checks passed, 1 failed, 1 could not run");
    }

    #[test]
    fn the_columns_are_below_each_other() {
        let lines = [line("race", Verdict::Passed), line("snapshot", Verdict::Failed)];

        let expected = "\
check     result  what was shown  figure
race      PASS    something       7 of 7
snapshot  FAIL    something       7 of 7
";
        assert_eq!(table(&lines), expected);
    }

    /// A promise that is broken fails; a machine that has no room does not.
    #[test]
    fn only_errors_of_the_system_itself_excuse_a_check() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let broken = Broken("two clerks sold it".to_owned());

        assert_eq!(judge(&full).0, Verdict::NotRun);
        assert_eq!(judge(&broken), (Verdict::Failed, "two clerks sold it".to_owned()));
    }
}
