//! The store in memory passes the whole suite, with dense positions and with gaps.

use quipu_core::contract::{self, Outcome};

use crate::harness::InMemory;

mod dense {
    quipu_core::contract_tests!(crate::harness::InMemory::new);
}

#[test]
fn the_suite_is_fair_to_stores_with_gaps_between_positions() {
    let report = contract::run(InMemory::with_gaps);

    assert!(report.is_passed(), "{report}");
}

#[test]
fn the_suite_is_large_and_skips_only_what_memory_cannot_do() {
    let report = contract::run(InMemory::new);

    assert!(contract::cases().len() >= 500, "there are {}", contract::cases().len());
    for (case, outcome) in report.results() {
        let is_skipped = matches!(outcome, Outcome::Skipped(_));
        // Its clock never goes back.
        let is_beyond_it = case.topic() == "reopening" || case.name().contains("set_back");
        assert_eq!(is_skipped, is_beyond_it, "{}", case.name());
    }
}

#[test]
fn no_two_cases_of_a_topic_have_one_name() {
    let mut names: Vec<_> = contract::cases().iter().map(|it| (it.topic(), it.name())).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();

    assert_eq!(names.len(), count);
}
