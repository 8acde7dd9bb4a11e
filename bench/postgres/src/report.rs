//! Rows as a table for people, and as lines for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

pub(crate) struct Report {
    table: String,
    columns: Vec<String>,
    json: Option<File>,
}

impl Report {
    /// Says what is measured on.
    pub(crate) fn begin(version: &str) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        println!("{version}; {cores} cores\n");
        let mut arguments = std::env::args().skip_while(|it| it != "--json");
        let json = arguments.nth(1).map(|path| File::create(path).expect("a file to write"));
        Self { table: String::new(), columns: Vec::new(), json }
    }

    /// Begins a table.
    pub(crate) fn head(&mut self, table: &str, columns: &[&str]) {
        table.clone_into(&mut self.table);
        self.columns = columns.iter().map(|&it| it.to_owned()).collect();
        let columns: Vec<String> = columns.iter().map(|it| format!("{it}, /s")).collect();
        println!("\n| {table} | {} | |", columns.join(" | "));
        println!("|---|{}---|", "---|".repeat(columns.len()));
    }

    /// A row: how much of it a second, and what that is in terms of each other.
    pub(crate) fn row(&mut self, what: &str, rates: &[f64], notes: &[(&str, f64)]) {
        let rates_text: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let notes_text: Vec<String> =
            notes.iter().map(|(of, ratio)| format!("{ratio:.2} {of}")).collect();
        println!("| {what} | {} | {} |", rates_text.join(" | "), notes_text.join(", "));
        let Some(file) = &mut self.json else { return };
        let mut line = format!("{{\"table\":\"{}\",\"row\":\"{what}\"", self.table);
        for (name, rate) in self
            .columns
            .iter()
            .map(String::as_str)
            .zip(rates)
            .chain(notes.iter().map(|(name, ratio)| (*name, ratio)))
        {
            let _infallible = write!(line, ",\"{name}\":{rate:.3}");
        }
        line.push_str("}\n");
        file.write_all(line.as_bytes()).expect("the file takes a line");
    }

    /// Says how busy the machine was with other things.
    pub(crate) fn end(self) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("\nLoad at the end: {}", load.trim_end());
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
