//! A store in memory that `quipu serve` serves, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A server. It ends with its owner.
#[derive(Debug)]
pub struct Served {
    child: Child,
    url: String,
}

impl Served {
    /// Serves a new store in memory; `None`, and a line that says so, where the binary is not built:
    /// `cargo test --workspace` builds it.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            crate::skip("the binary quipu, beside the tests,");
            return None;
        };
        let mut command = Command::new(program);
        command.args(["serve", "--memory", "--listen", "127.0.0.1:0", "--print-address"]);
        command.args(["--log-level", "error"]).stdin(Stdio::null()).stdout(Stdio::piped());
        // What the environment of the tests is told is not for this server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut url).unwrap();
        let url = url.trim_end().to_owned();
        assert!(url.starts_with("http://"), "the server says where it listens, not {url:?}");
        Some(Self { child, url })
    }

    /// Where it is reached.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("QUIPU_"))
}

/// The binary that was built with the tests: beside the directory of theirs.
fn program() -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let found = tests.ancestors().skip(1).take(2).map(|directory| directory.join("quipu"));
    found.into_iter().find(|path| path.is_file())
}

impl Drop for Served {
    fn drop(&mut self) {
        // Killing and waiting fail only where it ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
