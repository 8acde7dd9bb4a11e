//! Listing the names of streams.

use std::collections::BTreeSet;

use quipu_core::StreamName;

use super::super::{Index, IndexError};
use super::model::{Chance, id, origin};
use super::runs::{dir, disk};

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

/// The stream that begins at a position.
fn name_at(position: u64) -> StreamName {
    let mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    match position % 4 {
        0 => name(&format!("order-{mixed}")),
        1 => name(&format!("order-{}", mixed % 1_000)),
        2 => name(&format!("ünïcode-{mixed}")),
        _ => name(&format!("{mixed:x}")),
    }
}

#[test]
fn names_of_runs_and_tails_come_in_one_order() {
    let mut chance = Chance::new(41);
    let disk = disk();
    let index = Index::new(origin(), 60, 1, Vec::new()).unwrap();
    let stream_names = index.hasher().stream_names();
    for position in 1..=1_000 {
        index.add(&[stream_names], id(position));
    }
    while index.frozen_count() > 2 {
        let sealed = index.seal(&disk, &dir(), 1_000, |at| Ok::<_, IndexError>(Some(name_at(at))));
        index.install(sealed.unwrap().unwrap());
        if let Some(run) = index.merge(&disk, &dir(), &mut || true).unwrap() {
            index.install(run);
        }
    }
    let reader = index.reader(1_000);
    let all: BTreeSet<StreamName> = (1..=1_000).map(name_at).collect();
    let in_tails: BTreeSet<StreamName> = (reader.tails_first()..=1_000).map(name_at).collect();
    let in_tails: Vec<StreamName> = in_tails.into_iter().collect();
    assert!((2..10).contains(&index.runs().len()), "{:?}", index.runs());
    assert!(!in_tails.is_empty());

    for _ in 0..500 {
        let prefix = ["", "o", "order-", "order-7", "ü", "0", "zz"][chance.below(7) as usize];
        let after = match chance.below(4) {
            0 => None,
            1 => Some("order-5".to_owned()),
            _ => Some(name_at(1 + chance.below(1_000)).to_string()),
        };
        let limit = chance.below(80) as usize;

        let found = reader.names(prefix, after.as_deref(), limit, &in_tails).unwrap();

        let expected: Vec<&StreamName> = all
            .iter()
            .filter(|name| name.as_str().starts_with(prefix))
            .filter(|name| after.as_deref().is_none_or(|after| name.as_str() > after))
            .take(limit)
            .collect();
        assert!(found.iter().eq(expected.iter().copied()), "{prefix:?} after {after:?}");
    }
}

#[test]
fn a_candidate_that_begins_no_stream_has_no_name() {
    let disk = disk();
    let index = Index::new(origin(), 4, 1, Vec::new()).unwrap();
    for position in 1..=5 {
        index.add(&[index.hasher().stream_names()], id(position));
    }

    let sealed =
        index.seal(&disk, &dir(), 5, |at| Ok::<_, IndexError>((at % 2 == 0).then(|| name_at(at))));

    index.install(sealed.unwrap().unwrap());
    let names = index.reader(5).names("", None, 10, &[]).unwrap();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([2, 4].map(name_at)));
}

#[test]
fn a_name_that_cannot_be_read_keeps_the_tail() {
    let disk = disk();
    let index = Index::new(origin(), 4, 1, Vec::new()).unwrap();
    for position in 1..=5 {
        index.add(&[index.hasher().stream_names()], id(position));
    }

    let failed = index.seal(&disk, &dir(), 5, |_| {
        Err(IndexError::Io { file: dir(), source: std::io::ErrorKind::Interrupted.into() })
    });

    assert!(failed.is_err());
    assert_eq!(index.frozen_count(), 1);
    assert!(disk.files().is_empty());
}
