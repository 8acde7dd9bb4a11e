//! Comparing the index with the log.

use std::ops::ControlFlow;
use std::ops::Range;
use std::sync::Arc;

use super::{ATTEMPT_COUNT_MAX, Findings, VerifyError, verify_manifests};
use crate::format::manifest::Manifest;
use crate::format::record::Record;
use crate::index::{IdKey, IndexError, Key, Origin, Run, RunHeader};
use crate::io::Io;
use crate::layout::Layout;

/// How many events are compared at once.
const SLICE_COUNT: u32 = 131_072;

/// Opens and verifies the runs that the manifest names. A process that writes may merge runs
/// meanwhile; then its newer manifest counts, and is answered.
pub(super) fn open(
    io: &Arc<dyn Io>,
    layout: &Layout,
    mut manifest: Manifest,
    findings: &mut Findings<'_>,
) -> Result<(Manifest, IndexCheck), VerifyError> {
    let mut attempt = 0;
    let runs = loop {
        let runs = open_runs(io, layout, &manifest);
        attempt += 1;
        if runs.iter().all(Result::is_ok) || attempt == ATTEMPT_COUNT_MAX {
            break runs;
        }
        let mut quiet = |_| {};
        let mut still = |_| ControlFlow::Continue(());
        let mut unheard = Findings {
            damage: &mut quiet,
            progress: &mut still,
            is_cancelled: false,
            damage_count: 0,
            done: 0,
            total: 0,
        };
        match verify_manifests(io, layout, &mut unheard)? {
            Some(newer) if newer.generation > manifest.generation => manifest = newer,
            _ => break runs,
        }
    };
    let mut check = IndexCheck { runs: Vec::new(), current: 0, slice: Slice::default() };
    for (name, run) in manifest.runs.iter().zip(runs) {
        let run = run.and_then(|run| run.verify().map(|()| run));
        let run = match run {
            Ok(run) => Some(run),
            Err(error) => {
                findings.report_error(error.into());
                None
            }
        };
        check.runs.push(RunCheck::new(name.first..name.last + 1, run));
    }
    Ok((manifest, check))
}

fn open_runs(
    io: &Arc<dyn Io>,
    layout: &Layout,
    manifest: &Manifest,
) -> Vec<Result<Run, IndexError>> {
    let origin = Origin { log: manifest.log, seed: manifest.hash_seed };
    let open = |name| Run::open(&**io, &layout.index(), RunHeader { origin, name });
    manifest.runs.iter().map(|name| open(*name)).collect()
}

/// Holds each event of the log, in order, against the runs.
pub(super) struct IndexCheck {
    runs: Vec<RunCheck>,
    /// The run that holds the next event.
    current: usize,
    slice: Slice,
}

/// One run and what the log said of it so far.
struct RunCheck {
    positions: Range<u64>,
    /// `None` where the run is damaged: that was reported.
    run: Option<Run>,
    /// Whether the log had every event so far, so that what is left over in the run is too much.
    is_complete: bool,
    /// The position of the next event.
    next: u64,
    posting_count: u64,
    stream_count: u64,
}

/// Consecutive events of one run.
#[derive(Default)]
struct Slice {
    locals: Range<u32>,
    postings: Vec<(Key, u32)>,
    ids: Vec<(IdKey, u32)>,
    names: Vec<String>,
}

impl RunCheck {
    fn new(positions: Range<u64>, run: Option<Run>) -> Self {
        let next = positions.start;
        Self { positions, run, is_complete: true, next, posting_count: 0, stream_count: 0 }
    }
}

impl IndexCheck {
    /// How many runs there are.
    pub(super) fn run_count(&self) -> u64 {
        self.runs.len() as u64
    }

    /// Takes the next event of the log, and what it is indexed under.
    pub(super) fn add(
        &mut self,
        record: &Record<'_>,
        keys: &[Key],
        id: IdKey,
        findings: &mut Findings<'_>,
    ) {
        let position = record.position();
        while let Some(check) = self.runs.get(self.current)
            && check.positions.end <= position
        {
            self.finish_run(findings);
        }
        let Some(check) = self.runs.get_mut(self.current) else { return };
        if position != check.next {
            check.is_complete = false;
            self.compare(findings);
        }
        let Some(check) = self.runs.get_mut(self.current) else { return };
        let local = u32::try_from(position - check.positions.start)
            .expect("the footer of a run refuses more events than that");
        check.next = position + 1;
        let slice = &mut self.slice;
        if slice.ids.is_empty() {
            slice.locals = local..local;
        }
        slice.locals.end = local + 1;
        slice.postings.extend(keys.iter().map(|key| (*key, local)));
        slice.ids.push((id, local));
        if record.revision() == 0 {
            check.stream_count += 1;
            if !record.is_stub() {
                slice.names.push(record.stream().to_owned());
            }
        }
        if slice.locals.len() as u64 >= u64::from(SLICE_COUNT) {
            self.compare(findings);
        }
    }

    /// Ends the comparison at the end of the log.
    pub(super) fn finish(&mut self, findings: &mut Findings<'_>) {
        while self.current < self.runs.len() {
            self.finish_run(findings);
        }
    }

    fn finish_run(&mut self, findings: &mut Findings<'_>) {
        self.compare(findings);
        let Some(check) = self.runs.get_mut(self.current) else { return };
        self.current += 1;
        let Some(run) = check.run.take() else { return };
        if check.next < check.positions.end {
            check.is_complete = false;
        }
        if !check.is_complete {
            // What the log lost was reported there.
            return;
        }
        match run.posting_count() {
            Ok(count) if count == check.posting_count => {}
            Ok(_) => findings.report(run.path(), 0, "the run has positions that no event has"),
            Err(error) => findings.report_error(error.into()),
        }
        if run.name_count() != check.stream_count {
            let reason = "the run has another number of stream names than streams begin in it";
            findings.report(run.path(), 0, reason);
        }
    }

    /// Compares what was gathered with the run.
    fn compare(&mut self, findings: &mut Findings<'_>) {
        let mut slice = std::mem::take(&mut self.slice);
        let Some(check) = self.runs.get_mut(self.current) else { return };
        slice.postings.sort_unstable();
        slice.postings.dedup();
        check.posting_count += slice.postings.len() as u64;
        let Some(run) = &check.run else { return };
        let first = check.positions.start;
        match find_difference(run, &mut slice, first) {
            Ok(None) => return,
            Ok(Some(reason)) => findings.report(run.path(), 0, reason),
            Err(error) => findings.report_error(error.into()),
        }
        // One report is enough for a run that has to be built again anyway.
        check.run = None;
    }
}

/// The first thing that a run says otherwise than the log.
fn find_difference(run: &Run, slice: &mut Slice, first: u64) -> Result<Option<String>, IndexError> {
    for own in slice.postings.chunk_by(|one, other| one.0 == other.0) {
        let Some((key, _)) = own.first() else { continue };
        let found = run.locals_of(*key, slice.locals.clone())?;
        if let Some((_, local)) = own.iter().find(|(_, local)| found.binary_search(local).is_err())
        {
            let position = first + u64::from(*local);
            return Ok(Some(format!("position {position} is not under one of its keys")));
        }
        if found.len() != own.len() {
            let reason = "a key has a position whose event does not have the key";
            return Ok(Some(reason.to_owned()));
        }
    }
    slice.ids.sort_unstable();
    for (id, local) in &slice.ids {
        if !run.has_id(*id, *local)? {
            let position = first + u64::from(*local);
            return Ok(Some(format!("position {position} is not found by its event's id")));
        }
    }
    for name in &slice.names {
        if !run.has_name(name)? {
            return Ok(Some(format!("stream \"{name}\" begins in the run and is not listed")));
        }
    }
    Ok(None)
}
