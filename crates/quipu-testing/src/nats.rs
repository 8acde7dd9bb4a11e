//! NATS with `JetStream`: a real server on this machine, of Debian's package `nats-server`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Directory, Process, free_ports, wait_for_port};

/// A server that keeps streams in files. Ends with its value.
#[derive(Debug)]
pub struct Nats {
    config: PathBuf,
    port: u16,
    process: Option<Process>,
    _directory: Directory,
}

impl Nats {
    /// Starts a server with these lines in its configuration besides; `None`, and a line that says so,
    /// where it is not installed.
    ///
    /// # Panics
    ///
    /// Where it does not start, or where it is required (`QUIPU_REQUIRE_SERVICES=1`) and not installed.
    #[must_use]
    pub fn start(settings: &str) -> Option<Self> {
        let mut version = Command::new("nats-server");
        if version.arg("--version").stdout(Stdio::null()).status().is_err() {
            crate::skip("NATS (.ci/install/nats)");
            return None;
        }
        let directory = Directory::new();
        let port = free_ports(1).pop().unwrap_or(0);
        let config = directory.path().join("nats.conf");
        let store = directory.path().join("store");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\n\
             max_payload: 8MB\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             {settings}\n",
            store.display()
        );
        fs::write(&config, text).expect("the directory is the test's");
        let mut server = Self { config, port, process: None, _directory: directory };
        server.restart();
        Some(server)
    }

    /// Where it is, as a client is told.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What it says of a stream, as JSON, without a client's library.
    ///
    /// # Panics
    ///
    /// Where it does not answer.
    pub fn stream_info(&self, stream: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let ask = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n\
             PUB $JS.API.STREAM.INFO.{stream} answer 0\r\n\r\n"
        );
        connection.write_all(ask.as_bytes()).unwrap();
        let mut lines = BufReader::new(connection).lines().map(Result::unwrap);
        lines.find(|line| line.starts_with("MSG answer")).expect("it answers");
        lines.next().expect("an answer has a content")
    }

    /// Kills it: no goodbye, as when the power goes.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it where it was killed, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn restart(&mut self) {
        let mut command = Command::new("nats-server");
        self.process = Some(Process::start(command.arg("-c").arg(&self.config)));
        wait_for_port(self.port);
    }

    /// Stops its clock: it holds its connections and does not answer.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }
}
