//! Rows, their bars, and how they are printed.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::machine::{Load, Machine};
use crate::options::Format;
use crate::output::result;
use crate::stats::{Latency, median};
use crate::store::Which;

/// What a rival may be better by before a row is below it: the noise of medians.
const TOLERANCE: f64 = 0.95;
/// The share of the goal that is the bar.
const GOAL_SHARE: f64 = 0.8;

/// What a row's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Microseconds,
    Milliseconds,
    Mebibytes,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Bytes => "B",
        }
    }

    /// How many times as good `own` is as `other`.
    fn ratio(self, own: f64, other: f64) -> f64 {
        if self == Self::PerSecond { own / other } else { other / own }
    }
}

/// What quipu's figure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// Not below SQLite or tephra; with a goal, not below its share of the reference.
    Job { goal: Option<f64> },
    /// At most so much.
    AtMost(f64),
    /// At most so many times the reference's.
    TimesReference(f64),
    /// Told, not judged.
    None,
}

/// What a row is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) bar: Bar,
}

/// One store's figure in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) latency: Option<Latency>,
}

impl Sample {
    /// A figure without latencies.
    pub(crate) fn of(value: f64) -> Self {
        Self { value, latency: None }
    }
}

/// Each store's samples.
pub(crate) type Samples = BTreeMap<Which, Vec<Sample>>;

/// Medians of one row.
#[derive(Clone, Debug)]
struct Line {
    row: Row,
    cells: BTreeMap<Which, Sample>,
}

impl Line {
    fn new(row: Row, samples: &Samples) -> Self {
        let cell = |samples: &Vec<Sample>| {
            let value = median(samples.iter().map(|sample| sample.value))?;
            let latencies: Vec<Latency> = samples.iter().filter_map(|s| s.latency).collect();
            Some(Sample { value, latency: Latency::median(&latencies) })
        };
        let cells = samples.iter().filter_map(|(which, samples)| Some((*which, cell(samples)?)));
        Self { row, cells: cells.collect() }
    }

    fn value(&self, which: Which) -> Option<f64> {
        self.cells.get(&which).map(|cell| cell.value)
    }

    /// How many times as good quipu is as another store.
    fn ratio(&self, which: Which) -> Option<f64> {
        Some(self.row.unit.ratio(self.value(Which::Quipu)?, self.value(which)?))
    }

    /// Whether quipu reaches the bar. `None` where there is no bar, or nothing to hold against it.
    fn reaches(&self) -> Option<bool> {
        let own = self.value(Which::Quipu)?;
        match self.row.bar {
            Bar::None => None,
            Bar::AtMost(most) => Some(own <= most),
            Bar::TimesReference(times) => Some(own <= times * self.value(Which::Reference)?),
            Bar::Job { goal } => {
                let rivals = [Which::Sqlite, Which::Tephra].into_iter();
                let above_rivals =
                    rivals.filter_map(|which| self.ratio(which)).all(|ratio| ratio >= TOLERANCE);
                let reference = goal.zip(self.ratio(Which::Reference));
                let above_reference =
                    reference.is_none_or(|(goal, ratio)| ratio >= GOAL_SHARE * goal);
                Some(above_rivals && above_reference)
            }
        }
    }

    fn verdict(&self) -> &'static str {
        match self.reaches() {
            Some(true) => "ok",
            Some(false) => "**below**",
            None => "-",
        }
    }

    fn bar(&self) -> String {
        match self.row.bar {
            Bar::None => "-".to_owned(),
            Bar::AtMost(most) => format!("<= {} {}", figure(most), self.row.unit.name()),
            Bar::TimesReference(times) => format!("<= {times} x reference"),
            Bar::Job { goal: None } => format!(">= {TOLERANCE} x rivals"),
            Bar::Job { goal: Some(goal) } => {
                format!(">= {:.2} x reference, {TOLERANCE} x rivals", GOAL_SHARE * goal)
            }
        }
    }

    fn markdown(&self, stores: &[Which]) -> String {
        let mut line = format!("| {} | {} |", self.row.title, self.row.unit.name());
        for which in stores {
            let cell = self.cells.get(which).map_or("-".to_owned(), cell);
            write!(line, " {cell} |").expect("a string takes all");
        }
        for which in stores.iter().filter(|which| **which != Which::Quipu) {
            let ratio = self.ratio(*which).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            write!(line, " {ratio} |").expect("a string takes all");
        }
        write!(line, " {} | {} |", self.bar(), self.verdict()).expect("a string takes all");
        line
    }

    fn json(&self) -> String {
        let mut line = format!(r#"{{"row":"{}","unit":"{}""#, self.row.key, self.row.unit.name());
        for (which, cell) in &self.cells {
            write!(line, r#","{which}":{}"#, number(cell.value)).expect("a string takes all");
            if let Some(Latency { p50, p99, p999 }) = cell.latency {
                let parts = [("p50", p50), ("p99", p99), ("p999", p999)];
                for (name, value) in parts {
                    write!(line, r#","{which}_{name}_us":{}"#, number(value))
                        .expect("a string takes all");
                }
            }
            if let Some(ratio) = self.ratio(*which).filter(|_| *which != Which::Quipu) {
                write!(line, r#","ratio_{which}":{}"#, number(ratio)).expect("a string takes all");
            }
        }
        let verdict = self.verdict().trim_matches('*');
        write!(line, r#","bar":"{}","verdict":"{verdict}"}}"#, self.bar())
            .expect("a string takes all");
        line
    }
}

/// All rows of a run.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    settings: String,
    stores: Vec<Which>,
    lines: Vec<Line>,
    began: Load,
}

impl Report {
    /// A report without rows.
    pub(crate) fn new(machine: Machine, settings: String, stores: &[Which]) -> Self {
        Self { machine, settings, stores: stores.to_vec(), lines: Vec::new(), began: Load::now() }
    }

    /// Adds a row, if any store did it.
    pub(crate) fn add(&mut self, row: Row, samples: &Samples) {
        let line = Line::new(row, samples);
        if !line.cells.is_empty() {
            self.lines.push(line);
        }
    }

    /// Prints all rows; answers whether none is below its bar.
    pub(crate) fn print(&self, format: Format) -> bool {
        match format {
            Format::JsonLines => {
                result(&machine_json(&self.machine, &self.settings));
                self.lines.iter().for_each(|line| result(&line.json()));
                result(&load_json(self.began));
            }
            Format::Markdown => self.print_markdown(),
        }
        self.lines.iter().all(|line| line.reaches() != Some(false))
    }

    fn print_markdown(&self) {
        result(&format!("{}; {}\n", self.machine, self.settings));
        let mut head = "| row | unit |".to_owned();
        for which in &self.stores {
            write!(head, " {which} |").expect("a string takes all");
        }
        for which in self.stores.iter().filter(|which| **which != Which::Quipu) {
            write!(head, " x {which} |").expect("a string takes all");
        }
        head.push_str(" bar | verdict |");
        result(&head);
        result(&rule(&head));
        self.lines.iter().for_each(|line| result(&line.markdown(&self.stores)));
        result(
            "\nMedians of the rounds; in parentheses p50/p99 of single appends in µs. A ratio says \
             how many times as good quipu is as the other store.",
        );
        result(&load_text(self.began));
    }
}

/// The line between a table's head and its rows.
pub(crate) fn rule(head: &str) -> String {
    format!("|{}", "---|".repeat(head.matches('|').count() - 1))
}

/// The first line of the machine-readable output.
pub(crate) fn machine_json(machine: &Machine, settings: &str) -> String {
    format!(
        r#"{{"machine":"{}","cores":{},"kernel":"{}","file_system":"{}","settings":"{settings}"}}"#,
        machine.processor, machine.cores, machine.kernel, machine.file_system
    )
}

/// The last line of the machine-readable output: what others did to the processors meanwhile.
pub(crate) fn load_json(began: Load) -> String {
    format!(r#"{{"processors_used_by_others_percent":{}}}"#, number(began.others_since()))
}

/// The same for people.
pub(crate) fn load_text(began: Load) -> String {
    let share = began.others_since();
    format!("Other processes had {share:.0} % of the processors meanwhile.")
}

fn cell(cell: &Sample) -> String {
    match cell.latency {
        Some(latency) => {
            format!("{} ({:.0}/{:.0})", figure(cell.value), latency.p50, latency.p99)
        }
        None => figure(cell.value),
    }
}

/// A figure with as many digits as mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000_000.0 => format!("{:.1} M", value / 1e6),
        size if size >= 1_000_000.0 => format!("{:.2} M", value / 1e6),
        size if size >= 10_000.0 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A figure as JSON has it, which knows no infinity.
pub(crate) fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "null".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bar: Bar, unit: Unit, values: [f64; 4]) -> Line {
        let row = Row { key: "a", title: "a", unit, bar };
        let samples = Which::ALL.into_iter().zip(values.map(|value| vec![Sample::of(value)]));
        Line::new(row, &samples.collect())
    }

    #[test]
    fn a_job_must_reach_the_rivals_and_its_share_of_the_reference() {
        let job = Bar::Job { goal: Some(0.9) };

        assert_eq!(line(job, Unit::PerSecond, [100.0, 70.0, 70.0, 73.0]).reaches(), Some(true));
        assert_eq!(line(job, Unit::PerSecond, [100.0, 70.0, 70.0, 71.0]).reaches(), Some(false));
        assert_eq!(line(job, Unit::PerSecond, [100.0, 90.0, 70.0, 80.0]).reaches(), Some(false));
        assert_eq!(line(job, Unit::PerSecond, [100.0, 84.0, 70.0, 80.0]).reaches(), Some(true));
    }

    #[test]
    fn less_is_better_where_time_or_space_is_measured() {
        let line = line(Bar::Job { goal: None }, Unit::Milliseconds, [1.0, 20.0, 10.0, 5.0]);

        assert_eq!(line.ratio(Which::Tephra), Some(2.0));
        assert_eq!(line.reaches(), Some(true));
    }

    #[test]
    fn limits_are_held_against_the_figure_itself() {
        let values = [10.0, 1.0, 1.0, 31.0];

        assert_eq!(line(Bar::AtMost(31.0), Unit::Mebibytes, values).reaches(), Some(true));
        assert_eq!(
            line(Bar::TimesReference(3.0), Unit::Microseconds, values).reaches(),
            Some(false)
        );
        assert_eq!(line(Bar::None, Unit::Bytes, values).reaches(), None);
    }

    #[test]
    fn a_row_without_quipu_has_no_verdict() {
        let row = Row { key: "a", title: "a", unit: Unit::Bytes, bar: Bar::Job { goal: None } };
        let samples = Samples::from([(Which::Sqlite, vec![Sample::of(1.0)])]);

        assert_eq!(Line::new(row, &samples).reaches(), None);
    }

    #[test]
    fn the_rule_has_as_many_columns_as_the_head() {
        assert_eq!(rule("| a | b |"), "|---|---|");
    }
}
