//! How many files and connections the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the store and everything but connections keep for themselves, where there are that many.
const KEPT_COUNT: u64 = 256;

/// Asks for all that the system lets this process have, and answers how many of them connections may
/// take; `None` where there is no limit.
pub(crate) fn for_connections() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // What was there stays, where the system does not give more.
        let _as_before = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let count = getrlimit(Resource::Nofile).current?;
    let kept = KEPT_COUNT.min(count / 2);
    usize::try_from(count - kept).ok()
}
