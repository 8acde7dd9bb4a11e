//! The test kit itself: what passes, and what a failure says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quipu::testing::{given, given_stored, snapshot_matches_fold};
use quipu::{Aggregate, Event, Evolve, Timestamp, Upcasters, events};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bank::{
    Account, AccountOpened, Balance, BankError, FundsDeposited, FundsWithdrawn, Transfer, deposit,
    id, open, withdraw,
};

fn opened(account: &str) -> AccountOpened {
    AccountOpened { account: id(account), owner: "Ana".into() }
}

fn deposited(account: &str, cents: u64) -> FundsDeposited {
    FundsDeposited { account: id(account), cents }
}

fn withdrawn(account: &str, cents: u64) -> FundsWithdrawn {
    FundsWithdrawn { account: id(account), cents }
}

/// What a test that fails says.
fn failure(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test was to fail");
    panic.downcast_ref::<String>().expect("a panic with a text").clone()
}

#[test]
fn what_is_decided_is_compared_by_type_tags_and_data() {
    given(events![opened("a"), deposited("a", 100)])
        .at(Timestamp::from_micros(1))
        .actor("ana")
        .when(withdraw("a", 40))
        .then(events![withdrawn("a", 40)]);
    given(events![opened("a")])
        .when(deposit("a", 5))
        .then(events![deposited("a", 5)])
        .then_value(&5);
    given(events![opened("a")]).when(deposit("a", 0)).then_nothing();
    given(events![opened("a"), opened("b"), deposited("a", 9)])
        .when(Transfer { from: id("a"), to: id("b"), cents: 4 })
        .then(events![withdrawn("a", 4), deposited("b", 4)]);
}

#[test]
fn a_refusal_is_compared() {
    given(events![]).when(deposit("a", 5)).then_rejected(&BankError::NotOpen);
    given(events![opened("a")])
        .when(withdraw("a", 1))
        .then_rejected(&BankError::Insufficient { balance: 0 });
}

#[test]
fn a_failure_shows_what_is_outside_the_boundary() {
    let text = failure(|| {
        given(events![opened("b"), deposited("a", 3)])
            .when(open("a"))
            .then_rejected(&BankError::Open);
    });

    assert!(text.contains("the command was not refused"), "{text}");
    let (inside, outside) = text.split_once("outside the boundary").expect("both lists");
    assert!(outside.contains("bank.account-opened [account:b]"), "{text}");
    assert!(inside.contains("bank.funds-deposited [account:a]"), "{text}");
}

#[test]
fn failures_say_what_was_expected_and_what_found() {
    let other = failure(|| {
        given(events![opened("a")]).when(deposit("a", 5)).then(events![deposited("a", 6)]);
    });
    let refused = failure(|| {
        given(events![]).when(deposit("a", 5)).then_nothing();
    });
    let otherwise = failure(|| {
        given(events![]).when(deposit("a", 5)).then_rejected(&BankError::Open);
    });
    let value = failure(|| {
        given(events![opened("a")]).when(deposit("a", 5)).then_value(&6);
    });
    let state = failure(|| given(events![opened("a")]).then_state(Account::of(id("a")), |_| false));

    assert!(other.contains("\"cents\":6") && other.contains("\"cents\":5"), "{other}");
    assert!(refused.contains("refused: NotOpen"), "{refused}");
    assert!(otherwise.contains("expected: Open") && otherwise.contains("NotOpen"), "{otherwise}");
    assert!(value.contains("expected: Some(Number(6))"), "{value}");
    assert!(state.contains("read by the model"), "{state}");
}

#[test]
fn stored_events_go_through_upcasters_and_have_the_tags_of_their_data() {
    let upcasters = || {
        Upcasters::new().rename("bank.deposit", "bank.funds-deposited").map(
            "bank.funds-deposited",
            1,
            Ok,
        )
    };
    let stored = [
        ("bank.account-opened", 1, json!({ "account": "a", "owner": "Ana" })),
        ("bank.account-opened", 1, json!({ "account": "b", "owner": "Bob" })),
    ];

    let given = given_stored(Upcasters::new(), stored);

    given.then_state(Account::of(id("a")), |account| account.event_count == 1);
    given.then_state(Balance::of(id("c")), |balance| !balance.is_open);
    let future =
        given_stored(upcasters(), [("bank.deposit", 1, json!({ "account": "a", "cents": 1 }))]);
    future.then_unreadable(Balance::of(id("a")), "schema version is 2");
    let old = [("bank.funds-deposited", 9, json!({}))];
    given_stored(Upcasters::new(), old).then_unreadable(Balance::of(id("a")), "knows 1");
}

#[test]
fn a_snapshot_that_forgets_is_found() {
    #[derive(Event, Serialize, Deserialize)]
    #[event(type = "counter.raised")]
    struct Raised {
        #[tag]
        counter: String,
    }
    #[derive(Aggregate, Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[aggregate(events = Raised, snapshot(every = 10))]
    struct Counter {
        #[key]
        counter: String,
        #[serde(skip)]
        total: u32,
    }
    impl Evolve for Counter {
        fn evolve(&mut self, _raised: &Raised) {
            self.total += 1;
        }
    }
    let raised = || events![Raised { counter: "a".into() }];

    let text = failure(|| snapshot_matches_fold(Counter::of("a".to_owned()), raised()));

    assert!(text.contains("a snapshot after 1 events leads to another state"), "{text}");
    snapshot_matches_fold(
        Account::of(id("a")),
        events![opened("a"), deposited("a", 5), withdrawn("a", 2)],
    );
}
