//! Work on the server and its store, as KurrentDB's clients ask for it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_core::{BoxFuture, Position};
use quipu_engine::{Engine, ScavengeError, ScavengeOptions};
use quipu_kurrent::caller::{Operations, Scavenge};
use tokio::sync::watch;
use uuid::Uuid;

use super::OwnCaller;

/// How long a client that stops a scavenge waits for it: it ends at its next segment.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The scavenge that was asked for last.
#[derive(Debug, Default)]
pub(crate) struct LastScavenge(Mutex<Option<Run>>);

/// A scavenge, under way or over.
#[derive(Clone, Debug)]
struct Run {
    id: String,
    is_stopping: Arc<AtomicBool>,
    /// Has a sender for as long as the scavenge is under way.
    under_way: watch::Receiver<()>,
}

impl Run {
    fn scavenge(&self) -> Scavenge {
        Scavenge { id: self.id.clone(), is_running: self.under_way.has_changed().is_ok() }
    }

    /// Begins to scavenge in the background.
    fn start(engine: Engine) -> Self {
        let (lives, under_way) = watch::channel(());
        let is_stopping = Arc::new(AtomicBool::new(false));
        let asked_to_stop = Arc::clone(&is_stopping);
        tokio::task::spawn_blocking(move || {
            let mut go_on = |_| {
                let is_stopping = asked_to_stop.load(Ordering::Relaxed);
                if is_stopping { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            match engine.scavenge_with(ScavengeOptions::new(), &mut go_on) {
                Ok(done) => tracing::info!(
                    events = done.event_count,
                    freed_bytes = done.freed_size,
                    "scavenged"
                ),
                Err(ScavengeError::Cancelled) => tracing::info!("scavenging was stopped"),
                Err(error) => tracing::error!(%error, "could not scavenge"),
            }
            drop(lives);
        });
        Self { id: Uuid::new_v4().hyphenated().to_string(), is_stopping, under_way }
    }

    async fn stop(mut self) -> Scavenge {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Nothing is ever sent: that the sender is gone, or that it takes too long, ends the wait.
        tokio::time::timeout(STOP_PATIENCE, self.under_way.changed()).await.ok();
        self.scavenge()
    }
}

impl LastScavenge {
    /// Begins to scavenge, unless that is under way.
    fn start(&self, engine: Engine) -> Scavenge {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = last.as_ref().map(Run::scavenge).filter(|own| own.is_running) {
            return running;
        }
        last.insert(Run::start(engine)).scavenge()
    }

    fn find(&self, id: &str) -> Option<Run> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().filter(|own| own.id == id)
    }
}

impl Operations for OwnCaller {
    fn start_scavenge(&self) -> Option<Scavenge> {
        let service = self.access.service();
        let engine = service.engine()?;
        Some(service.kurrent().scavenge().start(engine.clone()))
    }

    fn stop_scavenge<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Scavenge>> {
        let found = self.access.service().kurrent().scavenge().find(id);
        Box::pin(async move { Some(found?.stop().await) })
    }

    fn shut_down(&self) {
        tracing::info!(principal = self.access.principal(), "asked to stop");
        self.access.service().stop();
    }

    fn statistics(&self) -> BoxFuture<'_, Vec<(String, String)>> {
        Box::pin(async move {
            let service = self.access.service();
            let frontier = service.store().frontier().await.map_or(0, Position::get);
            let mut facts = vec![
                ("proc-id".to_owned(), std::process::id().to_string()),
                ("es-frontier".to_owned(), frontier.to_string()),
            ];
            if let Some(stats) = service.engine().and_then(|engine| engine.stats().ok()) {
                let counted = [
                    ("es-event-count", stats.event_count),
                    ("es-stream-count", stats.stream_count),
                    ("es-segment-count", stats.segment_count),
                    ("es-log-bytes", stats.log_size),
                    ("es-index-bytes", stats.index_size),
                ];
                let text = |(name, count): (&str, u64)| (name.to_owned(), count.to_string());
                facts.extend(counted.map(text));
            }
            facts
        })
    }
}
