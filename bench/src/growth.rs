//! `growth`: what a store costs when it holds more.
//!
//! Stores of each size exist side by side, and each round measures all of them, so that a size is
//! compared with the others and not with another hour of the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::child::{self, Task};
use crate::machine::{Load, Machine, Scratch, settle};
use crate::options::{Format, Options};
use crate::output::{progress, result};
use crate::report::{figure, load_json, load_text, machine_json, number, rule};
use crate::stats::median;
use crate::store::{Guard, Result, Store, Which};
use crate::workload::{Feed, Workload};

/// What the largest size may cost, in times of the smallest.
const FLAT: f64 = 1.35;
/// The most heap at any size.
const HEAP_MIB_MAX: f64 = 256.0;
/// Events loaded before each kill: so many that some tail of the index becomes a run, and so that how
/// full the newest segment is varies.
const BEFORE_KILL: u64 = 100_000;
/// Costs take this many turns a round: each is over in a blink.
const SHORT: usize = 3;
/// Stores that grow. The others are measured at one size only.
const GROWING: [Which; 2] = [Which::Reference, Which::Quipu];

/// What is measured at each size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Metric {
    Append,
    ConditionFresh,
    ConditionLog,
    ConditionType,
    Open,
    HeapOpen,
    HeapLoad,
    HeapRest,
    Size,
}

impl Metric {
    fn title(self) -> &'static str {
        match self {
            Self::Append => "append of 1 event, p50, µs",
            Self::ConditionFresh => "condition: no such tag since, one of 1,000 at once, µs",
            Self::ConditionLog => "condition: no such tag in the log, one of 1,000 at once, µs",
            Self::ConditionType => "condition: no such type since, one of 1,000 at once, µs",
            Self::Open => "open and read after kill -9, ms",
            Self::HeapOpen => "most heap from opening to 100,000 more events, MiB",
            Self::HeapLoad => "most heap in the load of all, MiB",
            Self::HeapRest => "heap at rest after that load, MiB",
            Self::Size => "bytes on disk an event",
        }
    }

    /// Whether it may not grow. What a load leaves in memory, and takes at most, is of one load that
    /// lasts longer for more events: caches that fill up to their bounds, and the fullest moment of all.
    fn is_flat(self) -> bool {
        !matches!(self, Self::HeapLoad | Self::HeapRest | Self::Size)
    }

    fn is_heap(self) -> bool {
        matches!(self, Self::HeapOpen | Self::HeapLoad | Self::HeapRest)
    }
}

/// Samples by store, metric and size.
type Samples = BTreeMap<(Which, Metric, u64), Vec<f64>>;

/// A store of one size, open.
struct Grown {
    which: Which,
    size: u64,
    store: Box<dyn Store>,
    feed: Feed,
    workload: Arc<Workload>,
}

/// Runs all sizes; answers whether nothing is below its bar.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let scratch = Scratch::new(options.dir.as_deref())?;
    let machine = Machine::here(scratch.path());
    let settings = format!("{} rounds", options.round_count);
    progress(&format!("{machine}; {settings}"));
    let stores = options.stores.iter().filter(|which| GROWING.contains(which));
    let stores: Vec<Which> = stores.copied().collect();
    let mut samples = Samples::new();
    let began = Load::now();
    measure_kills(options, &stores, scratch.path(), &mut samples)?;
    measure_open(options, &stores, scratch.path(), &mut samples)?;
    match options.format {
        Format::Markdown => {
            result(&format!("{machine}; {settings}\n"));
            let is_fine = print_markdown(&options.sizes, &samples);
            result(&load_text(began));
            Ok(is_fine)
        }
        Format::JsonLines => {
            result(&machine_json(&machine, &settings));
            let is_fine = print_json(&options.sizes, &samples);
            result(&load_json(began));
            Ok(is_fine)
        }
    }
}

fn dir(base: &Path, which: Which, size: u64) -> PathBuf {
    base.join(format!("{which}-{size}"))
}

/// Children load the stores and are killed: open, heap, bytes an event.
fn measure_kills(
    options: &Options,
    stores: &[Which],
    base: &Path,
    samples: &mut Samples,
) -> Result<()> {
    for round in 0..=options.round_count as u64 {
        for &size in &options.sizes {
            for &which in stores {
                let dir = dir(base, which, size);
                let each = BEFORE_KILL.min(size);
                let (from, load) =
                    if round == 0 { (0, size) } else { (size + (round - 1) * each, each) };
                let segments = options.segments();
                let task = Task { which, dir: &dir, event_count: size, from, load, segments };
                let (loaded, acknowledged) = child::load_and_kill(task)?;
                let took = child::time_open(task, acknowledged)?;
                let mut note = |metric, value: f64| {
                    progress(&format!("{round} {which} {size} {metric:?}: {}", figure(value)));
                    samples.entry((which, metric, size)).or_default().push(value);
                };
                let mib = f64::from(1 << 20);
                if round == 0 {
                    note(Metric::HeapRest, loaded.heap / mib);
                    note(Metric::HeapLoad, loaded.heap_peak / mib);
                    note(Metric::Size, loaded.size / size as f64);
                } else {
                    note(Metric::HeapOpen, loaded.heap_peak / mib);
                    note(Metric::Open, took.as_secs_f64() * 1e3);
                }
            }
        }
    }
    Ok(())
}

/// All sizes are opened side by side: appends and conditions.
fn measure_open(
    options: &Options,
    stores: &[Which],
    base: &Path,
    samples: &mut Samples,
) -> Result<()> {
    let mut all = Vec::new();
    for &size in &options.sizes {
        let workload = Arc::new(Workload::new(size));
        let loaded = size + options.round_count as u64 * BEFORE_KILL.min(size);
        let start = Feed::after(&workload, loaded);
        for &which in stores {
            let store = which.open(&dir(base, which, size), options.segments())?;
            let workload = Arc::clone(&workload);
            all.push(Grown { which, size, store, feed: start.fork(), workload });
        }
    }
    for round in 0..options.round_count * SHORT {
        for grown in &mut all {
            settle();
            for (metric, value) in measure_costs(grown)? {
                let (which, size) = (grown.which, grown.size);
                progress(&format!("{round} {which} {size} {metric:?}: {}", figure(value)));
                samples.entry((which, metric, size)).or_default().push(value);
            }
        }
    }
    Ok(())
}

fn measure_costs(grown: &mut Grown) -> Result<Vec<(Metric, f64)>> {
    const COUNT: u64 = 1_000;
    const CHECK_COUNT: usize = 9;
    let store = &*grown.store;
    let events = grown.feed.take(COUNT, 1);
    let mut costs = vec![(
        Metric::Append,
        p50(&events, |event| store.append(std::slice::from_ref(event)).map(|_| ()))?,
    )];
    if !store.has_guards() {
        return Ok(costs);
    }
    let last = store.last()?;
    let events = Feed::unappended(&grown.workload, COUNT);
    let unique = |after: u64| {
        move |event: &crate::workload::Event| Guard::NoTag { tag: event.tags[2].clone(), after }
    };
    let of_type = |event: &crate::workload::Event| Guard::NoType {
        event_type: event.event_type.clone(),
        after: last,
    };
    // Only checked, not appended: the sync would hide what the condition costs. All at once: how
    // two threads wake each other would hide it too.
    let mut check = |metric, guard: &dyn Fn(&crate::workload::Event) -> Guard| -> Result<()> {
        let guards: Vec<Guard> = events.iter().map(guard).collect();
        let mut times = Vec::new();
        for _ in 0..CHECK_COUNT {
            let began = Instant::now();
            store.check_all(&guards)?;
            times.push(began.elapsed().as_secs_f64() * 1e6 / COUNT as f64);
        }
        costs.push((metric, median(times).unwrap_or(f64::NAN)));
        Ok(())
    };
    check(Metric::ConditionFresh, &unique(last))?;
    check(Metric::ConditionLog, &unique(0))?;
    check(Metric::ConditionType, &of_type)?;
    Ok(costs)
}

fn p50<T>(things: &[T], mut work: impl FnMut(&T) -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(things.len());
    for thing in things {
        let began = Instant::now();
        work(thing)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times).unwrap_or(f64::NAN))
}

/// One store's medians of one metric, by size.
struct Line {
    which: Which,
    metric: Metric,
    values: Vec<f64>,
}

impl Line {
    fn all(sizes: &[u64], samples: &Samples) -> Vec<Self> {
        let mut keys: Vec<(Which, Metric)> = samples.keys().map(|(w, m, _)| (*w, *m)).collect();
        keys.dedup();
        let mut lines = Vec::new();
        for (which, metric) in keys {
            let at = |size: &u64| {
                let values = samples.get(&(which, metric, *size)).cloned().unwrap_or_default();
                median(values).unwrap_or(f64::NAN)
            };
            lines.push(Self { which, metric, values: sizes.iter().map(at).collect() });
        }
        lines
    }

    /// The largest figure in times of the smallest size's.
    fn growth(&self) -> f64 {
        let first = self.values.first().copied().unwrap_or(f64::NAN);
        self.values.iter().copied().fold(f64::NAN, f64::max) / first
    }

    /// Whether quipu reaches the bar; the reference is only there to compare with.
    fn reaches(&self) -> Option<bool> {
        let (is_flat, is_heap) = (self.metric.is_flat(), self.metric.is_heap());
        if self.which != Which::Quipu || !(is_flat || is_heap) {
            return None;
        }
        let most = self.values.iter().copied().fold(f64::NAN, f64::max);
        Some((!is_flat || self.growth() <= FLAT) && (!is_heap || most <= HEAP_MIB_MAX))
    }

    fn verdict(&self) -> &'static str {
        match self.reaches() {
            Some(true) => "ok",
            Some(false) => "**below**",
            None => "-",
        }
    }
}

fn print_markdown(sizes: &[u64], samples: &Samples) -> bool {
    let names: Vec<String> = sizes.iter().map(|size| figure(*size as f64)).collect();
    let head = format!("| store | what | {} | growth | verdict |", names.join(" | "));
    result(&head);
    result(&rule(&head));
    let lines = Line::all(sizes, samples);
    for line in &lines {
        let values: Vec<String> = line.values.iter().map(|value| figure(*value)).collect();
        result(&format!(
            "| {} | {} | {} | {:.2} | {} |",
            line.which,
            line.metric.title(),
            values.join(" | "),
            line.growth(),
            line.verdict()
        ));
    }
    result(&format!(
        "\nMedians of the rounds; the load of all, and what it leaves, is measured once. Growth: the \
         largest figure in times of the first; at most {FLAT} is flat. No heap above {HEAP_MIB_MAX} \
         MiB."
    ));
    lines.iter().all(|line| line.reaches() != Some(false))
}

fn print_json(sizes: &[u64], samples: &Samples) -> bool {
    let lines = Line::all(sizes, samples);
    for line in &lines {
        let values = sizes.iter().zip(&line.values);
        let values: Vec<String> =
            values.map(|(size, value)| format!(r#""{size}":{}"#, number(*value))).collect();
        result(&format!(
            r#"{{"store":"{}","metric":"{:?}",{},"growth":{},"verdict":"{}"}}"#,
            line.which,
            line.metric,
            values.join(","),
            number(line.growth()),
            line.verdict().trim_matches('*')
        ));
    }
    lines.iter().all(|line| line.reaches() != Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(which: Which, metric: Metric, values: &[f64]) -> Line {
        Line { which, metric, values: values.to_vec() }
    }

    #[test]
    fn what_does_not_grow_by_more_than_a_third_is_flat() {
        let flat = [100.0, 90.0, 134.0];
        let steep = [100.0, 136.0, 90.0];

        assert_eq!(line(Which::Quipu, Metric::Append, &flat).reaches(), Some(true));
        assert_eq!(line(Which::Quipu, Metric::Append, &steep).reaches(), Some(false));
        assert_eq!(line(Which::Reference, Metric::Append, &steep).reaches(), None);
    }

    #[test]
    fn the_heap_has_a_limit_beside_its_growth() {
        assert_eq!(line(Which::Quipu, Metric::HeapOpen, &[250.0, 256.0]).reaches(), Some(true));
        assert_eq!(line(Which::Quipu, Metric::HeapOpen, &[250.0, 257.0]).reaches(), Some(false));
        assert_eq!(line(Which::Quipu, Metric::HeapLoad, &[50.0, 256.0]).reaches(), Some(true));
        assert_eq!(line(Which::Quipu, Metric::HeapLoad, &[50.0, 257.0]).reaches(), Some(false));
    }

    #[test]
    fn a_size_that_was_not_measured_is_not_flat() {
        let missing = line(Which::Quipu, Metric::Open, &[f64::NAN, f64::NAN]);

        assert_eq!(missing.reaches(), Some(false));
    }
}
