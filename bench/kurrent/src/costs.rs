//! Whose processor time a job takes: both ends are in this process, on threads of their own.

use std::fs;
use std::time::Instant;

/// The name of the threads on which clients run. All others are the server's.
pub(crate) const CLIENTS: &str = "clients";

/// Processor time an event, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Costs {
    pub(crate) client: f64,
    pub(crate) server: f64,
}

/// Does a job that answers how many events a second it did, and counts what that cost.
pub(crate) async fn of(job: impl Future<Output = f64>) -> (f64, Costs) {
    let (before, begin) = (spent(), Instant::now());
    let rate = job.await;
    let (after, events) = (spent(), rate * begin.elapsed().as_secs_f64());
    let of_event = |nanos: u64| nanos as f64 / 1e3 / events;
    let client = of_event(after.0.saturating_sub(before.0));
    (rate, Costs { client, server: of_event(after.1.saturating_sub(before.1)) })
}

/// What the clients' threads and all others had of the processors so far, in nanoseconds.
fn spent() -> (u64, u64) {
    let (mut clients, mut others) = (0, 0);
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end meanwhile.
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let spent = read("schedstat").split(' ').next().and_then(|it| it.parse().ok());
        let of = if read("comm").trim() == CLIENTS { &mut clients } else { &mut others };
        *of += spent.unwrap_or(0);
    }
    (clients, others)
}
