//! The layout of postings: the local positions of one key, rising.
//!
//! | part | contents |
//! |---|---|
//! | count | how many there are, at least 1 (varint) |
//! | last | the last one (varint) |
//! | deltas | group after group, see below |
//! | skips | per group but the first: its first position (`u32`), and where its bytes begin in the deltas (`u32`) |
//!
//! Positions come in groups of 128. A group's bytes are a varint for each of its positions: the
//! difference to the position before, less one. The first position of the first group is written
//! as it is; the first of another group is in its skip and has no bytes here. The last position of
//! all has none either.
//!
//! The skips come last, so that a list of any length is written without holding it in memory. There
//! are `(count - 1) / 128` of them, and the list ends where its block says.

use super::{Damage, put_varint, take_varint, u32_at};

/// Positions in a group.
pub(crate) const GROUP_COUNT: u32 = 128;
/// Bytes of a skip.
pub(crate) const SKIP_SIZE: u64 = 8;

/// How many skips a list of that many positions has.
pub(crate) const fn skip_count(count: u32) -> u32 {
    count.saturating_sub(1) / GROUP_COUNT
}

/// Turns rising positions into a list's bytes, in one pass.
#[derive(Debug)]
pub(crate) struct Encoder {
    count: u32,
    last: u32,
    pushed: u32,
    previous: u32,
    deltas_size: u32,
    skips: Vec<u8>,
}

impl Encoder {
    /// An encoder of `count` positions up to `last`. The list's first bytes go to `bytes`.
    pub(crate) fn begin(count: u32, last: u32, bytes: &mut Vec<u8>) -> Self {
        assert!(count > 0, "a key without positions is not in a run");
        put_varint(bytes, count);
        put_varint(bytes, last);
        Self { count, last, pushed: 0, previous: 0, deltas_size: 0, skips: Vec::new() }
    }

    /// Appends the bytes of the next position.
    pub(crate) fn push(&mut self, local: u32, bytes: &mut Vec<u8>) {
        assert!(self.pushed == 0 || local > self.previous, "positions rise");
        assert!(self.pushed < self.count, "the count was given");
        let is_last = self.pushed + 1 == self.count;
        let size_before = bytes.len();
        if self.pushed > 0 && self.pushed.is_multiple_of(GROUP_COUNT) {
            self.skips.extend_from_slice(&local.to_le_bytes());
            self.skips.extend_from_slice(&self.deltas_size.to_le_bytes());
        } else if !is_last {
            let delta = if self.pushed == 0 { local } else { local - self.previous - 1 };
            put_varint(bytes, delta);
        }
        self.deltas_size += (bytes.len() - size_before) as u32;
        self.previous = local;
        self.pushed += 1;
    }

    /// Appends the list's last bytes.
    pub(crate) fn end(self, bytes: &mut Vec<u8>) {
        assert!(self.pushed == self.count && self.previous == self.last, "all came as announced");
        bytes.extend_from_slice(&self.skips);
    }
}

/// Where a group of more than one begins, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    /// The group's first position.
    pub(crate) first: u32,
    /// Where its bytes begin in the deltas.
    pub(crate) offset: u32,
}

impl Skip {
    /// The skip of these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let (Some(first), Some(offset)) = (u32_at(bytes, 0), u32_at(bytes, 4)) else {
            return Err("a list is too short for its skips");
        };
        Ok(Self { first, offset })
    }
}

/// How many positions a list has, its last one, and how many bytes it takes to say so.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<(u32, u32, usize), Damage> {
    let mut rest = bytes;
    let (Some(count), Some(last)) = (take_varint(&mut rest), take_varint(&mut rest)) else {
        return Err("a list does not say how many positions it has");
    };
    if count == 0 || count - 1 > last {
        return Err("a list has an impossible count");
    }
    Ok((count, last, bytes.len() - rest.len()))
}

/// What is known of a group before its bytes are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// Its first position; unknown for a list's first group.
    pub(crate) first: Option<u32>,
    /// How many positions it has.
    pub(crate) count: u32,
    /// The list's last position for the last group; the first position of the next group
    /// otherwise, which all of this one's are below.
    pub(crate) end: u32,
    /// Whether it is the last group.
    pub(crate) is_last: bool,
}

impl Group {
    /// Appends the group's positions.
    pub(crate) fn decode(self, mut bytes: &[u8], locals: &mut Vec<u32>) -> Result<(), Damage> {
        const SHORT: Damage = "a list is too short for its positions";
        const ORDER: Damage = "the positions of a list do not rise";
        let begin = locals.len();
        // The last position of all stands in the list's head.
        let coded = self.count - u32::from(self.is_last);
        let mut next = self.first.unwrap_or(0);
        for index in 0..coded {
            if index > 0 || self.first.is_none() {
                let delta = take_varint(&mut bytes).ok_or(SHORT)?;
                next = next.checked_add(delta).ok_or(ORDER)?;
            }
            if next >= self.end {
                return Err(ORDER);
            }
            locals.push(next);
            next += 1;
        }
        if self.is_last {
            let alone = locals.len() == begin;
            if alone && self.first.is_some_and(|first| first != self.end) {
                return Err(ORDER);
            }
            locals.push(self.end);
        }
        if bytes.is_empty() { Ok(()) } else { Err("a list is longer than its positions") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(locals: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let last = *locals.last().unwrap();
        let mut encoder = Encoder::begin(locals.len() as u32, last, &mut bytes);
        for local in locals {
            encoder.push(*local, &mut bytes);
        }
        encoder.end(&mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u32>, Damage> {
        let (count, last, head_size) = decode_head(bytes)?;
        let skips = skip_count(count) as usize;
        let skips_begin = bytes
            .len()
            .checked_sub(skips * SKIP_SIZE as usize)
            .filter(|begin| *begin >= head_size)
            .ok_or("short")?;
        let deltas = &bytes[head_size..skips_begin];
        let skip = |group: usize| Skip::decode(&bytes[skips_begin + (group - 1) * 8..]);
        let mut locals = Vec::new();
        for group in 0..=skips {
            let (first, from) = match group {
                0 => (None, 0),
                _ => (Some(skip(group)?.first), skip(group)?.offset as usize),
            };
            let is_last = group == skips;
            let (end, upto) = if is_last {
                (last, deltas.len())
            } else {
                (skip(group + 1)?.first, skip(group + 1)?.offset as usize)
            };
            let count = (count - group as u32 * GROUP_COUNT).min(GROUP_COUNT);
            let bytes = deltas.get(from..upto).ok_or("skips")?;
            Group { first, count, end, is_last }.decode(bytes, &mut locals)?;
        }
        Ok(locals)
    }

    #[test]
    fn positions_come_back_whatever_their_count() {
        for count in [1, 2, 3, 127, 128, 129, 130, 255, 256, 257, 1_000] {
            for step in [1, 2, 300] {
                for first in [0, 1, 70_000] {
                    let locals: Vec<u32> = (0..count).map(|i| first + i * step).collect();
                    assert_eq!(decode(&encode(&locals)), Ok(locals));
                }
            }
        }
    }

    #[test]
    fn few_positions_take_few_bytes() {
        assert_eq!(encode(&[5]), [1, 5]);
        assert_eq!(encode(&[5, 6]), [2, 6, 5]);
        assert_eq!(encode(&[5, 6, 200]), [3, 200, 1, 5, 0]);
    }

    #[test]
    fn bytes_of_chance_are_refused_or_rise() {
        let mut state = 1_u64;
        for round in 0..20_000_usize {
            let bytes: Vec<u8> = (0..round % 24)
                .map(|_| {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
                    (state >> 59) as u8
                })
                .collect();
            if let Ok(locals) = decode(&bytes) {
                assert!(locals.is_sorted_by(|one, other| one < other), "{bytes:?}");
            }
        }
    }
}
