//! Failed logins: counted, slowed down, and gathered for the audit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most that are kept count of. The one whose last failure is longest ago makes room.
const COUNT_MAX: usize = 10_000;
/// Failures that cost nothing: people mistype.
const FREE_COUNT: u32 = 3;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// After so long without a failure the count begins anew.
const MEMORY: Duration = Duration::from_mins(15);
/// The most addresses that are told apart in the audit of one minute.
const AUDIT_COUNT_MAX: usize = 1_000;

/// Whose failures are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A user's name, as it was given.
    User(String),
    /// An address from which passwords came.
    Peer(IpAddr),
    /// An address from which tokens came. Programs with an old token share addresses with people.
    Sender(IpAddr),
}

impl Who {
    pub(super) fn user(name: &str) -> Self {
        // No principal has a longer name; all of those are nobody.
        Self::User(if name.len() <= 64 { name.to_owned() } else { String::new() })
    }

    pub(super) fn peer(address: IpAddr) -> Self {
        Self::Peer(network(address))
    }

    pub(super) fn sender(address: IpAddr) -> Self {
        Self::Sender(network(address))
    }
}

/// Whoever has one address of IPv6 has a whole network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        four @ IpAddr::V4(_) => four,
    }
}

#[derive(Clone, Copy)]
struct Failure {
    count: u32,
    last: Instant,
}

/// Logins that were refused in a while, from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Where they came from; `None` for all that are not told apart.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) count: u64,
}

/// All failures that count.
#[derive(Default)]
pub(super) struct Failures {
    /// Guards the counts. Nothing but counting happens under it.
    table: Mutex<HashMap<Who, Failure>>,
    /// Guards what the audit has not got yet.
    refused: Mutex<HashMap<Option<IpAddr>, u64>>,
}

impl Failures {
    /// Counts a failure and answers how many there were.
    pub(super) fn failed(&self, who: Who, now: Instant) -> u32 {
        let mut table = lock(&self.table);
        if !table.contains_key(&who) && table.len() >= COUNT_MAX {
            table.retain(|_, own| now.saturating_duration_since(own.last) < MEMORY);
            if table.len() >= COUNT_MAX
                && let Some(oldest) =
                    table.iter().min_by_key(|(_, own)| own.last).map(|(who, _)| who.clone())
            {
                table.remove(&oldest);
            }
        }
        let failure = table.entry(who).or_insert(Failure { count: 0, last: now });
        if now.saturating_duration_since(failure.last) >= MEMORY {
            failure.count = 0;
        }
        *failure = Failure { count: failure.count.saturating_add(1), last: now };
        failure.count
    }

    /// How long to wait until the next attempt.
    pub(super) fn wait(&self, who: &Who, now: Instant) -> Duration {
        let table = lock(&self.table);
        let Some(failure) = table.get(who) else { return Duration::ZERO };
        let Some(exponent) = failure.count.checked_sub(FREE_COUNT) else { return Duration::ZERO };
        let wait = Duration::from_secs(1 << exponent.min(10)).min(WAIT_MAX);
        wait.saturating_sub(now.saturating_duration_since(failure.last))
    }

    pub(super) fn forget(&self, who: &Who) {
        lock(&self.table).remove(who);
    }

    /// Notes a refused login for the audit.
    pub(super) fn refused(&self, peer: Option<IpAddr>) {
        let mut refused = lock(&self.refused);
        let peer = peer.map(|peer| peer.to_canonical());
        let is_known = refused.contains_key(&peer) || refused.len() < AUDIT_COUNT_MAX;
        *refused.entry(peer.filter(|_| is_known)).or_default() += 1;
    }

    pub(super) fn take_refused(&self) -> Vec<Refused> {
        let taken = std::mem::take(&mut *lock(&self.refused));
        let mut all: Vec<Refused> =
            taken.into_iter().map(|(peer, count)| Refused { peer, count }).collect();
        all.sort_by_key(|own| own.peer);
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn each_failure_after_the_third_doubles_the_wait() {
        let failures = Failures::default();
        let now = Instant::now();
        let waits: Vec<u64> = (0..11)
            .map(|_| {
                failures.failed(Who::user("ada"), now);
                failures.wait(&Who::user("ada"), now).as_secs()
            })
            .collect();

        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(failures.wait(&Who::user("ada"), now + seconds(50)), seconds(10));
        assert_eq!(failures.wait(&Who::user("bob"), now), Duration::ZERO);
        failures.forget(&Who::user("ada"));
        assert_eq!(failures.wait(&Who::user("ada"), now), Duration::ZERO);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let failures = Failures::default();
        let now = Instant::now();
        for _ in 0..9 {
            failures.failed(Who::user("ada"), now);
        }

        assert_eq!(failures.failed(Who::user("ada"), now + MEMORY), 1);
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let failures = Failures::default();
        let now = Instant::now();
        for index in 0..u32::try_from(COUNT_MAX).unwrap() + 10 {
            let address = IpAddr::from(index.to_le_bytes());
            failures.failed(Who::peer(address), now + Duration::from_nanos(index.into()));
            failures.refused(Some(address));
        }

        assert_eq!(lock(&failures.table).len(), COUNT_MAX);
        let refused = failures.take_refused();
        assert_eq!(refused.len(), AUDIT_COUNT_MAX + 1);
        assert_eq!(refused.iter().map(|own| own.count).sum::<u64>(), COUNT_MAX as u64 + 10);
        assert!(failures.take_refused().is_empty());
    }

    #[test]
    fn a_network_of_version_6_counts_as_one_peer() {
        let one: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let two: IpAddr = "2001:db8:1:2:ffff::2".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();

        assert_eq!(Who::peer(one), Who::peer(two));
        assert_ne!(Who::peer(one), Who::peer(other));
    }
}
