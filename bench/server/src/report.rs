//! Rows, their bars, and how they are printed: as tables for people, and as lines for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::client::Result;
use crate::output::{progress, result};
use crate::server::Which;

/// What a peer may be better by before a row is below it: the noise of medians.
const LEVEL: f64 = 0.95;

/// What a row's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Microseconds,
    Mebibytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Mebibytes => "MiB",
        }
    }

    fn is_better(self, one: f64, other: f64) -> bool {
        if self == Self::PerSecond { one > other } else { one < other }
    }

    /// How many times as good one is as another.
    fn ratio(self, one: f64, other: f64) -> f64 {
        if self == Self::PerSecond { one / other } else { other / one }
    }
}

/// What Quipu's figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// Not below the better of the others.
    Level,
    /// At most so much.
    AtMost(f64),
    /// Told, not judged.
    None,
}

/// What a row is. Rows of the same table are printed together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) bar: Bar,
}

/// One server's figure in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// How long single appends took, in microseconds: half of them at most, and 99 of 100.
    pub(crate) latency: Option<[f64; 2]>,
    /// The longest time without an acknowledgement, in milliseconds.
    pub(crate) stall: Option<f64>,
}

impl Figure {
    pub(crate) fn of(value: f64) -> Self {
        Self { value, latency: None, stall: None }
    }
}

#[derive(Debug)]
struct Line {
    row: Row,
    figures: BTreeMap<Which, Vec<Figure>>,
}

impl Line {
    fn value(&self, which: Which) -> Option<f64> {
        median(self.figures.get(&which)?.iter().map(|figure| figure.value))
    }

    /// The better of the others.
    fn rival(&self) -> Option<f64> {
        let unit = self.row.unit;
        let rivals = [Which::UmaDb, Which::Tephra].into_iter().filter_map(|it| self.value(it));
        rivals.reduce(|one, other| if unit.is_better(other, one) { other } else { one })
    }

    /// How many times as good ours is as the better of the others.
    fn ratio(&self) -> Option<f64> {
        Some(self.row.unit.ratio(self.value(Which::Quipu)?, self.rival()?))
    }

    /// Whether the bar is reached. `None` where there is none, or nothing to hold against it.
    fn is_reached(&self) -> Option<bool> {
        match self.row.bar {
            Bar::None => None,
            Bar::Level => Some(self.ratio()? >= LEVEL),
            Bar::AtMost(most) => Some(self.value(Which::Quipu)? <= most),
        }
    }

    fn cell(&self, which: Which) -> String {
        let Some(value) = self.value(which) else { return "-".to_owned() };
        let figures = &self.figures[&which];
        let part = |at: usize| {
            median(figures.iter().filter_map(|figure| Some(figure.latency.as_ref()?[at])))
        };
        match part(0).zip(part(1)) {
            Some((p50, p99)) => format!("{} ({p50:.0}/{p99:.0})", short(value)),
            None => short(value),
        }
    }

    fn markdown(&self, columns: &[Which]) -> String {
        let mut line = format!("| {} | {} |", self.row.name, self.row.unit.name());
        for which in columns {
            let _infallible = write!(line, " {} |", self.cell(*which));
        }
        let ratio = self.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let verdict = match (self.row.bar, self.is_reached()) {
            (_, None) => "-".to_owned(),
            (Bar::AtMost(most), Some(true)) => format!("<= {most}: ok"),
            (Bar::AtMost(most), Some(false)) => format!("<= {most}: **below**"),
            (_, Some(true)) => "ok".to_owned(),
            (_, Some(false)) => "**below**".to_owned(),
        };
        let _infallible = write!(line, " {ratio} | {verdict} |");
        line
    }

    fn json(&self) -> String {
        let Row { table, name, unit, .. } = &self.row;
        let unit = unit.name();
        let mut line = format!(r#"{{"table":"{table}","row":"{name}","unit":"{unit}""#);
        for (which, figures) in &self.figures {
            let values: Vec<_> = figures.iter().map(|it| format!("{:.3}", it.value)).collect();
            let _infallible = write!(line, r#","{which}":[{}]"#, values.join(","));
        }
        line.push_str("}\n");
        line
    }
}

/// What is wished for beyond the bars.
struct Goal {
    what: String,
    measured: f64,
    wanted: String,
    is_reached: bool,
}

/// Every figure, in the order in which the first round made them.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    goals: Vec<Goal>,
}

impl Report {
    /// Takes a figure, or says why there is none.
    pub(crate) fn add(&mut self, row: &Row, which: Which, figure: Result<Figure>) {
        let Row { table, name, unit, .. } = row;
        let figure = match figure {
            Ok(figure) => figure,
            Err(cause) => {
                progress(&format!("  {table}, {name}, {which}: FAILED: {cause}"));
                return;
            }
        };
        let value = short(figure.value);
        let stall = figure.stall.map_or(String::new(), |it| format!(", stall {it:.1} ms"));
        progress(&format!("  {table}, {name}, {which}: {value} {}{stall}", unit.name()));
        let known = self.lines.iter().position(|line| line.row == *row);
        let index = known.unwrap_or_else(|| {
            self.lines.push(Line { row: row.clone(), figures: BTreeMap::new() });
            self.lines.len() - 1
        });
        self.lines[index].figures.entry(which).or_default().push(figure);
    }

    fn line(&self, table: &str, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.row.table == table && line.row.name == name)
    }

    /// The median of a server's figures in a row.
    pub(crate) fn value(&self, table: &str, name: &str, which: Which) -> Option<f64> {
        self.line(table, name)?.value(which)
    }

    /// How many times as good ours is as the better of the others in a row.
    pub(crate) fn ratio(&self, table: &str, name: &str) -> Option<f64> {
        self.line(table, name)?.ratio()
    }

    /// Our longest time without an acknowledgement in any round of a row, in milliseconds.
    pub(crate) fn stall(&self, table: &str, name: &str) -> Option<f64> {
        let figures = self.line(table, name)?.figures.get(&Which::Quipu)?;
        figures.iter().filter_map(|figure| figure.stall).reduce(f64::max)
    }

    /// Takes a goal for which there is a figure.
    pub(crate) fn at_least(&mut self, what: &str, measured: Option<f64>, wanted: f64) {
        self.goal(what, measured, format!(">= {wanted}"), |measured| measured >= wanted);
    }

    /// Likewise.
    pub(crate) fn at_most(&mut self, what: &str, measured: Option<f64>, wanted: f64) {
        self.goal(what, measured, format!("<= {wanted}"), |measured| measured <= wanted);
    }

    fn goal(
        &mut self,
        what: &str,
        measured: Option<f64>,
        wanted: String,
        is: impl Fn(f64) -> bool,
    ) {
        let Some(measured) = measured else { return };
        let what = what.to_owned();
        self.goals.push(Goal { what, measured, wanted, is_reached: is(measured) });
    }

    /// Prints the medians. Answers whether no row is below its bar.
    pub(crate) fn print(&self) -> bool {
        let mut tables: Vec<&str> = Vec::new();
        for line in &self.lines {
            if !tables.contains(&line.row.table) {
                tables.push(line.row.table);
            }
        }
        for table in tables {
            let lines = || self.lines.iter().filter(|line| line.row.table == table);
            let all = [Which::Echo, Which::UmaDb, Which::Tephra, Which::Quipu];
            let has_figures = |which: &Which| lines().any(|line| line.figures.contains_key(which));
            let columns: Vec<Which> = all.into_iter().filter(has_figures).collect();
            let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
            result(&format!("\n| {table} | unit | {} | x the better | bar |", names.join(" | ")));
            result(&format!("|---|---|{}---|---|", "---|".repeat(columns.len())));
            lines().for_each(|line| result(&line.markdown(&columns)));
        }
        if !self.goals.is_empty() {
            result("\n| goal | measured | wanted | |\n|---|---|---|---|");
        }
        for Goal { what, measured, wanted, is_reached } in &self.goals {
            let verdict = if *is_reached { "reached" } else { "not reached" };
            result(&format!("| {what} | {measured:.2} | {wanted} | {verdict} |"));
        }
        self.lines.iter().all(|line| line.is_reached() != Some(false))
    }

    /// Writes every figure of every round, a row a line.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, self.lines.iter().map(Line::json).collect::<String>())?)
    }
}

/// The one in the middle, the mean of two where the count is even.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Half of the durations are at most the first, 99 of 100 at most the second: in microseconds.
pub(crate) fn percentiles(mut durations: Vec<Duration>) -> [f64; 2] {
    durations.sort_unstable();
    [50, 99].map(|percent| {
        let rank = (percent * durations.len()).div_ceil(100).saturating_sub(1);
        durations.get(rank).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e6)
    })
}

fn short(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{:.2} M", value / 1e6),
        _ if value >= 1e4 => format!("{:.1} k", value / 1e3),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: Unit, bar: Bar) -> Row {
        Row { table: "table", name: "row".to_owned(), unit, bar }
    }

    fn report(row: &Row, figures: [f64; 3]) -> Report {
        let mut report = Report::default();
        let all = [Which::UmaDb, Which::Tephra, Which::Quipu];
        for (which, value) in all.into_iter().zip(figures) {
            report.add(row, which, Ok(Figure::of(value)));
        }
        report
    }

    #[test]
    fn a_row_is_held_against_the_better_of_the_others() {
        let rates = row(Unit::PerSecond, Bar::Level);
        let times = row(Unit::Milliseconds, Bar::Level);

        assert!(report(&rates, [1.0, 100.0, 96.0]).print());
        assert!(!report(&rates, [1.0, 100.0, 94.0]).print());
        assert!(report(&times, [1.0, 100.0, 1.04]).print());
        assert!(!report(&times, [1.0, 100.0, 1.1]).print());
    }

    #[test]
    fn what_failed_is_in_no_row() {
        let row = row(Unit::PerSecond, Bar::Level);
        let mut report = report(&row, [1.0, 2.0, 3.0]);
        report.add(&row, Which::Quipu, Err("no".into()));

        assert_eq!(report.value("table", "row", Which::Quipu), Some(3.0));
        assert_eq!(report.ratio("table", "row"), Some(1.5));
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_two_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }
}
