//! Many subscriptions at once.

use std::error::Error;
use std::future::IntoFuture;

use quipu::{ExecuteError, Quipu, Retry};
use tokio::task::JoinSet;

use crate::course::{Refusal, Subscribe};

/// How often a subscription is decided. Each time that it loses, the course has one place less or the
/// student one course more, so that this is never used up.
const ATTEMPTS_MAX: u32 = 50;

/// What came of subscriptions that were sent at once.
#[derive(Debug, Default)]
pub(crate) struct Race {
    /// For each one that got in, how often it was decided.
    pub(crate) attempts: Vec<u32>,
    /// Why the others did not.
    pub(crate) refusals: Vec<Refusal>,
}

/// Sends each subscription from a task of its own, and waits for all of them.
pub(crate) async fn race(
    app: &Quipu,
    subscriptions: impl IntoIterator<Item = Subscribe>,
) -> Result<Race, Box<dyn Error>> {
    let mut tasks = JoinSet::new();
    for subscribe in subscriptions {
        let execute = app.execute(subscribe).retry(Retry::attempts(ATTEMPTS_MAX).jitter());
        tasks.spawn(execute.into_future());
    }
    let mut race = Race::default();
    while let Some(done) = tasks.join_next().await {
        match done? {
            Ok(done) => race.attempts.push(done.attempts),
            Err(ExecuteError::Rejected(refusal)) => race.refusals.push(refusal),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(race)
}
