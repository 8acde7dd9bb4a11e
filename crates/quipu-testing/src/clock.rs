//! A wall clock that a test sets, for the processes that it starts.
//!
//! It is what somebody does who sets a machine's clock: the time of day jumps, and the time that passes
//! goes on as before. It works through libfaketime, which `.ci/install/faketime` installs, and not for
//! Java.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The clock of the processes that go by it.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    directory: TempDir,
}

impl Clock {
    /// A clock that is right; `None`, and a line that says so, where libfaketime is not installed.
    pub fn new() -> Option<Self> {
        let systems = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let libraries = systems.map(|system| system.path().join("faketime/libfaketime.so.1"));
        let Some(library) = libraries.into_iter().find(|library| library.exists()) else {
            crate::skip("libfaketime (.ci/install/faketime)");
            return None;
        };
        let clock = Self { library, directory: tempfile::tempdir().unwrap() };
        clock.set(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Sets the clock to so many seconds after what is right, or before. Processes notice within a
    /// second.
    pub fn set(&self, seconds: i64) {
        let text = format!("{seconds:+}\n");
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, text).unwrap();
        // Whoever reads it sees one or the other.
        std::fs::rename(draft, self.file()).unwrap();
    }

    /// Lets a command go by it.
    pub fn govern(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_CACHE_DURATION", "1");
        // The time that passes, and those of files, are as they are.
        command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.env("NO_FAKE_STAT", "1");
    }
}
