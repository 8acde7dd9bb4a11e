//! Runs and tails together, against the model and against each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_core::StreamName;

use super::super::seal::write_tail;
use super::super::tail::Tail;
use super::super::{Index, IndexError, Key, Run, RunHeader};
use super::model::{Chance, Model, compare_lookups, compare_walk, id, key, origin, push_some};
use crate::format::run::RunName;
use crate::io::Io;
use crate::io::sim::SimDisk;

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/index")
}

pub(super) fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir(&dir()).unwrap();
    disk
}

#[expect(clippy::unnecessary_wraps, reason = "it is the callback that sealing asks for")]
pub(super) fn no_names(_position: u64) -> Result<Option<StreamName>, IndexError> {
    Ok(None)
}

pub(super) fn seal(index: &Index, io: &dyn Io) -> Option<Arc<Run>> {
    index.seal(io, &dir(), u64::MAX, no_names).unwrap()
}

pub(super) fn merge(index: &Index, io: &dyn Io) -> Option<Arc<Run>> {
    index.merge(io, &dir(), &mut || true).unwrap()
}

fn remove(io: &dyn Io, runs: &[Arc<Run>]) {
    for run in runs {
        io.remove(run.path()).unwrap();
    }
}

/// Seals and merges while there is anything to do.
fn maintain(index: &Index, io: &dyn Io) {
    while let Some(run) = seal(index, io) {
        run.verify().unwrap();
        assert!(index.install(run).is_empty());
        while let Some(run) = merge(index, io) {
            run.verify().unwrap();
            assert_eq!(index.runs_with(&run).last().unwrap().name(), run.name());
            let merged = index.install(run);
            assert_eq!(merged.len(), 8);
            remove(io, &merged);
        }
    }
}

#[test]
fn an_index_answers_as_the_model_does_whatever_is_sealed_and_merged() {
    let mut chance = Chance::new(21);
    for run_event_count in [1, 3, 40, 700] {
        let disk = disk();
        let index = Index::new(origin(), run_event_count, 1, Vec::new()).unwrap();
        let mut model = Model::default();
        let mut earlier = Vec::new();

        for round in 0..60 * u64::from(run_event_count).min(100) {
            push_some(&index, &mut model, &mut chance);
            if chance.below(2 * u64::from(run_event_count)) == 0 {
                maintain(&index, &disk);
            }
            if round % 500 == 0 {
                earlier.push(index.reader(model.last));
            }
            if chance.below(8) == 0 {
                let reader = index.reader(chance.below(model.last + 1));
                compare_walk(&reader, &model, &mut chance);
                compare_lookups(&reader, &model, &mut chance);
            }
        }

        for reader in &earlier {
            for _ in 0..50 {
                compare_walk(reader, &model, &mut chance);
                compare_lookups(reader, &model, &mut chance);
            }
        }
        let reader = index.reader(model.last);
        for _ in 0..300 {
            compare_walk(&reader, &model, &mut chance);
            compare_lookups(&reader, &model, &mut chance);
        }
    }
}

/// Long lists have skips, and a run of many keys has several pages and blocks.
#[test]
fn long_lists_answer_as_the_model_does() {
    let mut chance = Chance::new(22);
    let disk = disk();
    let index = Index::new(origin(), 4_000, 1, Vec::new()).unwrap();
    let mut model = Model::default();
    for event in 0..16_500 {
        let mut keys = vec![key(0), key(1_000 + event)];
        keys.extend((1..8).filter(|key| event % (key * key + 1) == 0).map(key));
        let id = id(event);
        model.push(&keys, id);
        index.add(&keys, id);
    }

    maintain(&index, &disk);

    assert_eq!(index.runs().len(), 4);
    let reader = index.reader(model.last);
    let half = index.reader(model.last / 2);
    for _ in 0..40 {
        for reader in [&reader, &half] {
            compare_walk(reader, &model, &mut chance);
            compare_lookups(reader, &model, &mut chance);
        }
    }
}

/// The events of a log, the same whoever asks.
fn event(position: u64) -> (Vec<Key>, u64) {
    let mut keys = vec![key(0), key(position % 7), key(100 + position / 3)];
    if position.is_multiple_of(3) {
        keys.push(key(99));
    }
    (keys, position % 1_000)
}

#[expect(clippy::unnecessary_wraps, reason = "it is the callback that sealing asks for")]
fn name_at(position: u64) -> Result<Option<StreamName>, IndexError> {
    Ok(StreamName::new(format!("stream-{}", position.wrapping_mul(2_654_435_761) % 10_000)).ok())
}

#[test]
fn a_merged_run_is_byte_for_byte_the_one_written_from_its_events() {
    let disk = disk();
    let index = Index::new(origin(), 500, 1, Vec::new()).unwrap();
    let stream_names = index.hasher().stream_names();
    let mut whole = Tail::new(1);
    for position in 1..=4_001 {
        let (mut keys, id_number) = event(position);
        if position % 3 == 1 {
            keys.push(stream_names);
        }
        index.add(&keys, id(id_number));
        if position <= 4_000 {
            whole.add(&keys, id(id_number));
        }
    }
    while let Some(run) = index.seal(&disk, &dir(), u64::MAX, name_at).unwrap() {
        index.install(run);
    }

    let merged = merge(&index, &disk).unwrap();

    let name = RunName { level: 1, first: 1, last: 4_000 };
    assert_eq!(merged.name(), name);
    assert!(merged.size() > 65_536, "the run has several pages: {}", merged.size());
    let fresh = Path::new("/fresh");
    disk.create_dir(fresh).unwrap();
    let header = RunHeader { origin: origin(), name };
    write_tail(&disk, fresh, header, &whole, stream_names, name_at, &|| ()).unwrap();
    let fresh = disk.contents(&fresh.join(name.to_string())).unwrap();
    assert!(disk.contents(merged.path()).unwrap() == fresh, "the bytes differ");
}

#[test]
fn a_tail_above_the_watermark_is_not_sealed() {
    let disk = disk();
    let index = Index::new(origin(), 10, 1, Vec::new()).unwrap();
    for position in 1..=11 {
        index.add(&[key(1)], id(position));
    }

    let early = index.seal(&disk, &dir(), 9, no_names).unwrap();
    let later = index.seal(&disk, &dir(), 10, no_names).unwrap();

    assert!(early.is_none());
    assert_eq!(later.unwrap().name(), RunName { level: 0, first: 1, last: 10 });
}

#[test]
fn an_index_goes_on_after_its_runs() {
    let disk = disk();
    let index = Index::new(origin(), 10, 1, Vec::new()).unwrap();
    for position in 1..=35 {
        index.add(&[key(1), key(position)], id(position));
    }
    maintain(&index, &disk);

    let runs: Vec<Arc<Run>> = index
        .runs()
        .iter()
        .map(|run| RunHeader { origin: origin(), name: run.name() })
        .map(|header| Arc::new(Run::open(&disk, &dir(), header).unwrap()))
        .collect();
    let reopened = Index::new(origin(), 10, 1, runs).unwrap();

    assert_eq!(reopened.next_position(), 31);
    assert_eq!(reopened.add(&[key(1)], id(31)), 31);
    assert_eq!(reopened.reader(31).count(key(1)).unwrap(), 31);
    assert_eq!(reopened.reader(30).count(key(1)).unwrap(), 30);
}

#[test]
fn runs_with_a_gap_are_no_index() {
    let disk = disk();
    let index = Index::new(origin(), 10, 1, Vec::new()).unwrap();
    for position in 1..=35 {
        index.add(&[key(1)], id(position));
    }
    maintain(&index, &disk);
    let mut runs = index.runs();
    runs.remove(1);

    let reopened = Index::new(origin(), 10, 1, runs);

    assert!(matches!(reopened, Err(IndexError::Corrupt { .. })), "{reopened:?}");
}

#[test]
fn a_merge_that_is_told_to_stop_leaves_nothing_behind() {
    let disk = disk();
    let index = Index::new(origin(), 10, 1, Vec::new()).unwrap();
    for position in 1..=81 {
        index.add(&[key(position)], id(position));
    }
    while let Some(run) = seal(&index, &disk) {
        index.install(run);
    }
    let files = disk.files();
    let mut keys_left = 20;

    let merged = index.merge(&disk, &dir(), &mut || {
        keys_left -= 1;
        keys_left > 0
    });

    assert!(merged.unwrap().is_none());
    assert_eq!(disk.files(), files);
    assert!(merge(&index, &disk).is_some(), "it can be done later");
}

/// Readers and the maintenance work beside the writer: whatever a reader finds must be all that
/// was durable when it began.
#[test]
fn readers_beside_the_writer_see_all_up_to_the_watermark() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const LAST: u64 = 30_000;
    let disk = disk();
    let index = Index::new(origin(), 512, 1, Vec::new()).unwrap();
    let watermark = AtomicU64::new(0);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            for position in 1..=LAST {
                index.add(&[key(1), key(2 + position % 3)], id(position));
                watermark.store(position, Ordering::Release);
            }
        });
        scope.spawn(|| {
            while watermark.load(Ordering::Acquire) < LAST {
                let durable = watermark.load(Ordering::Acquire);
                if let Some(run) = index.seal(&disk, &dir(), durable, no_names).unwrap() {
                    index.install(run);
                }
                if let Some(run) = merge(&index, &disk) {
                    index.install(run);
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut upto = 0;
                while upto < LAST {
                    upto = watermark.load(Ordering::Acquire);
                    let reader = index.reader(upto);
                    assert_eq!(reader.count(key(1)).unwrap(), upto);
                    assert_eq!(reader.last(key(1)).unwrap(), (upto > 0).then_some(upto));
                    assert_eq!(
                        reader.nth(key(1), upto / 2).unwrap(),
                        (upto > 0).then_some(upto / 2 + 1)
                    );
                }
            });
        }
    });

    assert_eq!(index.reader(LAST).count(key(2)).unwrap(), LAST / 3);
}
