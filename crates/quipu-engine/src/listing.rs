//! Questions about streams and terms: lists, ordinals, what is known of one stream.

use std::sync::Arc;

use quipu_core::{
    Direction, IndexEntry, IndexRead, ListStreams, Position, ReadIndex, Retention, Revision,
    StreamInfo, StreamName, StreamState, Term,
};

use crate::error::DiskError;
use crate::format::record::Record;
use crate::index::Key;
use crate::log::Log;
use crate::lookup;
use crate::reader::{Gather, StreamRange, retention_of};

/// The most entries and names in one answer.
const ANSWER_COUNT_MAX: usize = 65_536;

impl Log {
    /// The entries of a term, by ordinal.
    pub(crate) fn read_index(&self, read: &ReadIndex) -> Result<IndexRead, DiskError> {
        let upto = self.frontier();
        let reader = self.index_reader(upto);
        let key = self.key_of(&read.term);
        let count = reader.count(key)?;
        let mut answer = IndexRead { frontier: Position::new(upto), count, ..IndexRead::default() };
        let first = match (read.from, read.direction) {
            (Some(from), Direction::Forward) => from,
            (None, Direction::Forward) => 0,
            (from, Direction::Backward) => from.unwrap_or(u64::MAX).min(count.saturating_sub(1)),
        };
        let Some(place) = reader.nth(key, first)? else { return Ok(answer) };
        let mut cursor = reader.cursor(key, place, read.direction);
        let limit = read.limit.min(ANSWER_COUNT_MAX as u64);
        let mut gather = Gather::default();
        let mut ordinal = first;
        while (answer.entries.len() as u64) < limit {
            let Some(position) = cursor.next()? else { break };
            let event = self.with_record(position, |record| {
                has_term(&record, &read.term).then(|| {
                    gather.push(&record);
                    gather.count() - 1
                })
            })?;
            answer.entries.push(IndexEntry { ordinal, position: Position::new(position), event });
            ordinal = match read.direction {
                Direction::Forward => ordinal + 1,
                Direction::Backward => ordinal.wrapping_sub(1),
            };
        }
        answer.events = gather.into_batch();
        Ok(answer)
    }

    fn key_of(&self, term: &Term) -> Key {
        match term {
            Term::Category(name) => self.hasher.category(name),
            Term::Type(name) => self.hasher.event_type(name.as_str()),
            Term::StreamNames => self.hasher.stream_names(),
        }
    }

    /// The names of streams, in the order of their bytes.
    pub(crate) fn list_streams(&self, list: &ListStreams) -> Result<Vec<StreamName>, DiskError> {
        let reader = self.index_reader(self.frontier());
        let limit = list.limit.min(ANSWER_COUNT_MAX);
        // A category is the name itself, or what stands before its first hyphen.
        let prefix = match &list.category {
            Some(category) if category.starts_with(&list.prefix) => category.as_str(),
            _ => list.prefix.as_str(),
        };
        let mut names = Vec::new();
        let mut after = list.after.as_ref().map(|name| name.as_str().to_owned());
        loop {
            let page = self.names_page(&reader, prefix, after.as_deref(), limit)?;
            let is_last = page.len() < limit;
            after = page.last().map(|name| name.as_str().to_owned());
            names.extend(page.into_iter().filter(|name| {
                name.as_str().starts_with(&list.prefix)
                    && list.category.as_ref().is_none_or(|own| own == name.category())
            }));
            if is_last || names.len() >= limit {
                names.truncate(limit);
                return Ok(names);
            }
        }
    }

    /// Names with a prefix, in order, without gaps: what the runs have and what is in memory.
    fn names_page(
        &self,
        reader: &crate::index::Reader,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamName>, DiskError> {
        let key = self.hasher.stream_names();
        let mut cursor = reader.cursor(key, reader.tails_first(), Direction::Forward);
        let mut names = Vec::new();
        while let Some(position) = cursor.next()? {
            let Some(name) = lookup::name_at(self, reader, position)? else { continue };
            if name.as_str().starts_with(prefix) && after.is_none_or(|own| name.as_str() > own) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(reader.names(prefix, after, limit, &names)?)
    }

    /// What is known of a stream.
    pub(crate) fn stream_info(
        self: &Arc<Self>,
        stream: StreamName,
    ) -> Result<StreamInfo, DiskError> {
        let reader = self.index_reader(self.frontier());
        let facts = lookup::facts(&**self, &reader, self.hasher, &stream)?;
        let metadata = lookup::metadata(&**self, &reader, self.hasher, &stream)?;
        let state = facts.state();
        let (metadata, metadata_revision) = metadata.unzip();
        let mut info = StreamInfo {
            stream: stream.clone(),
            state,
            first: None,
            metadata: metadata.unwrap_or_default(),
            metadata_revision,
            count: 0,
            size: 0,
        };
        let StreamState::Live { last } = state else { return Ok(info) };
        let retention = retention_of(&stream, &facts, last, self.io.now());
        self.measure(&reader, stream, retention, last, &mut info)?;
        Ok(info)
    }

    fn measure(
        self: &Arc<Self>,
        reader: &crate::index::Reader,
        stream: StreamName,
        retention: Retention,
        last: Revision,
        info: &mut StreamInfo,
    ) -> Result<(), DiskError> {
        let direction = Direction::Forward;
        let range = StreamRange { stream, retention, from: None, direction, limit: None, last };
        let mut picked = self.pick_stream(reader, range)?;
        loop {
            let gathered = picked.gather()?;
            for event in gathered.batch.iter() {
                info.first = info.first.or(Some(event.revision()));
                info.count += 1;
                info.size += (event.data_bytes().len() + event.metadata_bytes().len()) as u64;
            }
            if gathered.is_done {
                return Ok(());
            }
        }
    }
}

/// Whether a record has a term: what shares only the hash, and what was scavenged, has not.
fn has_term(record: &Record<'_>, term: &Term) -> bool {
    if record.is_stub() {
        return false;
    }
    match term {
        Term::Category(name) => quipu_core::category(record.stream()) == name,
        Term::Type(name) => *name == record.event_type(),
        Term::StreamNames => record.revision() == 0,
    }
}
