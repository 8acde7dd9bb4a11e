//! Processes that are killed.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use tokio::sync::oneshot;

use crate::arguments::Child;

/// This program once more, as a process of its own.
pub(super) struct Process {
    child: std::process::Child,
}

impl Process {
    pub(super) fn start(child: &Child) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(child.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self { child: command.spawn()? })
    }

    /// What it prints.
    pub(super) fn output(&mut self) -> Option<impl Read + use<>> {
        self.child.stdout.take()
    }

    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Kills it: SIGKILL, which no process can put off. Whether it had to be.
    pub(super) fn kill(&mut self) -> io::Result<bool> {
        let was_alive = self.child.try_wait()?.is_none();
        self.child.kill()?;
        self.child.wait()?;
        Ok(was_alive)
    }
}

/// Waits until whoever started this process is gone: then nobody is left to kill it.
pub(super) async fn orphaned() {
    let (gone, orphaned) = oneshot::channel();
    // A thread that nobody waits for, so that it cannot keep the process from ending.
    std::thread::spawn(move || {
        // Nothing is ever written to it; it ends when the parent does.
        io::stdin().read_to_end(&mut Vec::new()).ok();
        gone.send(()).ok();
    });
    orphaned.await.ok();
}

impl Drop for Process {
    /// A check that ends early leaves no process behind.
    fn drop(&mut self) {
        // It may have been killed already, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
