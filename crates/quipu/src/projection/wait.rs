//! Waiting until a read model has what was just appended.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use quipu_core::{BoxFuture, Position};
use quipu_groups::{KeepError, Phase, RunnerStatus, SlicePlaces};
use tokio::time::{sleep, timeout};

use super::books::explain;
use super::database::Connection;
use super::{Known, Projection};
use crate::app::Quipu;

/// How long to wait between looks at a read model that another process fills.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A wait that is about to begin. Await it.
#[derive(Debug)]
#[must_use = "the wait begins when this is awaited"]
pub struct WaitFor<P> {
    app: Quipu,
    position: Position,
    within: Duration,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> WaitFor<P> {
    pub(crate) fn new(app: Quipu, position: Position) -> Self {
        Self { app, position, within: Duration::from_secs(5), projection: PhantomData }
    }

    /// Waits that long at most; five seconds unless told otherwise.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = duration;
        self
    }

    async fn run(self) -> Result<(), WaitError> {
        let known = self.app.known::<P>().ok_or(WaitError::Unknown { projection: P::NAME })?;
        let arrived = timeout(self.within, arrive(&known, self.position)).await;
        arrived.unwrap_or(Err(WaitError::TooLate { within: self.within }))
    }
}

impl<P: Projection> IntoFuture for WaitFor<P> {
    type Output = Result<(), WaitError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

async fn arrive<P: Projection>(known: &Known<P>, position: Position) -> Result<(), WaitError> {
    let mut status = known.status.clone();
    loop {
        // What runs here tells at once; what runs elsewhere shows in the database.
        if let Some(status) = &mut status
            && status.borrow().phase == Phase::Running
        {
            let is_over = |it: &RunnerStatus| {
                it.position >= position || it.phase != Phase::Running || is_stuck(it, position)
            };
            let Ok(now) = status.wait_for(is_over).await.map(|now| now.clone()) else { continue };
            if now.position >= position {
                return Ok(());
            }
            if let Some(at) = now.stopped.iter().find(|at| at.position <= position) {
                return Err(WaitError::Stopped { position: at.position, cause: at.cause.clone() });
            }
            continue;
        }
        if reached(known).await.map_err(WaitError::Unavailable)? >= position {
            return Ok(());
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn is_stuck(status: &RunnerStatus, position: Position) -> bool {
    status.stopped.iter().any(|at| at.position <= position)
}

/// How far the read model is, by its own word.
async fn reached<P: Projection>(known: &Known<P>) -> Result<Position, KeepError> {
    let model = &known.model;
    model.prepare().await?;
    let mut conn = P::Conn::hold(&model.pool).await.map_err(explain::<P>)?;
    let rows = model.places(&mut conn).await.map_err(explain::<P>)?;
    Ok(SlicePlaces::from_rows(&rows, Position::START).lowest())
}

/// Why it is not known that the read model has what was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The application was not told of the projection: run it here, or
    /// [`view`](super::ProjectInto::view) it.
    #[error("the projection \"{projection}\" is not known here: run it, or view it")]
    Unknown {
        /// The projection's name.
        projection: &'static str,
    },
    /// It did not come in time. It may come later.
    #[error("the read model did not come that far within {within:?}")]
    TooLate {
        /// How long was waited.
        within: Duration,
    },
    /// The projection stopped at an earlier event. Somebody has to see to it.
    #[error("the projection stopped at position {position}: {cause}")]
    Stopped {
        /// The event.
        position: Position,
        /// What went wrong.
        cause: String,
    },
    /// The read model could not be asked.
    #[error("the read model could not be asked")]
    Unavailable(#[source] KeepError),
}
