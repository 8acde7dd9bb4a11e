//! Leases beside the log: one holder at a time, each under a higher epoch.

use std::time::Duration;

use crate::lease::{Lease, LeaseError};

use super::subject::Subject;

cases!(
    "leases",
    a_free_lease_is_given,
    a_lease_nobody_took_is_unknown,
    a_held_lease_is_not_given,
    a_held_lease_is_not_given_to_the_same_owner,
    a_released_lease_is_given_under_a_higher_epoch,
    a_released_lease_cannot_be_renewed,
    a_released_lease_cannot_be_released_again,
    a_held_lease_can_be_renewed,
    an_expired_lease_is_given_to_another_under_a_higher_epoch,
    an_expired_lease_that_nobody_took_can_be_renewed,
    a_lease_that_another_took_cannot_be_renewed,
    a_lease_that_another_took_cannot_be_released,
    a_renewed_lease_does_not_expire_when_it_would_have,
    a_clock_that_is_set_back_a_little_leaves_a_lease_held,
    a_clock_that_is_set_back_does_not_lengthen_a_lease,
    a_holder_renews_by_a_clock_that_was_set_back,
    a_lease_is_shown_as_it_is,
    leases_are_apart,
    a_name_has_a_size,
);

const TTL: Duration = Duration::from_mins(10);

fn acquire(subject: &Subject<'_>, name: &str, owner: &str) -> Result<Lease, LeaseError> {
    let store = subject.store();
    subject.wait(store.leases().acquire(name, owner, TTL))
}

fn take(subject: &Subject<'_>, name: &str, owner: &str) -> Lease {
    acquire(subject, name, owner).expect("the lease is free")
}

fn renew(subject: &Subject<'_>, lease: &Lease) -> Result<Lease, LeaseError> {
    let store = subject.store();
    subject.wait(store.leases().renew(lease, TTL))
}

fn release(subject: &Subject<'_>, lease: &Lease) -> Result<(), LeaseError> {
    let store = subject.store();
    subject.wait(store.leases().release(lease))
}

fn get(subject: &Subject<'_>, name: &str) -> Option<Lease> {
    let store = subject.store();
    subject.wait(store.leases().get(name)).expect("the store answers")
}

fn assert_lost<T: std::fmt::Debug>(answer: Result<T, LeaseError>, lease: &Lease) {
    match answer {
        Err(LeaseError::Lost { name, epoch }) => {
            assert_eq!((&name, epoch), (&lease.name, lease.epoch));
        }
        other => panic!("a lost lease was expected, got {other:?}"),
    }
}

fn a_free_lease_is_given(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");

    assert_eq!((lease.name.as_str(), lease.owner.as_str()), ("work", "ada"));
    assert!(lease.epoch > 0, "0 is the epoch of those without a lease");
}

fn a_lease_nobody_took_is_unknown(subject: &Subject<'_>) {
    take(subject, "other", "ada");

    assert_eq!(get(subject, "work"), None);
}

fn a_held_lease_is_not_given(subject: &Subject<'_>) {
    let held = take(subject, "work", "ada");

    match acquire(subject, "work", "bob") {
        Err(LeaseError::Held { name, owner, expires_at }) => {
            assert_eq!((name.as_str(), owner.as_str()), ("work", "ada"));
            assert_eq!(expires_at, held.expires_at);
        }
        other => panic!("a held lease was expected, got {other:?}"),
    }
}

fn a_held_lease_is_not_given_to_the_same_owner(subject: &Subject<'_>) {
    take(subject, "work", "ada");

    let again = acquire(subject, "work", "ada");

    assert!(matches!(again, Err(LeaseError::Held { .. })), "{again:?}");
}

fn a_released_lease_is_given_under_a_higher_epoch(subject: &Subject<'_>) {
    let mut epoch = 0;

    for owner in ["ada", "bob", "ada"] {
        let lease = take(subject, "work", owner);
        assert!(lease.epoch > epoch);
        epoch = lease.epoch;
        release(subject, &lease).expect("it is held");
    }
}

fn a_released_lease_cannot_be_renewed(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    release(subject, &lease).expect("it is held");

    assert_lost(renew(subject, &lease), &lease);
}

fn a_released_lease_cannot_be_released_again(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    release(subject, &lease).expect("it is held");

    assert_lost(release(subject, &lease), &lease);
    let next = take(subject, "work", "bob");
    assert_lost(release(subject, &lease), &lease);

    assert_eq!(get(subject, "work").map(|it| it.epoch), Some(next.epoch));
}

fn a_held_lease_can_be_renewed(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");

    let renewed = renew(subject, &lease).expect("it is held");

    assert_eq!((renewed.epoch, &renewed.owner), (lease.epoch, &lease.owner));
    assert!(renewed.expires_at >= lease.expires_at);
    assert!(matches!(acquire(subject, "work", "bob"), Err(LeaseError::Held { .. })));
    release(subject, &lease).expect("the epoch counts, not when it expires");
}

fn an_expired_lease_is_given_to_another_under_a_higher_epoch(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    subject.advance_clock(TTL / 2);
    let early = acquire(subject, "work", "bob");
    assert!(matches!(early, Err(LeaseError::Held { .. })), "{early:?}");

    subject.advance_clock(TTL);

    let next = take(subject, "work", "bob");
    assert!(next.epoch > lease.epoch);
    assert_eq!(next.owner, "bob");
}

fn an_expired_lease_that_nobody_took_can_be_renewed(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    subject.advance_clock(TTL * 2);

    let renewed = renew(subject, &lease).expect("nobody took it");

    assert_eq!(renewed.epoch, lease.epoch);
    let other = acquire(subject, "work", "bob");
    assert!(matches!(other, Err(LeaseError::Held { .. })), "{other:?}");
}

fn a_lease_that_another_took_cannot_be_renewed(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    subject.advance_clock(TTL * 2);
    let next = take(subject, "work", "bob");

    assert_lost(renew(subject, &lease), &lease);

    assert_eq!(get(subject, "work"), Some(next));
}

fn a_lease_that_another_took_cannot_be_released(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    subject.advance_clock(TTL * 2);
    take(subject, "work", "bob");

    assert_lost(release(subject, &lease), &lease);

    let third = acquire(subject, "work", "eve");
    assert!(matches!(third, Err(LeaseError::Held { .. })), "{third:?}");
}

fn a_renewed_lease_does_not_expire_when_it_would_have(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    subject.advance_clock(TTL / 2);
    let renewed = renew(subject, &lease).expect("it is held");
    assert!(renewed.expires_at > lease.expires_at);

    subject.advance_clock(TTL * 3 / 4);

    let other = acquire(subject, "work", "bob");
    assert!(matches!(other, Err(LeaseError::Held { .. })), "{other:?}");
}

fn a_clock_that_is_set_back_a_little_leaves_a_lease_held(subject: &Subject<'_>) {
    take(subject, "work", "ada");

    subject.set_clock_back(TTL / 2);

    let other = acquire(subject, "work", "bob");
    assert!(matches!(other, Err(LeaseError::Held { .. })), "{other:?}");
}

/// Its holder may be gone: nobody is to wait until the clock has come back to where it was.
fn a_clock_that_is_set_back_does_not_lengthen_a_lease(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");

    subject.set_clock_back(TTL * 6);

    let next = take(subject, "work", "bob");
    assert!(next.epoch > lease.epoch);
    assert_lost(renew(subject, &lease), &lease);
}

fn a_holder_renews_by_a_clock_that_was_set_back(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    subject.set_clock_back(TTL * 6);

    let renewed = renew(subject, &lease).expect("nobody took it");

    assert!(renewed.expires_at < lease.expires_at);
    let other = acquire(subject, "work", "bob");
    assert!(matches!(other, Err(LeaseError::Held { .. })), "{other:?}");
    subject.advance_clock(TTL * 2);
    take(subject, "work", "bob");
}

fn a_lease_is_shown_as_it_is(subject: &Subject<'_>) {
    let lease = take(subject, "work", "ada");
    assert_eq!(get(subject, "work"), Some(lease.clone()));

    release(subject, &lease).expect("it is held");

    let released = get(subject, "work").expect("it was taken once");
    assert_eq!(released.epoch, lease.epoch);
    assert!(released.expires_at < lease.expires_at);
}

fn leases_are_apart(subject: &Subject<'_>) {
    take(subject, "work", "ada");

    let other = take(subject, "work/2", "bob");
    release(subject, &other).expect("it is held");

    let first = acquire(subject, "work", "bob");
    assert!(matches!(first, Err(LeaseError::Held { .. })), "{first:?}");
}

fn a_name_has_a_size(subject: &Subject<'_>) {
    for name in [String::new(), "n".repeat(256)] {
        let answer = acquire(subject, &name, "ada");
        assert!(matches!(answer, Err(LeaseError::InvalidName)), "{answer:?}");
    }

    assert_eq!(take(subject, &"n".repeat(255), "ada").owner, "ada");
}
