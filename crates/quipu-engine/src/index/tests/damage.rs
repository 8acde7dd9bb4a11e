//! Runs whose bytes are not what was written: corrupt, never a panic, never a wrong answer.

use std::path::PathBuf;
use std::sync::Arc;

use quipu_core::{Direction, StreamName};

use super::super::merge::write_merged;
use super::super::{Index, IndexError, Run, RunHeader};
use super::model::{Chance, id, key, origin};
use super::runs::{dir, disk};
use crate::format::run::{FOOTER_SIZE, Footer, HEADER_SIZE, PAGE_SIZE, RunName, Section};
use crate::io::Io;
use crate::io::sim::SimDisk;

const EVENT_COUNT: u64 = 150;

/// A disk with one small run that has every kind of section, and the run's header and bytes.
fn small_run() -> (SimDisk, RunHeader, Vec<u8>) {
    let disk = disk();
    let index = Index::new(origin(), EVENT_COUNT as u32, 1, Vec::new()).unwrap();
    let stream_names = index.hasher().stream_names();
    for position in 1..=EVENT_COUNT + 1 {
        let mut keys = vec![key(0), key(1 + position % 40)];
        if position % 8 == 1 {
            keys.push(stream_names);
        }
        index.add(&keys, id(position / 2));
    }
    let run = index.seal(&disk, &dir(), u64::MAX, |position| {
        Ok::<_, IndexError>(StreamName::new(format!("order-{position}")).ok())
    });
    let run = run.unwrap().unwrap();
    let bytes = disk.contents(run.path()).unwrap();
    (disk, RunHeader { origin: origin(), name: run.name() }, bytes)
}

/// A disk with one file that holds these bytes and is named like the run.
fn disk_with(header: RunHeader, bytes: &[u8]) -> SimDisk {
    let disk = disk();
    disk.create(&path(header)).unwrap().write_at(bytes, 0).unwrap();
    disk
}

fn path(header: RunHeader) -> PathBuf {
    dir().join(header.name.to_string())
}

/// Asks a run for everything there is.
fn ask_everything(run: Arc<Run>) -> Result<Vec<u64>, IndexError> {
    let index = Index::new(origin(), 1_000, 1, vec![run])?;
    let reader = index.reader(EVENT_COUNT);
    let mut answers = Vec::new();
    for number in 0..45 {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut cursor = reader.cursor(key(number), EVENT_COUNT / 2, direction);
            while let Some(position) = cursor.next()? {
                answers.push(position);
            }
        }
        answers.push(reader.count(key(number))?);
        answers.extend(reader.nth(key(number), number)?);
        answers.extend(index.reader(number * 3).last(key(number))?);
    }
    for number in 0..80 {
        let mut ids = reader.find_ids(id(number));
        while let Some(position) = ids.next()? {
            answers.push(position);
        }
    }
    answers.extend(reader.names("", None, 100, &[])?.iter().map(|name| name.as_str().len() as u64));
    answers.extend(
        reader.names("order-9", None, 100, &[])?.iter().map(|name| name.as_str().len() as u64),
    );
    Ok(answers)
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (disk, header, bytes) = small_run();
    let expected = ask_everything(Arc::new(Run::open(&disk, &dir(), header).unwrap())).unwrap();
    let whole = Run::open(&disk, &dir(), header).unwrap();
    assert!(whole.verify().is_ok());

    for bit in 0..bytes.len() as u64 * 8 {
        disk.flip_bit(&path(header), bit / 8, (bit % 8) as u32);
        let verified = Run::open(&disk, &dir(), header).and_then(|run| run.verify());
        assert!(matches!(verified, Err(IndexError::Corrupt { .. })), "bit {bit}: {verified:?}");
        if let Ok(answers) = Run::open(&disk, &dir(), header).map(Arc::new).and_then(ask_everything)
        {
            assert!(answers == expected, "bit {bit} changes an answer");
        }
        disk.flip_bit(&path(header), bit / 8, (bit % 8) as u32);
    }
}

#[test]
fn a_run_that_was_cut_or_grew_is_corrupt() {
    let (_, header, bytes) = small_run();

    for size in 0..bytes.len() {
        let opened = Run::open(&disk_with(header, &bytes[..size]), &dir(), header);
        assert!(matches!(opened, Err(IndexError::Corrupt { .. })), "{size} bytes: {opened:?}");
    }
    for more in [1, 64, FOOTER_SIZE] {
        let longer = [bytes.as_slice(), &vec![0; more]].concat();
        let opened = Run::open(&disk_with(header, &longer), &dir(), header);
        assert!(matches!(opened, Err(IndexError::Corrupt { .. })), "{more} more: {opened:?}");
    }
}

#[test]
fn another_run_under_the_name_of_one_is_corrupt() {
    let (_, header, bytes) = small_run();
    let mut other_log = header;
    other_log.origin.seed += 1;
    let mut other_run = header;
    other_run.name = RunName { level: 1, ..header.name };

    for expected in [other_log, other_run] {
        let opened = Run::open(&disk_with(expected, &bytes), &dir(), expected);
        assert!(matches!(opened, Err(IndexError::Corrupt { offset: 0, .. })), "{opened:?}");
    }
}

#[test]
fn a_run_that_is_missing_is_an_error_of_the_disk() {
    let (_, header, _) = small_run();

    let opened = Run::open(&disk(), &dir(), header);

    assert!(matches!(opened, Err(IndexError::Io { .. })), "{opened:?}");
}

/// Gives damaged bytes checksums that match them, as a writer with a bug would.
fn reseal(bytes: &mut [u8], event_count: u64) {
    let footer_begin = bytes.len() - FOOTER_SIZE;
    let size = bytes.len() as u64;
    let mut footer = Footer::decode(&bytes[footer_begin..], size, event_count).unwrap();
    let checksums = footer.section(Section::Checksums);
    let begin = checksums.start as usize;
    let crcs: Vec<u8> = bytes[..begin]
        .chunks(PAGE_SIZE as usize)
        .flat_map(|page| crc32c::crc32c(page).to_le_bytes())
        .collect();
    bytes[begin..checksums.end as usize].copy_from_slice(&crcs);
    footer.checksums_crc = crc32c::crc32c(&crcs);
    bytes[footer_begin..].copy_from_slice(&footer.encode());
}

/// The checksums keep accidents out; this is what stands behind them.
#[test]
fn bytes_of_chance_with_right_checksums_do_no_harm() {
    let mut chance = Chance::new(31);
    let (_, header, bytes) = small_run();
    let mut refused = 0;

    for _ in 0..3_000 {
        let mut damaged = bytes.clone();
        let checksums = {
            let footer = &bytes[bytes.len() - FOOTER_SIZE..];
            let footer = Footer::decode(footer, bytes.len() as u64, EVENT_COUNT).unwrap();
            footer.section(Section::Checksums).start
        };
        for _ in 0..=chance.below(3) {
            let at = HEADER_SIZE as u64 + chance.below(checksums - HEADER_SIZE as u64);
            damaged[at as usize] = match chance.below(3) {
                0 => 0,
                1 => 0xff,
                _ => chance.next() as u8,
            };
        }
        reseal(&mut damaged, EVENT_COUNT);
        let disk = disk_with(header, &damaged);

        let run = Run::open(&disk, &dir(), header).unwrap();
        let verified = run.verify();
        let run = Arc::new(run);
        let merged = RunHeader { name: RunName { level: 1, ..header.name }, ..header };
        let merged = write_merged(&disk, &dir(), merged, &[Arc::clone(&run)], &mut || true, &|| ());
        let answered = ask_everything(run);

        refused += u64::from(verified.is_err());
        for error in [verified.err(), merged.err(), answered.err()].into_iter().flatten() {
            assert!(matches!(error, IndexError::Corrupt { .. }), "{error:?}");
        }
    }

    assert!(refused > 1_500, "verifying notices most damage, here {refused} of 3,000");
}

/// Runs written by every earlier release must stay readable: if these bytes change, so does the
/// format version.
#[test]
fn the_bytes_of_a_run_stay_what_they_are() {
    let (_, _, bytes) = small_run();

    assert_eq!((bytes.len(), crc32c::crc32c(&bytes)), (3_632, 0xebae_15a6));
}
