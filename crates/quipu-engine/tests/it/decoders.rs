//! Decoders with bytes of chance: none panics, and what decodes survives encoding.
//!
//! The same functions are fuzz targets, see `fuzz/`. Here they get golden files that were damaged
//! a little, and bytes that never were anything. `QUIPU_SEED` runs one seed again.

use std::hash::{BuildHasher, RandomState};

use quipu_engine::fuzzing;
use quipu_engine::io::sim::Chance;

use crate::golden::read_golden;

fn chance() -> Chance {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("decoders"));
    crate::sim::runs::say(&format!("QUIPU_SEED={seed}"));
    Chance::new(seed)
}

/// The golden files whose names end so.
fn samples(ending: &str) -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for store in ["clean", "unclean", "many", "scavenged", "restored"] {
        let files = read_golden(store).into_iter();
        samples.extend(files.filter(|(name, _)| name.contains(ending)).map(|(_, bytes)| bytes));
    }
    assert!(!samples.is_empty(), "there are golden files like {ending}");
    samples
}

/// Changes some bytes: often one, at times many, their number too.
fn mutate(chance: &mut Chance, bytes: &mut Vec<u8>) {
    for _ in 0..=chance.below(4) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = chance.below(bytes.len());
        match chance.below(8) {
            0 | 1 => bytes[at] ^= 1 << chance.below(8),
            2 => bytes[at] = chance.number() as u8,
            3 => {
                // A number at the edge of something.
                let edges = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff_u64];
                let edge = edges[chance.below(edges.len())].to_le_bytes();
                let end = (at + 1 + chance.below(8)).min(bytes.len());
                for (byte, own) in bytes[at..end].iter_mut().zip(edge) {
                    *byte = own;
                }
            }
            4 => bytes.truncate(at),
            5 => bytes.insert(at, chance.number() as u8),
            6 => {
                let end = (at + chance.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + chance.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = chance.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// Calls a decoder `count` times, with changed samples and with noise.
fn torment(samples: &[Vec<u8>], count: usize, decode: fn(&[u8])) {
    let mut chance = chance();
    for sample in samples {
        decode(sample);
    }
    for _ in 0..count {
        let bytes = if samples.is_empty() || chance.below(10) == 0 {
            let mut bytes = vec![0; chance.below(300)];
            chance.fill(&mut bytes);
            bytes
        } else {
            let mut bytes = samples[chance.below(samples.len())].clone();
            mutate(&mut chance, &mut bytes);
            bytes
        };
        decode(&bytes);
    }
}

#[test]
fn records() {
    // The first record of each segment.
    let samples: Vec<_> =
        samples(".log").iter().map(|bytes| bytes[4_160..4_600].to_vec()).collect();
    torment(&samples, 200_000, fuzzing::record);
}

#[test]
fn segments() {
    torment(&samples(".log"), 4_000, fuzzing::segment);
    let bodies: Vec<_> = samples(".log").iter().map(|b| b[4_160..4_500].to_vec()).collect();
    torment(&bodies, 50_000, fuzzing::segment);
}

#[test]
fn manifests() {
    torment(&samples("manifest-"), 200_000, fuzzing::manifest);
}

#[test]
fn runs() {
    torment(&samples(".qix"), 5_000, fuzzing::run);
}

#[test]
fn tables_of_offsets() {
    torment(&samples(".offsets"), 100_000, fuzzing::offsets);
}

#[test]
fn offsets_of_segments_that_are_being_written() {
    torment(&samples(".growing"), 100_000, fuzzing::growing_offsets);
}

#[test]
fn watermarks() {
    torment(&samples("watermark"), 200_000, fuzzing::watermark);
}

#[test]
fn queries() {
    let samples = [
        "type:OrderPlaced,OrderPaid tag:order:1 stream:order-1",
        "category:order tag:\"two words\" tag:\"quo\\\"te\"",
        "",
    ];
    let samples: Vec<_> = samples.iter().map(|text| text.as_bytes().to_vec()).collect();
    torment(&samples, 200_000, fuzzing::query);
}

#[test]
fn metadata_of_streams() {
    let samples = [
        "{\"$maxCount\":3,\"$maxAge\":60,\"$tb\":7,\"owner\":{\"name\":[1,2.5,null]}}",
        "{\"$maxCount\":18446744073709551615,\"$acl\":{\"$r\":\"$all\"}}",
        "{}",
    ];
    let samples: Vec<_> = samples.iter().map(|text| text.as_bytes().to_vec()).collect();
    torment(&samples, 200_000, fuzzing::stream_metadata);
}
