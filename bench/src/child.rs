//! Processes that load a store and are killed: what they had acknowledged must be there, and how
//! long it takes to open what they left is measured.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::heap;
use crate::machine::settle;
use crate::options::Options;
use crate::store::{Error, Result, Segments, Which};
use crate::workload::{Feed, Workload};

/// Acknowledgements to wait for before the kill.
const ACK_COUNT: usize = 200;
/// Events loaded at a time: few, so that they do not show in the heap.
const SLAB_COUNT: u64 = 10_000;
/// Where the indexes of events begin that are appended until the kill.
const UNTIL_KILLED: u64 = 1 << 40;

/// What a child is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) which: Which,
    pub(crate) dir: &'a Path,
    /// How many events the job has in all; it decides how many streams there are.
    pub(crate) event_count: u64,
    /// The events that are in the store.
    pub(crate) from: u64,
    /// The events to load.
    pub(crate) load: u64,
    pub(crate) segments: Segments,
}

/// What a child reports once it has loaded its events and is at rest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    /// Bytes of heap at rest.
    pub(crate) heap: f64,
    /// The most bytes of heap while it loaded.
    pub(crate) heap_peak: f64,
    /// Bytes on disk, without the zeros at the files' ends.
    pub(crate) size: f64,
}

/// The child's side: opens the store, loads, reports, and appends one event after the other until
/// it is killed.
pub(crate) fn run(options: &Options) -> Result<()> {
    heap::switch_on();
    let (from, load) = options.child;
    let which = *options.stores.first().ok_or("a child needs a store")?;
    let dir = options.dir.as_deref().ok_or("a child needs a directory")?;
    let workload = Arc::new(Workload::new(options.event_count));
    let mut feed = Feed::after(&workload, from);
    let before = heap::live();
    heap::reset_peak();
    let store = which.open(dir, options.segments())?;
    let mut left = load;
    while left > 0 {
        let events = feed.take(left.min(SLAB_COUNT), 1_000);
        for batch in events.chunks(1_000) {
            store.append(batch)?;
        }
        left -= events.len() as u64;
    }
    let peak = heap::peak().saturating_sub(before);
    settle();
    let live = heap::live().saturating_sub(before);
    let mut out = std::io::stdout().lock();
    writeln!(out, "loaded {live} {peak} {}", crate::machine::used_size(dir)?)?;
    let mut index = UNTIL_KILLED + from;
    loop {
        let event = Feed::single(&workload, index, format!("crash-{index}"));
        let position = store.append(&[event])?;
        // Written at once: what the parent reads was acknowledged before the kill.
        writeln!(out, "{position}")?;
        out.flush()?;
        index += 1;
    }
}

/// Has a child load a store, and kills it under load. Answers what it reported, and the last
/// position that it saw acknowledged.
pub(crate) fn load_and_kill(task: Task<'_>) -> Result<(Loaded, u64)> {
    let mut child = start(task)?;
    let pipe = child.stdout.take().ok_or("the child's output is piped")?;
    let mut lines = BufReader::new(pipe);
    let outcome = read_until_loaded(&mut lines).and_then(|loaded| {
        for _ in 0..ACK_COUNT {
            line(&mut lines)?.ok_or("the child ended by itself")?;
        }
        Ok(loaded)
    });
    child.kill()?;
    let mut last = 0;
    // The last line may be cut; the one before it was acknowledged.
    while let Some(text) = line(&mut lines)? {
        last = text.parse().map_or(last, |position: u64| position.max(last));
    }
    child.wait()?;
    Ok((outcome?, last))
}

/// Opens what a killed child left and reads an event: how long that took.
pub(crate) fn time_open(task: Task<'_>, acknowledged: u64) -> Result<Duration> {
    let began = Instant::now();
    let store = task.which.open(task.dir, task.segments)?;
    let tally = store.read_stream(&Workload::stream_name(1))?;
    let last = store.last()?;
    let duration = began.elapsed();
    if last < acknowledged || tally.count == 0 {
        let reason = format!("{} lost events: {last} of {acknowledged}", task.which);
        return Err(Error::from(reason));
    }
    Ok(duration)
}

fn start(task: Task<'_>) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child");
    if task.segments == Segments::Small {
        command.arg("--quick");
    }
    command.args(["--stores", task.which.name(), "--dir"]).arg(task.dir);
    command.args(["--events", &task.event_count.to_string()]);
    command.args(["--from", &task.from.to_string(), "--load", &task.load.to_string()]);
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

fn read_until_loaded(lines: &mut BufReader<ChildStdout>) -> Result<Loaded> {
    let text = line(lines)?.ok_or("the child could not load its events")?;
    let numbers: Vec<f64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    match *numbers.as_slice() {
        [heap, heap_peak, size] => Ok(Loaded { heap, heap_peak, size }),
        _ => Err(Error::from(format!("the child said \"{text}\""))),
    }
}

/// The next whole line.
fn line(lines: &mut BufReader<ChildStdout>) -> Result<Option<String>> {
    let mut text = String::new();
    lines.read_line(&mut text)?;
    Ok(text.strip_suffix('\n').map(str::to_owned))
}
