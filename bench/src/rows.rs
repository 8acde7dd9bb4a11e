//! `rows`: every store does every job, round by round.
//!
//! In a round each store does the job once; the store that begins changes from round to round, and
//! before each turn the process comes to rest. So what else the machine does hits all alike, and
//! what a store puts off is not paid by another.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::child::{self, Task};
use crate::machine::{Machine, Scratch, settle};
use crate::options::Options;
use crate::output::progress;
use crate::report::{Bar, Report, Row, Sample, Samples, Unit, figure};
use crate::stats::{Latency, rate};
use crate::store::{Error, Guard, Result, Store, Which};
use crate::submitters;
use crate::workload::{Event, Feed, LONG_STREAM, Workload, random};

/// Events generated at a time, before they are appended.
const SLAB_COUNT: u64 = 250_000;
/// Jobs of a fraction of a second take this many rounds for each of the others: the more turns,
/// the less it matters what else the machine did in one of them.
const SHORT: usize = 3;
/// Events loaded before each kill, so that how full the newest segment is varies.
const BEFORE_KILL: u64 = 30_000;

/// A store with its place in the job.
struct Contender {
    which: Which,
    store: Box<dyn Store>,
    feed: Feed,
}

/// What all jobs know.
struct Run<'a> {
    options: &'a Options,
    workload: Arc<Workload>,
    scratch: Scratch,
}

/// Runs all rows.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let scratch = Scratch::new(options.dir.as_deref())?;
    let machine = Machine::here(scratch.path());
    let settings = format!(
        "{} events, {} rounds, segments of {} MiB",
        options.event_count,
        options.round_count,
        options.segments().size() >> 20
    );
    progress(&format!("{machine}; {settings}"));
    let mut report = Report::new(machine, settings, &options.stores);
    let workload = Arc::new(Workload::new(options.event_count));
    let run = Run { options, workload, scratch };

    let mut contenders = run.bulk(&mut report)?;
    run.appends(&mut contenders, &mut report)?;
    run.reads(&mut contenders, &mut report)?;
    run.conditions(&mut contenders, &mut report)?;
    run.rolls(&mut contenders, &mut report)?;
    drop(contenders);
    run.kills(&mut report)?;
    Ok(report)
}

impl Run<'_> {
    /// Loads all events into each store, in every round into a new one; the last ones stay open.
    fn bulk(&self, report: &mut Report) -> Result<Vec<Contender>> {
        let start = Feed::after(&self.workload, 0);
        let mut samples = Samples::new();
        let mut settled = Samples::new();
        let mut contenders: Vec<Contender> = Vec::new();
        // A load is long enough for its own noise to even out.
        for round in 0..self.options.round_count.min(3) {
            // Closed before their directories are removed.
            contenders.clear();
            for which in rotated(&self.options.stores, round) {
                let dir = self.dir(which, "rows");
                if dir.exists() {
                    fs::remove_dir_all(&dir)?;
                }
                settle();
                let store = which.open(&dir, self.options.segments())?;
                let mut feed = start.fork();
                let took = load(&*store, &mut feed, self.options.event_count)?;
                let put_off = settle();
                say("bulk", round, which, rate(self.options.event_count, took));
                let count = self.options.event_count;
                samples.entry(which).or_default().push(Sample::of(rate(count, took)));
                let all = Sample::of(rate(count, took + put_off));
                settled.entry(which).or_default().push(all);
                contenders.push(Contender { which, store, feed });
            }
        }
        contenders.sort_by_key(|contender| contender.which);
        report.add(job("bulk", "bulk load, 1,000 an append", Some(0.50)), &samples);
        let row = Row { bar: Bar::None, ..job("bulk-rest", "bulk load until at rest", None) };
        report.add(row, &settled);
        Ok(contenders)
    }

    fn appends(&self, contenders: &mut [Contender], report: &mut Report) -> Result<()> {
        let short = SHORT * self.options.round_count;
        let count = if self.options.is_quick { 300 } else { 1_000 };
        let samples = interleave("W1", short, contenders, |contender, _| {
            let events = contender.feed.take(count, 1);
            append_each(&*contender.store, &events, 1).map(Some)
        })?;
        report.add(job("w1", "1 event an append", Some(0.90)), &samples);

        let count = if self.options.is_quick { 2_000 } else { 10_000 };
        let samples = interleave("W100", short, contenders, |contender, _| {
            let events = contender.feed.take(count, 100);
            append_each(&*contender.store, &events, 100).map(Some)
        })?;
        report.add(job("w100", "100 events an append", Some(0.80)), &samples);

        let each = if self.options.is_quick { 30 } else { 150 };
        let samples = interleave("64", short, contenders, |contender, _| {
            let shares = contender.feed.take_for(64, each);
            let (took, durations) = submitters::run(&*contender.store, &shares)?;
            let value = rate(durations.len() as u64, took);
            Ok(Some(Sample { value, latency: Some(Latency::of(durations)) }))
        })?;
        report.add(job("64", "64 callers, 1 event an append", Some(0.85)), &samples);
        Ok(())
    }

    fn reads(&self, contenders: &mut [Contender], report: &mut Report) -> Result<()> {
        let rounds = self.options.round_count;
        let samples = interleave("scan", rounds, contenders, |contender, _| {
            let last = contender.store.last()?;
            let began = Instant::now();
            let tally = contender.store.scan()?;
            let took = began.elapsed();
            expect_count(contender.which, "the log", tally.count, last)?;
            Ok(Some(Sample::of(rate(tally.count, took))))
        })?;
        report.add(job("scan", "full scan, events", Some(0.70)), &samples);

        let count = if self.options.is_quick { 2_000 } else { 20_000 };
        let stream_count = self.workload.stream_count();
        let samples = interleave("stream", rounds, contenders, |contender, round| {
            let pick = |n: u64| 1 + (random(round as u64 * count + n) % stream_count) as u32;
            let streams: Vec<u32> = (0..count).map(pick).collect();
            let names: Vec<String> =
                streams.iter().map(|stream| Workload::stream_name(*stream)).collect();
            let expected: u64 = streams.iter().map(|s| contender.feed.count(*s)).sum();
            let mut found = 0;
            let began = Instant::now();
            for name in &names {
                found += contender.store.read_stream(name)?.count;
            }
            let took = began.elapsed();
            expect_count(contender.which, "some streams", found, expected)?;
            Ok(Some(Sample::of(rate(count, took))))
        })?;
        report.add(job("stream", "reads of random streams of ~10", Some(0.50)), &samples);

        let name = Workload::stream_name(LONG_STREAM);
        let samples = interleave("long", rounds, contenders, |contender, _| {
            let began = Instant::now();
            let tally = contender.store.read_stream(&name)?;
            let took = began.elapsed();
            let expected = contender.feed.count(LONG_STREAM);
            expect_count(contender.which, "the long stream", tally.count, expected)?;
            Ok(Some(Sample::of(rate(tally.count, took))))
        })?;
        report.add(job("long", "replay of the long stream, events", Some(0.60)), &samples);
        Ok(())
    }

    fn conditions(&self, contenders: &mut [Contender], report: &mut Report) -> Result<()> {
        type MakeGuard = fn(&Event, u64) -> Guard;
        let kinds: [(&'static str, &'static str, MakeGuard); 3] = [
            ("condition-fresh", "append if no such tag since", |event, after| Guard::NoTag {
                tag: event.tags[2].clone(),
                after,
            }),
            ("condition-log", "append if no such tag in the log", |event, _| Guard::NoTag {
                tag: event.tags[2].clone(),
                after: 0,
            }),
            ("condition-type", "append if no such type since", |event, after| Guard::NoType {
                event_type: event.event_type.clone(),
                after,
            }),
        ];
        let count = if self.options.is_quick { 200 } else { 500 };
        let short = SHORT * self.options.round_count;
        for (key, title, guard) in kinds {
            let samples = interleave(key, short, contenders, |contender, _| {
                if !contender.store.has_guards() {
                    return Ok(None);
                }
                let events = contender.feed.take_unique(count);
                append_guarded(&*contender.store, &events, guard).map(Some)
            })?;
            report.add(job(key, title, None), &samples);
        }
        Ok(())
    }

    /// Batches of 100 across several segments: what a change of segment costs an append.
    fn rolls(&self, contenders: &mut [Contender], report: &mut Report) -> Result<()> {
        const SLICE_COUNT: u64 = 4;
        let (segments, frame_size) = (2, 300);
        let count = segments * self.options.segments().size() / frame_size / SLICE_COUNT;
        let mut durations: Vec<(Which, Vec<Duration>)> = Vec::new();
        for slice in 0..SLICE_COUNT {
            for contender in contenders.iter_mut() {
                if contender.which == Which::Sqlite {
                    continue;
                }
                let events = contender.feed.take(count, 100);
                settle();
                let slice_durations = time_each(&*contender.store, &events, 100)?;
                let p999 = Latency::of(slice_durations.clone()).p999;
                say("roll", slice as usize, contender.which, p999);
                match durations.iter_mut().find(|(which, _)| *which == contender.which) {
                    Some((_, all)) => all.extend(slice_durations),
                    None => durations.push((contender.which, slice_durations)),
                }
            }
        }
        let mut samples = Samples::new();
        for (which, durations) in durations {
            let latency = Latency::of(durations);
            let sample = Sample { value: latency.p999, latency: Some(latency) };
            samples.insert(which, vec![sample]);
        }
        let row = Row {
            key: "roll",
            title: "p99.9 of appends of 100 across segments",
            unit: Unit::Microseconds,
            bar: Bar::TimesReference(3.0),
        };
        report.add(row, &samples);
        Ok(())
    }

    /// Processes of their own load the stores and are killed: open, heap and bytes an event.
    fn kills(&self, report: &mut Report) -> Result<()> {
        let mut opens = Samples::new();
        let mut heaps = [Samples::new(), Samples::new()];
        let mut sizes = Samples::new();
        for round in 0..=self.options.round_count {
            for which in rotated(&self.options.stores, round) {
                let dir = self.dir(which, "killed");
                let task = self.task(which, &dir, round);
                let (loaded, acknowledged) = child::load_and_kill(task)?;
                let took = child::time_open(task, acknowledged)?;
                if round == 0 {
                    // The first child is the one that loads everything.
                    let mib = |bytes: f64| vec![Sample::of(bytes / f64::from(1 << 20))];
                    heaps[0].insert(which, mib(loaded.heap));
                    heaps[1].insert(which, mib(loaded.heap_peak));
                    let size = loaded.size / task.load as f64;
                    sizes.insert(which, vec![Sample::of(size)]);
                    continue;
                }
                let millis = took.as_secs_f64() * 1e3;
                say("open", round, which, millis);
                opens.entry(which).or_default().push(Sample::of(millis));
            }
        }
        let row = |key, title, unit, bar| Row { key, title, unit, bar };
        let open = Bar::AtMost(500.0);
        report.add(row("open", "open and read after kill -9", Unit::Milliseconds, open), &opens);
        let bar = Bar::AtMost(256.0);
        report.add(row("heap", "heap at rest after the load", Unit::Mebibytes, bar), &heaps[0]);
        report.add(row("heap-peak", "most heap in the load", Unit::Mebibytes, bar), &heaps[1]);
        report.add(row("size", "bytes on disk an event", Unit::Bytes, Bar::None), &sizes);
        Ok(())
    }

    fn task<'b>(&self, which: Which, dir: &'b std::path::Path, round: usize) -> Task<'b> {
        let count = self.options.event_count;
        let each = BEFORE_KILL.min(count);
        let (from, load) = match round as u64 {
            0 => (0, count),
            round => (count + (round - 1) * each, each),
        };
        let segments = self.options.segments();
        Task { which, dir, event_count: count, from, load, segments }
    }

    fn dir(&self, which: Which, part: &str) -> PathBuf {
        self.scratch.path().join(format!("{part}-{which}"))
    }
}

/// Has each store do a job, round by round. A store that cannot do it is left out.
fn interleave(
    name: &str,
    rounds: usize,
    contenders: &mut [Contender],
    mut job: impl FnMut(&mut Contender, usize) -> Result<Option<Sample>>,
) -> Result<Samples> {
    let mut samples = Samples::new();
    for round in 0..rounds {
        let count = contenders.len();
        for turn in 0..count {
            let contender = &mut contenders[(turn + round) % count];
            settle();
            if let Some(sample) = job(contender, round)? {
                say(name, round, contender.which, sample.value);
                samples.entry(contender.which).or_default().push(sample);
            }
        }
    }
    Ok(samples)
}

/// A row whose figure is a rate, with the goal of its ratio to the reference.
fn job(key: &'static str, title: &'static str, goal: Option<f64>) -> Row {
    Row { key, title, unit: Unit::PerSecond, bar: Bar::Job { goal } }
}

fn say(job: &str, round: usize, which: Which, value: f64) {
    progress(&format!("{job} {round} {which}: {}", figure(value)));
}

fn rotated(stores: &[Which], round: usize) -> Vec<Which> {
    let mut stores = stores.to_vec();
    let count = stores.len().max(1);
    stores.rotate_left(round % count);
    stores
}

/// Loads events, a thousand an append. Making them is not part of the time.
fn load(store: &dyn Store, feed: &mut Feed, count: u64) -> Result<Duration> {
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let events = feed.take(left.min(SLAB_COUNT), 1_000);
        let began = Instant::now();
        for batch in events.chunks(1_000) {
            store.append(batch)?;
        }
        took += began.elapsed();
        left -= events.len() as u64;
    }
    Ok(took)
}

fn time_each(store: &dyn Store, events: &[Event], size: usize) -> Result<Vec<Duration>> {
    let mut durations = Vec::with_capacity(events.len() / size);
    for batch in events.chunks(size) {
        let began = Instant::now();
        store.append(batch)?;
        durations.push(began.elapsed());
    }
    Ok(durations)
}

fn append_each(store: &dyn Store, events: &[Event], size: usize) -> Result<Sample> {
    let durations = time_each(store, events, size)?;
    let took = durations.iter().sum();
    let value = rate(events.len() as u64, took);
    Ok(Sample { value, latency: Some(Latency::of(durations)) })
}

fn append_guarded(
    store: &dyn Store,
    events: &[Event],
    guard: impl Fn(&Event, u64) -> Guard,
) -> Result<Sample> {
    let mut durations = Vec::with_capacity(events.len());
    let mut after = store.last()?;
    for event in events {
        let guard = guard(event, after);
        let began = Instant::now();
        after = store.append_guarded(event, &guard)?;
        durations.push(began.elapsed());
    }
    let value = rate(events.len() as u64, durations.iter().sum());
    Ok(Sample { value, latency: Some(Latency::of(durations)) })
}

fn expect_count(which: Which, what: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::from(format!("{which} found {found} events in {what}, not {expected}")))
}
