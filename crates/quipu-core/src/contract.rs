//! The suite of cases that every store must pass: the contract, rule by rule.
//!
//! A store's crate implements [`Harness`] and calls [`contract_tests!`](crate::contract_tests) in a
//! test module: that makes one test a topic. Each case runs on a fresh store and checks one rule;
//! its name is the rule.
//!
//! ```
//! use std::sync::Arc;
//! use quipu_core::contract::{self, Harness};
//! use quipu_core::{EventStore, MemoryStore};
//!
//! struct InMemory(MemoryStore);
//!
//! impl Harness for InMemory {
//!     fn store(&self) -> Arc<dyn EventStore> {
//!         Arc::new(self.0.clone())
//!     }
//!
//!     fn system(&self) -> Arc<dyn EventStore> {
//!         Arc::new(self.0.system())
//!     }
//! }
//!
//! let report = contract::run_topic("snapshots", || InMemory(MemoryStore::new()));
//! assert!(report.is_passed(), "{report}");
//! ```
//!
//! What a store cannot do, such as moving its clock, it leaves out of its harness: the cases that
//! need it are reported as skipped, by name. The cases compare positions by order only, and wait
//! until an append is visible before they read the log, so that they are fair to stores whose
//! positions have gaps and whose frontier follows the appends.
//!
//! Random cases print their seed when they fail; `QUIPU_SEED` replays one.

mod random;
mod subject;

macro_rules! cases {
    ($topic:literal, $($case:ident),+ $(,)?) => {
        pub(super) const CASES: &[crate::contract::Case] = &[
            $(crate::contract::Case { topic: $topic, name: stringify!($case), run: $case }),+
        ];
    };
}

mod append;
mod as_of;
mod checkpoints;
mod conditions;
mod decisions;
mod deletes;
mod differential;
mod expectations;
mod idempotence;
mod index_reads;
mod leases;
mod limits;
mod listing;
mod log_reads;
mod log_subscriptions;
mod many_streams;
mod queries;
mod races;
mod registry;
mod reopening;
mod retention;
mod scavenging;
mod snapshots;
mod stream_reads;
mod stream_subscriptions;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::append::Append;
use crate::store::EventStore;
use subject::{Skip, Subject};

/// What the suite needs of a store: handles to one empty log, and what can be done to it from
/// outside.
///
/// The methods that answer `bool` say whether they did what they were asked; a case that needs it
/// is skipped where they did not.
pub trait Harness: Send + Sync {
    /// A handle with an application's rights.
    fn store(&self) -> Arc<dyn EventStore>;

    /// A handle to the same log with system rights.
    fn system(&self) -> Arc<dyn EventStore>;

    /// Moves the store's clock on.
    fn advance_clock(&self, by: Duration) -> bool {
        let _ = by;
        false
    }

    /// Sets the store's clock back, as people do.
    fn set_clock_back(&self, by: Duration) -> bool {
        let _ = by;
        false
    }

    /// Removes for good what retention, deletes and tombstones hide.
    fn scavenge(&self) -> bool {
        false
    }

    /// Begins a new life of the log at its frontier. Handles may have to be taken again.
    fn begin_life(&self) -> bool {
        false
    }

    /// Closes the store in an orderly way and opens it again. Handles have to be taken again.
    fn reopen(&self) -> bool {
        false
    }

    /// Appends one after the other in a transaction of the caller's own, which is then committed or
    /// rolled back. Answers whether it was committed; `None` where the store takes part in none.
    fn transact(&self, appends: Vec<Append>, commits: bool) -> Option<bool> {
        let _ = (appends, commits);
        None
    }

    /// Whether `recorded_at` never goes back along the log, so that a given time before that of the
    /// last event is raised. Not so where transactions run beside each other.
    fn keeps_times_in_order(&self) -> bool {
        true
    }

    /// Runs a case, or one of its threads, where the store's futures can be waited for. A store
    /// whose futures need a runtime enters it here.
    fn enter(&self, body: &mut dyn FnMut()) {
        body();
    }

    /// How long a case waits for an answer before it takes the store to hang.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

impl<H: Harness + ?Sized> Harness for Box<H> {
    fn store(&self) -> Arc<dyn EventStore> {
        (**self).store()
    }

    fn system(&self) -> Arc<dyn EventStore> {
        (**self).system()
    }

    fn advance_clock(&self, by: Duration) -> bool {
        (**self).advance_clock(by)
    }

    fn set_clock_back(&self, by: Duration) -> bool {
        (**self).set_clock_back(by)
    }

    fn transact(&self, appends: Vec<Append>, commits: bool) -> Option<bool> {
        (**self).transact(appends, commits)
    }

    fn scavenge(&self) -> bool {
        (**self).scavenge()
    }

    fn begin_life(&self) -> bool {
        (**self).begin_life()
    }

    fn reopen(&self) -> bool {
        (**self).reopen()
    }

    fn keeps_times_in_order(&self) -> bool {
        (**self).keeps_times_in_order()
    }

    fn enter(&self, body: &mut dyn FnMut()) {
        (**self).enter(body);
    }

    fn patience(&self) -> Duration {
        (**self).patience()
    }
}

/// One rule of the contract, and how to check it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    topic: &'static str,
    name: &'static str,
    run: fn(&Subject<'_>),
}

impl Case {
    /// What the rule is about.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// The rule, in words with underscores.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Checks the rule on a store that `make` makes, and that nothing was appended to yet.
    pub fn run<H: Harness>(&self, make: impl FnOnce() -> H) -> Outcome {
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let harness = make();
            harness.enter(&mut || (self.run)(&Subject::new(&harness)));
        }));
        let Err(payload) = checked else { return Outcome::Passed };
        if let Some(Skip(ability)) = payload.downcast_ref() {
            return Outcome::Skipped(ability);
        }
        let reason = payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome::Failed(reason.unwrap_or_else(|| "it panicked".to_owned()))
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Outcome {
    /// The store keeps the rule.
    Passed,
    /// The harness lacks this ability.
    Skipped(&'static str),
    /// The store breaks the rule, in this way.
    Failed(String),
}

/// How the cases ended.
#[derive(Clone, Debug, Default)]
pub struct Report {
    results: Vec<(Case, Outcome)>,
}

impl Report {
    /// Whether no case failed.
    pub fn is_passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// Every case with its outcome.
    pub fn results(&self) -> &[(Case, Outcome)] {
        &self.results
    }

    /// The names of the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.named(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// The names of the cases that were skipped.
    pub fn skipped(&self) -> impl Iterator<Item = &'static str> {
        self.named(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    /// The names of the cases that passed.
    pub fn passed(&self) -> impl Iterator<Item = &'static str> {
        self.named(|outcome| *outcome == Outcome::Passed)
    }

    fn named(&self, is_wanted: fn(&Outcome) -> bool) -> impl Iterator<Item = &'static str> {
        let wanted = self.results.iter().filter(move |(_, outcome)| is_wanted(outcome));
        wanted.map(|(case, _)| case.name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.passed().count(), self.failed().count());
        writeln!(f, "{passed} passed, {failed} failed, {} skipped", self.skipped().count())?;
        for (case, outcome) in &self.results {
            let Case { topic, name, .. } = case;
            match outcome {
                Outcome::Passed => {}
                Outcome::Skipped(ability) => writeln!(f, "skipped {topic}::{name}: no {ability}")?,
                Outcome::Failed(reason) => writeln!(f, "failed {topic}::{name}: {reason}")?,
            }
        }
        Ok(())
    }
}

const ALL: [&[Case]; 25] = [
    append::CASES,
    expectations::CASES,
    idempotence::CASES,
    conditions::CASES,
    decisions::CASES,
    many_streams::CASES,
    deletes::CASES,
    retention::CASES,
    stream_reads::CASES,
    log_reads::CASES,
    as_of::CASES,
    queries::CASES,
    index_reads::CASES,
    listing::CASES,
    limits::CASES,
    stream_subscriptions::CASES,
    log_subscriptions::CASES,
    races::CASES,
    snapshots::CASES,
    checkpoints::CASES,
    leases::CASES,
    registry::CASES,
    scavenging::CASES,
    reopening::CASES,
    differential::CASES,
];

/// Every case, by topic.
pub fn cases() -> Vec<Case> {
    ALL.concat()
}

/// Runs every case on a fresh store that `make` makes, and reports how each ended.
pub fn run<H: Harness>(make: impl Fn() -> H) -> Report {
    run_cases(&cases(), make)
}

/// Runs the cases of one topic, each on a fresh store that `make` makes.
///
/// # Panics
///
/// If there is no such topic.
pub fn run_topic<H: Harness>(topic: &str, make: impl Fn() -> H) -> Report {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.topic == topic).collect();
    assert!(!cases.is_empty(), "the suite has no topic \"{topic}\"");
    run_cases(&cases, make)
}

fn run_cases<H: Harness>(cases: &[Case], make: impl Fn() -> H) -> Report {
    let check = |case: &Case| (*case, case.run(&make));
    Report { results: cases.iter().map(check).collect() }
}

/// Makes one test a topic of the contract suite for the stores that an expression makes.
///
/// The expression is a function or a closure without arguments that answers a
/// [`Harness`](crate::contract::Harness) over a fresh store.
///
/// ```
/// # use std::sync::Arc;
/// # use quipu_core::{EventStore, MemoryStore};
/// # struct InMemory(MemoryStore);
/// # impl quipu_core::contract::Harness for InMemory {
/// #     fn store(&self) -> Arc<dyn EventStore> { Arc::new(self.0.clone()) }
/// #     fn system(&self) -> Arc<dyn EventStore> { Arc::new(self.0.system()) }
/// # }
/// mod contract {
///     # use super::*;
///     quipu_core::contract_tests!(|| InMemory(MemoryStore::new()));
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! contract_tests {
    ($make:expr) => {
        $crate::contract_tests! { @each $make;
            append expectations idempotence conditions decisions many_streams deletes retention
            stream_reads log_reads as_of queries index_reads listing limits stream_subscriptions
            log_subscriptions races snapshots checkpoints leases registry scavenging reopening
            differential
        }
    };
    (@each $make:expr; $($topic:ident)+) => {
        /// The topics that have a test.
        pub(crate) const TOPICS: &[&str] = &[$(stringify!($topic)),+];

        #[test]
        fn every_topic_has_a_test() {
            for case in $crate::contract::cases() {
                assert!(TOPICS.contains(&case.topic()), "{} has no test", case.topic());
            }
        }

        $(#[test]
        fn $topic() {
            let report = $crate::contract::run_topic(stringify!($topic), $make);
            println!("{report}");
            assert!(report.is_passed(), "{report}");
        })+
    };
}
