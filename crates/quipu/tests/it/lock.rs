//! The lock file of the events of these very tests.

use crate::bank::{AccountEvent, FundsMoved};

#[test]
fn stored_shapes_only_grow() {
    quipu::lock::check!("tests/it/events.lock", AccountEvent, FundsMoved);
}
