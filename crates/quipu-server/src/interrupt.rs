//! Noticing that nobody wants more: a signal, or a reader of standard output that went away.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use event_listener::Event;
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Raised by SIGINT, SIGTERM, SIGHUP, and by the closing of the pipe that standard output is.
///
/// The first signal asks for a clean end; a second one ends the process the way it does by
/// default.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    event: Event,
}

impl Interrupt {
    /// Begins to watch for signals.
    pub(crate) fn on_signal() -> io::Result<Self> {
        let own = Self(Arc::default());
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let other = own.clone();
        thread::spawn(move || {
            for signal in signals.forever() {
                if other.is_raised()
                    && signal_hook::low_level::emulate_default_handler(signal).is_err()
                {
                    return;
                }
                other.raise();
            }
        });
        Ok(own)
    }

    /// Watches for the closing of standard output too. Without it a pipe's closing shows only at
    /// the next write, which may never come.
    pub(crate) fn or_closed_output(self) -> Self {
        let other = self.clone();
        thread::spawn(move || {
            let stdout = io::stdout();
            // Asked for nothing, poll still reports errors and hang-ups.
            let mut files = [PollFd::new(&stdout, PollFlags::empty())];
            while matches!(poll(&mut files, None), Ok(0) | Err(rustix::io::Errno::INTR)) {}
            other.raise();
        });
        self
    }

    /// Whether it was raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Waits until it is raised.
    pub(crate) async fn wait(&self) {
        while !self.is_raised() {
            let listener = self.0.event.listen();
            // Raised between the look and the listening, nobody would be told.
            if self.is_raised() {
                return;
            }
            listener.await;
        }
    }

    fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.event.notify(usize::MAX);
    }
}
