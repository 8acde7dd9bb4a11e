//! Merging: one run in place of several that follow each other.
//!
//! The runs' positions do not overlap and rise from run to run, so a merged list is one list after
//! the other. A merged run has the very bytes that a run written from its events would have.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use quipu_core::StreamName;

use super::error::Result;
use super::key::{IdKey, Key};
use super::run::{Run, RunKeys, RunList, RunNames};
use super::write::RunWriter;
use crate::format::run::postings::skip_count;
use crate::format::run::{EVENT_COUNT_MAX, Header, RunName};
use crate::io::Io;

/// How many runs are merged at once.
const FAN_IN: usize = 8;
/// An id takes less time than to ask whether to go on: one in so many asks.
const ASK_EVERY: u32 = 64;

/// Which runs to merge next, if there is anything to merge: eight neighbours of one level, of the
/// lowest level that has so many.
pub(crate) fn plan_merge(runs: &[Arc<Run>]) -> Option<Range<usize>> {
    let names: Vec<RunName> = runs.iter().map(|run| run.name()).collect();
    plan(&names)
}

fn plan(names: &[RunName]) -> Option<Range<usize>> {
    let mergeable = |begin: &usize| {
        let window = &names[*begin..*begin + FAN_IN];
        let event_count: u64 = window.iter().map(|name| name.event_count()).sum();
        window.iter().all(|name| name.level == window[0].level) && event_count <= EVENT_COUNT_MAX
    };
    (0..(names.len() + 1).saturating_sub(FAN_IN))
        .filter(mergeable)
        .min_by_key(|begin| (names[*begin].level, *begin))
        .map(|begin| begin..begin + FAN_IN)
}

/// Which run those become.
pub(super) fn name_of(runs: &[Arc<Run>]) -> Option<RunName> {
    let level = runs.iter().map(|run| run.name().level).max()?.saturating_add(1);
    Some(RunName { level, first: runs.first()?.name().first, last: runs.last()?.name().last })
}

/// Writes neighbouring runs as one run. It stops, and answers `false`, when `keep_going` says so,
/// which is asked all the time.
pub(super) fn write_merged(
    io: &dyn Io,
    dir: &Path,
    header: Header,
    runs: &[Arc<Run>],
    keep_going: &mut dyn FnMut() -> bool,
    make_way: &dyn Fn(),
) -> Result<bool> {
    let mut writer = RunWriter::create(io, dir, header, make_way)?;
    match write_sections(&mut writer, header.name.first, runs, keep_going) {
        Ok(true) => writer.finish().map(|()| true),
        stopped => {
            writer.abandon();
            stopped
        }
    }
}

fn write_sections(
    writer: &mut RunWriter<'_>,
    first: u64,
    runs: &[Arc<Run>],
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    Ok(merge_keys(writer, first, runs, keep_going)?
        && merge_ids(writer, first, runs, keep_going)?
        && merge_names(writer, runs, keep_going)?)
}

/// A run on its way through its keys.
struct KeyHead<'a> {
    run: &'a Run,
    /// What a local position of the run is more in the merged run.
    shift: u32,
    keys: RunKeys<'a>,
    head: Option<(Key, RunList)>,
}

impl KeyHead<'_> {
    fn list_of(&self, key: Key) -> Option<RunList> {
        self.head.filter(|(head, _)| *head == key).map(|(_, list)| list)
    }
}

fn merge_keys(
    writer: &mut RunWriter<'_>,
    first: u64,
    runs: &[Arc<Run>],
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    let mut heads = Vec::new();
    for run in runs {
        let mut keys = RunKeys::new(run);
        let head = keys.next()?;
        heads.push(KeyHead { run, shift: shift(run, first), keys, head });
    }
    let mut locals = Vec::new();
    while let Some(key) = heads.iter().filter_map(|head| Some(head.head?.0)).min() {
        if !keep_going() {
            return Ok(false);
        }
        let (mut count, mut last) = (0, 0);
        for head in &heads {
            if let Some(list) = head.list_of(key) {
                count += list.count;
                last = list.last + head.shift;
            }
        }
        let mut merged = writer.begin_key(key, count, last);
        for head in &mut heads {
            let Some(list) = head.list_of(key) else {
                continue;
            };
            for group in 0..=skip_count(list.count) {
                locals.clear();
                head.run.read_group(list, group, &mut locals)?;
                for local in &locals {
                    writer.posting(&mut merged, local + head.shift)?;
                }
            }
            head.head = head.keys.next()?;
        }
        writer.end_key(merged)?;
    }
    writer.end_keys()?;
    Ok(true)
}

fn merge_ids(
    writer: &mut RunWriter<'_>,
    first: u64,
    runs: &[Arc<Run>],
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    struct Head<'a> {
        run: &'a Run,
        shift: u32,
        next: u64,
        entry: Option<(IdKey, u32)>,
    }
    impl Head<'_> {
        fn advance(&mut self) -> Result<()> {
            let before = self.entry.take();
            if self.next < self.run.name().event_count() {
                let (id, local) = self.run.id(self.next)?;
                self.entry = Some((id, local + self.shift));
                self.next += 1;
                if before >= self.entry {
                    return Err(self.run.corrupt_ids("the ids do not rise"));
                }
            }
            Ok(())
        }
    }

    let mut heads = Vec::new();
    for run in runs {
        let mut head = Head { run, shift: shift(run, first), next: 0, entry: None };
        head.advance()?;
        heads.push(head);
    }
    while let Some(head) =
        heads.iter_mut().filter(|head| head.entry.is_some()).min_by_key(|head| head.entry)
        && let Some((id, local)) = head.entry
    {
        if local.is_multiple_of(ASK_EVERY) && !keep_going() {
            return Ok(false);
        }
        writer.id(id, local)?;
        head.advance()?;
    }
    writer.end_ids()?;
    Ok(true)
}

fn merge_names(
    writer: &mut RunWriter<'_>,
    runs: &[Arc<Run>],
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    let mut sources = Vec::new();
    for run in runs {
        sources.push(RunNames::from(run, "")?);
    }
    while let Some(name) = next_name(&mut sources)? {
        if !keep_going() {
            return Ok(false);
        }
        writer.name(name)?;
    }
    Ok(true)
}

/// The least of the next names, taken from all that have it.
pub(super) fn next_name(sources: &mut [RunNames<'_>]) -> Result<Option<StreamName>> {
    let mut least: Option<usize> = None;
    for index in 0..sources.len() {
        let (before, rest) = sources.split_at_mut(index);
        let Some(name) = rest[0].peek()? else {
            continue;
        };
        let so_far = match least {
            Some(least) => before[least].peek()?,
            None => None,
        };
        if so_far.is_none_or(|so_far| name < so_far) {
            least = Some(index);
        }
    }
    let Some(least) = least else {
        return Ok(None);
    };
    let name = sources[least].next()?;
    for source in sources {
        if source.peek()? == name.as_ref().map(StreamName::as_str) {
            source.next()?;
        }
    }
    Ok(name)
}

fn shift(run: &Run, first: u64) -> u32 {
    u32::try_from(run.name().first - first)
        .expect("a merged run has at most EVENT_COUNT_MAX events")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(levels: &[u32]) -> Vec<RunName> {
        let mut first = 1;
        let mut names = Vec::new();
        for level in levels {
            let last = first + 10 * 8_u64.pow(*level) - 1;
            names.push(RunName { level: *level, first, last });
            first = last + 1;
        }
        names
    }

    #[test]
    fn eight_neighbours_of_one_level_are_merged_the_lowest_level_first() {
        assert_eq!(plan(&names(&[0; 7])), None);
        assert_eq!(plan(&names(&[0; 8])), Some(0..8));
        assert_eq!(plan(&names(&[0; 20])), Some(0..8));
        assert_eq!(plan(&names(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Some(2..10));
        assert_eq!(plan(&names(&[1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0])), Some(0..8));
        assert_eq!(plan(&names(&[2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0])), None);
    }

    #[test]
    fn a_run_does_not_grow_beyond_its_limit() {
        let large = |index: u64| RunName {
            level: 3,
            first: 1 + index * EVENT_COUNT_MAX,
            last: (index + 1) * EVENT_COUNT_MAX,
        };

        assert_eq!(plan(&(0..20).map(large).collect::<Vec<_>>()), None);
    }
}
