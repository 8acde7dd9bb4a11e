//! A crash between any two steps leaves no gap and counts nothing twice.

use quipu::testing::project;
use quipu::{Events, events};
use serde_json::json;

use super::sample::Balances;
use crate::bank::{AccountOpened, FundsDeposited, id};

fn history(count: u64) -> Events {
    let mut all = events![AccountOpened { account: id("a"), owner: "Ana".into() }];
    for number in 1..=count {
        let account = id(if number % 3 == 0 { "b" } else { "a" });
        all.extend(events![FundsDeposited { account, cents: number }]);
    }
    all
}

const ROWS: &str = "SELECT account, cents, event_count FROM {balances} ORDER BY account";

#[tokio::test]
async fn crashed_at_each_step_of_each_event_nothing_is_missing_or_there_twice() {
    let expected = json!([
        { "account": "a", "cents": 37, "event_count": 8 },
        { "account": "b", "cents": 18, "event_count": 3 },
    ]);

    let test = project(Balances::default()).sqlite_memory().given(history(10));

    test.crash_after_each().then_rows(ROWS, expected).await;
}

#[tokio::test]
async fn crashes_make_no_difference() {
    let kit = || project(Balances::default()).sqlite_memory().given(history(5));

    let undisturbed = kit().rows(ROWS).await;
    let crashed = kit().crash_after_each().rows(ROWS).await;

    assert_eq!(undisturbed, crashed);
}

#[tokio::test]
async fn the_kit_fails_where_rows_differ() {
    let test = project(Balances::default()).sqlite_memory().given(history(1));

    let failed = tokio::spawn(test.then_rows(ROWS, json!([]))).await.unwrap_err();

    let panic = failed.into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("the rows are not as expected"), "{text}");
}

#[tokio::test]
async fn the_kit_names_the_event_that_cannot_be_applied() {
    let poison = events![crate::bank::FundsWithdrawn { account: id("a"), cents: 1 }];
    let test = project(Balances::default()).sqlite_memory().given(history(1)).given(poison);

    let failed = tokio::spawn(async { test.rows(ROWS).await }).await.unwrap_err();

    let panic = failed.into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("position 3") && text.contains("no withdrawals"), "{text}");
}
