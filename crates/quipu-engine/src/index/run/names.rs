//! The names of a run, in order from anywhere.

use quipu_core::StreamName;

use super::Run;
use crate::format::run::names::{decode_block, decode_first};
use crate::format::run::{BLOCK_NAME_COUNT, Damage, NAME_INDEX_SIZE, Section};
use crate::index::error::{IndexError, Result};

impl Run {
    fn name_block(&self, block: u64) -> Result<&[u8]> {
        let names = self.footer.section(Section::Names);
        let index = self.footer.section(Section::NameIndex).start;
        let begin_of = |block: u64| {
            Ok(names.start.saturating_add(self.u64_at(index + block * NAME_INDEX_SIZE)?))
        };
        let begin = begin_of(block)?;
        let is_last = (block + 1) * BLOCK_NAME_COUNT >= self.footer.name_count;
        let end = if is_last { names.end } else { begin_of(block + 1)? };
        if begin > end || end > names.end {
            let entry = index + block * NAME_INDEX_SIZE;
            return Err(self.corrupt(entry, "a block of names is not where it could be"));
        }
        self.at(begin, end - begin)
    }

    pub(in crate::index) fn damaged_name(&self, reason: Damage) -> IndexError {
        self.corrupt(self.footer.section(Section::Names).start, reason)
    }
}

/// Names of a run in the order of their bytes.
#[derive(Debug)]
pub(in crate::index) struct RunNames<'a> {
    run: &'a Run,
    /// The names of the present block that are still to come, last first.
    names: Vec<StreamName>,
    next_block: u64,
    /// The last name of the block before.
    before: Option<StreamName>,
}

impl<'a> RunNames<'a> {
    /// The names that are not below `from`.
    pub(in crate::index) fn from(run: &'a Run, from: &str) -> Result<Self> {
        let block_count = run.footer.name_count.div_ceil(BLOCK_NAME_COUNT);
        let (mut low, mut high) = (0, block_count);
        while low < high {
            let middle = u64::midpoint(low, high);
            let first =
                decode_first(run.name_block(middle)?).map_err(|reason| run.damaged_name(reason))?;
            if first.as_str() <= from { low = middle + 1 } else { high = middle }
        }
        let mut names =
            Self { run, names: Vec::new(), next_block: low.saturating_sub(1), before: None };
        while let Some(name) = names.peek()?
            && name < from
        {
            names.names.pop();
        }
        Ok(names)
    }

    /// The next name, left where it is.
    pub(in crate::index) fn peek(&mut self) -> Result<Option<&str>> {
        if self.names.is_empty() {
            let before = self.next_block * BLOCK_NAME_COUNT;
            let count = self.run.footer.name_count.saturating_sub(before).min(BLOCK_NAME_COUNT);
            if count > 0 {
                let names = decode_block(self.run.name_block(self.next_block)?, count)
                    .map_err(|reason| self.run.damaged_name(reason))?;
                let first = names.first().map(String::as_str);
                if self.before.as_ref().map(StreamName::as_str) >= first {
                    return Err(self.run.damaged_name("the names do not rise"));
                }
                for name in names.iter().rev() {
                    let name = StreamName::new(name)
                        .map_err(|_| self.run.damaged_name("a name is not a stream's"))?;
                    self.names.push(name);
                }
                self.before = self.names.first().cloned();
                self.next_block += 1;
            }
        }
        Ok(self.names.last().map(StreamName::as_str))
    }

    /// The next name.
    pub(in crate::index) fn next(&mut self) -> Result<Option<StreamName>> {
        self.peek()?;
        Ok(self.names.pop())
    }
}
