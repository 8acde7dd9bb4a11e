//! The test kit of processes, and what it says when a test fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quipu::events;
use quipu::testing::process;

use crate::shop::{Cancel, Paid, Payment, Placed, Release, Remind, Reserve};

fn placed(order: &str) -> Placed {
    Placed { order: order.into() }
}

fn paid(order: &str) -> Paid {
    Paid { order: order.into() }
}

#[test]
fn an_order_that_is_not_paid_is_reminded_and_cancelled_and_its_stock_released() {
    process::<Payment>()
        .given(events![placed("a")])
        .then_executes("reserve", &Reserve("a".into()))
        .then_waits("due", Duration::from_mins(15))
        .then_nothing()
        .advance(Duration::from_mins(14))
        .then_executes("remind", &Remind("a".into()))
        .then_nothing()
        .then_goes_on("a")
        .advance(Duration::from_mins(1))
        .then_executes("cancel", &Cancel("a".into()))
        .then_executes("release", &Release("a".into()))
        .then_nothing()
        .then_completed("a");
}

#[test]
fn an_order_that_is_paid_waits_for_nothing_more() {
    process::<Payment>()
        .given(events![placed("a")])
        .advance(Duration::from_mins(9))
        .given(events![paid("a")])
        .then_no_timer("due")
        .then_completed("a")
        .advance(Duration::from_hours(24))
        .then_executes("reserve", &Reserve("a".into()))
        .then_nothing();
}

#[test]
fn what_was_refused_is_not_undone() {
    process::<Payment>()
        .given(events![placed("a")])
        .then_executes("reserve", &Reserve("a".into()))
        .rejects("reserve", "sold out")
        .then_executes("cancel", &Cancel("a".into()))
        .then_nothing()
        .then_completed("a");
}

#[test]
fn instances_do_not_know_of_each_other() {
    process::<Payment>()
        .given(events![placed("a"), placed("b"), paid("b")])
        .then_completed("b")
        .then_goes_on("a")
        .advance(Duration::from_mins(15))
        .then_executes("cancel", &Cancel("a".into()))
        .then_completed("a");
}

#[test]
fn a_failure_shows_what_is_done_and_what_nobody_took() {
    let test = || {
        process::<Payment>()
            .given(events![placed("a"), paid("b")])
            .then_executes("cancel", &Cancel("a".into()))
    };

    let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();

    let text = panic.downcast_ref::<String>().unwrap();
    for part in ["step \"cancel\"", "Cancel(\"a\")", "reserve of a", "due of a", "order-b"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}
