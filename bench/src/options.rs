//! What the command line asks for.

use std::path::PathBuf;

use crate::store::{Segments, Which};

pub(crate) const USAGE: &str = "\
quipu-bench [rows|growth] [options]

  rows      the jobs of docs/benchmarks.md, every store (the default)
  growth    appends, conditions, open after kill -9 and heap at 1 M, 5 M and 20 M events

  --events N           events loaded before the rows are measured (default 1000000)
  --quick              100 k events, small segments, fewer rounds: a look, not a figure
  --rounds N           interleaved rounds (default 5; loads take at most 3, short jobs 3 x N)
  --stores A,B         only these: reference, sqlite, tephra, quipu
  --sizes N,N          the sizes of growth (default 1000000,5000000,20000000)
  --format md|jsonl    what standard output gets (default md)
  --dir DIR            where the stores are made (default beside the program; never in memory)
";

/// Which part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Rows,
    Growth,
    /// A process that the bench starts in order to kill it.
    Child,
}

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Markdown,
    JsonLines,
}

/// The command line, understood.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) event_count: u64,
    pub(crate) round_count: usize,
    pub(crate) stores: Vec<Which>,
    pub(crate) sizes: Vec<u64>,
    pub(crate) format: Format,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) is_quick: bool,
    /// Where a child's events begin, and how many it loads.
    pub(crate) child: (u64, u64),
}

impl Options {
    /// Understands the arguments. `None` asks for the usage.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            mode: Mode::Rows,
            event_count: 1_000_000,
            round_count: 5,
            stores: Which::ALL.to_vec(),
            sizes: vec![1_000_000, 5_000_000, 20_000_000],
            format: Format::Markdown,
            dir: None,
            is_quick: false,
            child: (0, 0),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} takes a value"));
            match &*arg {
                "rows" => options.mode = Mode::Rows,
                "growth" => options.mode = Mode::Growth,
                "child" => options.mode = Mode::Child,
                "--events" => options.event_count = number(&value()?)?,
                "--rounds" => options.round_count = number(&value()?)? as usize,
                "--stores" => options.stores = list(&value()?, str::parse)?,
                "--sizes" => options.sizes = list(&value()?, number)?,
                "--dir" => options.dir = Some(value()?.into()),
                "--quick" => options.quicken(),
                "--from" => options.child.0 = value()?.parse().map_err(|_| "--from N")?,
                "--load" => options.child.1 = value()?.parse().map_err(|_| "--load N")?,
                "--format" => {
                    options.format = match &*value()? {
                        "md" => Format::Markdown,
                        "jsonl" => Format::JsonLines,
                        other => return Err(format!("there is no format \"{other}\"")),
                    }
                }
                "--help" | "-h" | "help" => return Ok(None),
                other => return Err(format!("there is no option \"{other}\"")),
            }
        }
        options.stores.sort_unstable();
        options.stores.dedup();
        Ok(Some(options))
    }

    /// How large the stores' segments are.
    pub(crate) fn segments(&self) -> Segments {
        if self.is_quick { Segments::Small } else { Segments::Default }
    }

    fn quicken(&mut self) {
        self.is_quick = true;
        self.event_count = 100_000;
        self.round_count = 3;
        self.sizes = vec![50_000, 100_000, 200_000];
    }
}

fn number(text: &str) -> Result<u64, String> {
    let number = text.replace('_', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("\"{text}\" is not a number above 0"))
}

fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|part| item(part.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_arguments_all_stores_do_all_rows() {
        let options = parse("").unwrap().unwrap();

        assert_eq!((options.mode, options.event_count), (Mode::Rows, 1_000_000));
        assert_eq!(options.stores, Which::ALL);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--evnts 1", "--events", "--events 0", "--stores redis", "--format xml"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn stores_come_in_the_order_of_a_round() {
        let options = parse("growth --stores quipu,reference --sizes 10,1_000").unwrap().unwrap();

        assert_eq!(options.stores, [Which::Reference, Which::Quipu]);
        assert_eq!(options.sizes, [10, 1_000]);
    }
}
