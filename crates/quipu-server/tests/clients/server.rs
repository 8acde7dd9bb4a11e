//! A server in a process of its own, which a client may ask to be started again.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The password of the user `ada` of a secure server.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

pub(crate) struct Server {
    directory: TempDir,
    is_secure: bool,
    address: SocketAddr,
    child: Child,
}

impl Server {
    /// One that anybody on this machine may use.
    pub(crate) fn open() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), false)
    }

    /// One with TLS, and one user, who may do everything.
    pub(crate) fn secure() -> Self {
        let directory = tempfile::tempdir().unwrap();
        run(quipu(&directory).args(["cert", "init"]).arg(directory.path().join("tls")), "");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        run(quipu(&directory).args(["user", "add", "ada", "--role", "admin"]), PASSWORD);
        Self::in_directory(directory, true)
    }

    fn in_directory(directory: TempDir, is_secure: bool) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, address) = start(&directory, is_secure, any);
        Self { directory, is_secure, address, child }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the authority that vouches for a secure server.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.path().join("tls/ca.pem")
    }

    /// Runs a client to its end. Where it asks for it, the server is stopped and started again.
    pub(crate) fn play(&mut self, command: &mut Command) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut client = command.spawn().unwrap();
        let mut stdin = client.stdin.take().unwrap();
        let mut last = String::new();
        for line in BufReader::new(client.stdout.take().unwrap()).lines() {
            last = line.unwrap();
            if last == "restart" {
                self.restart();
                stdin.write_all(b"restarted\n").unwrap();
                stdin.flush().unwrap();
            }
        }
        let status = client.wait().unwrap();
        assert!(status.success(), "{command:?}: {status}, after {last:?}");
        assert_eq!(last, "done", "{command:?}");
    }

    fn restart(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
        (self.child, self.address) = start(&self.directory, self.is_secure, self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing and waiting fail only where it ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn quipu(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.env_remove("QUIPU_DATA").arg("--data").arg(directory.path().join("data"));
    command
}

fn run(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "{command:?}");
}

fn start(directory: &TempDir, is_secure: bool, address: SocketAddr) -> (Child, SocketAddr) {
    let mut command = quipu(directory);
    command.args(["serve", "--print-address", "--log-level", "warn", "--listen"]);
    command.arg(address.to_string());
    if is_secure {
        let tls = directory.path().join("tls");
        command.arg("--tls-cert").arg(tls.join("server.pem"));
        command.arg("--tls-key").arg(tls.join("server-key.pem"));
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit('/').next().unwrap().parse().unwrap();
    (child, address)
}
