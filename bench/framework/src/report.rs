//! Figures by row and by who did the job, and how they are printed.

use std::fmt::Write as _;

use crate::output::{progress, result};

/// Every figure, in the order in which the first round made them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    row: String,
    unit: &'static str,
    who: &'static str,
    samples: Vec<f64>,
    /// What the median must be at least.
    bar: Option<f64>,
}

impl Report {
    /// Takes a figure.
    pub(crate) fn add(&mut self, row: &str, unit: &'static str, who: &'static str, value: f64) {
        self.take(row, unit, who, value, None);
    }

    /// Takes a figure that must be at least so much.
    pub(crate) fn judge(
        &mut self,
        row: &str,
        unit: &'static str,
        who: &'static str,
        value: f64,
        bar: f64,
    ) {
        self.take(row, unit, who, value, Some(bar));
    }

    fn take(
        &mut self,
        row: &str,
        unit: &'static str,
        who: &'static str,
        value: f64,
        bar: Option<f64>,
    ) {
        progress(&format!("  {row}, {who}: {} {unit}", figure(value)));
        let is_own = |line: &&mut Line| line.row == row && line.who == who;
        match self.lines.iter_mut().find(is_own) {
            Some(line) => line.samples.push(value),
            None => {
                let row = row.to_owned();
                self.lines.push(Line { row, unit, who, samples: vec![value], bar });
            }
        }
    }

    /// Prints the medians. Answers whether no figure is below its bar.
    pub(crate) fn print(&self, is_jsonl: bool) -> bool {
        let mut is_good = true;
        if !is_jsonl {
            result("| row | who | median | lowest | highest | unit | bar |");
            result("|---|---|---|---|---|---|---|");
        }
        for line in &self.lines {
            let mut samples = line.samples.clone();
            samples.sort_unstable_by(f64::total_cmp);
            let median = median(&samples);
            let (lowest, highest) = (samples[0], samples[samples.len() - 1]);
            let is_reached = line.bar.map(|bar| median >= bar);
            is_good &= is_reached != Some(false);
            let (row, unit, who) = (&line.row, line.unit, line.who);
            let mut text = String::new();
            // Writing to a text cannot fail.
            let _ = if is_jsonl {
                write!(
                    text,
                    "{{\"row\":\"{row}\",\"who\":\"{who}\",\"median\":{median:.3},\
                     \"lowest\":{lowest:.3},\"highest\":{highest:.3},\"unit\":\"{unit}\"}}"
                )
            } else {
                let verdict = match (line.bar, is_reached) {
                    (Some(bar), Some(true)) => format!(">= {bar}: ok"),
                    (Some(bar), _) => format!(">= {bar}: **below**"),
                    (None, _) => "-".to_owned(),
                };
                let (lowest, highest) = (figure(lowest), figure(highest));
                let median = figure(median);
                write!(
                    text,
                    "| {row} | {who} | {median} | {lowest} | {highest} | {unit} | {verdict} |"
                )
            };
            result(&text);
        }
        is_good
    }
}

/// The one in the middle, the mean of two where the count is even.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

fn figure(value: f64) -> String {
    match value {
        value if value >= 100_000.0 => format!("{:.0} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}
