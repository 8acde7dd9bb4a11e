//! Sealing: writing a tail as a run.

use std::path::Path;

use quipu_core::StreamName;

use super::error::IndexError;
use super::key::Key;
use super::source::to_count;
use super::tail::Tail;
use super::write::RunWriter;
use crate::format::run::{Header, RunName};
use crate::io::{Io, SeededBug};

/// Which run a tail becomes.
pub(super) fn name_of(tail: &Tail) -> RunName {
    let last = tail.first() + u64::from(tail.event_count()) - 1;
    RunName { level: 0, first: tail.first(), last }
}

/// Writes a tail as a run. `name_at` says which stream begins at a position that has the key
/// `stream_names`.
pub(super) fn write_tail<E: From<IndexError>>(
    io: &dyn Io,
    dir: &Path,
    header: Header,
    tail: &Tail,
    stream_names: Key,
    mut name_at: impl FnMut(u64) -> Result<Option<StreamName>, E>,
    make_way: &dyn Fn(),
) -> Result<(), E> {
    let mut names = Vec::new();
    for local in tail.postings(stream_names) {
        if let Some(name) = name_at(tail.first() + u64::from(*local))? {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.dedup();

    let mut writer = RunWriter::create(io, dir, header, make_way)?;
    // Tests prove that they would notice an index without the last event.
    let missing = u32::from(io.has_bug(SeededBug::IndexMissesLastEvents));
    let end = tail.event_count() - missing;
    match write_sections(&mut writer, tail, end, names, make_way) {
        Ok(()) => Ok(writer.finish()?),
        Err(error) => {
            writer.abandon();
            Err(error.into())
        }
    }
}

fn write_sections(
    writer: &mut RunWriter<'_>,
    tail: &Tail,
    end: u32,
    names: Vec<StreamName>,
    make_way: &dyn Fn(),
) -> Result<(), IndexError> {
    for (key, locals) in tail.sorted_keys(make_way) {
        let locals = &locals[..locals.partition_point(|local| *local < end)];
        let Some(last) = locals.last() else {
            continue;
        };
        let mut list = writer.begin_key(key, to_count(locals.len()), *last);
        for local in locals {
            writer.posting(&mut list, *local)?;
        }
        writer.end_key(list)?;
    }
    writer.end_keys()?;
    for (id, local) in tail.sorted_ids(make_way) {
        writer.id(id, local)?;
    }
    writer.end_ids()?;
    for name in names {
        writer.name(name)?;
    }
    Ok(())
}
