//! The proof of the harness: each seeded bug is caught by one of the loops, within CI's count.
//!
//! That no bug is caught where none is on is what the loops themselves show.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quipu_engine::io::SeededBug;

use super::{damage, errors, full, power, runs};

/// A loop that a bug is caught by.
struct Loop {
    name: &'static str,
    count: u64,
    trial: fn(u64, Option<SeededBug>) -> u64,
    /// What one seed adds to the count, where it is not what the trial answers.
    weight: Option<u64>,
}

const POWER: Loop =
    Loop { name: power::NAME, count: power::COUNT, trial: power::trial, weight: None };
const ERRORS: Loop =
    Loop { name: errors::NAME, count: errors::COUNT, trial: errors::trial, weight: Some(1) };
const FULL: Loop =
    Loop { name: full::NAME, count: full::COUNT, trial: full::trial, weight: Some(1) };
const DAMAGE: Loop =
    Loop { name: damage::NAME, count: damage::COUNT, trial: damage::trial, weight: None };

fn catcher(bug: SeededBug) -> Loop {
    match bug {
        SeededBug::ExposeBeforeDurable
        | SeededBug::IgnoreSyncError
        | SeededBug::RetrySync
        | SeededBug::IgnoreWriteError => ERRORS,
        SeededBug::PoisonOnDiskFull => FULL,
        SeededBug::TruncateCorruption => DAMAGE,
        _ => POWER,
    }
}

impl Loop {
    /// How far the loop came before it caught the bug; `None` where it did not.
    fn catch(&self, bug: SeededBug) -> Option<u64> {
        let mut done = 0;
        for seed in runs::seeds(self.name) {
            match catch_unwind(AssertUnwindSafe(|| (self.trial)(seed, Some(bug)))) {
                Err(_caught) => return Some(done),
                Ok(units) => done += self.weight.unwrap_or(units),
            }
            if done >= self.count {
                return None;
            }
        }
        None
    }
}

#[test]
fn every_seeded_bug_is_caught() {
    let mut missed = Vec::new();

    for bug in SeededBug::ALL {
        let catcher = catcher(bug);
        match catcher.catch(bug) {
            Some(done) => {
                runs::say(&format!("{bug:?}: caught by {} after {done}", catcher.name));
            }
            None => missed.push((bug, catcher.name)),
        }
    }

    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert!(SeededBug::ALL.len() >= 12);
}
