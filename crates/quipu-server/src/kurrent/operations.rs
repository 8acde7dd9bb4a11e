//! Work on the server and its store, as KurrentDB's clients ask for it.

use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{BoxFuture, Position};
use quipu_engine::{Engine, ScavengeOptions};
use quipu_kurrent::caller::{Operations, Scavenge};
use uuid::Uuid;

use super::OwnCaller;

/// The scavenge that was asked for last.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastScavenge(Arc<Mutex<Option<Scavenge>>>);

impl LastScavenge {
    /// Begins to scavenge, unless that is under way.
    fn start(&self, engine: Engine) -> Scavenge {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = last.as_ref().filter(|own| own.is_running) {
            return running.clone();
        }
        let id = Uuid::new_v4().hyphenated().to_string();
        let started = Scavenge { id, is_running: true };
        *last = Some(started.clone());
        let own = self.clone();
        tokio::task::spawn_blocking(move || {
            let scavenged = engine.scavenge_with(ScavengeOptions::new(), &mut |_| {});
            match scavenged {
                Ok(done) => tracing::info!(
                    events = done.event_count,
                    freed_bytes = done.freed_size,
                    "scavenged"
                ),
                Err(error) => tracing::error!(%error, "could not scavenge"),
            }
            own.end();
        });
        started
    }

    fn end(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_mut() {
            last.is_running = false;
        }
    }

    fn find(&self, id: &str) -> Option<Scavenge> {
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

    fn scavenge(&self, id: &str) -> Option<Scavenge> {
        self.access.service().kurrent().scavenge().find(id)
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
