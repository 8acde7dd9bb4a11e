//! Processes of services. Nothing is left behind, not even by a test that is killed: each process has a
//! watcher that ends it when the test's process is gone.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a service may take to start. Generous: machines that test are busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// A service's directory. A shell removes it when the service is gone, with its value or with the
/// test's process.
#[derive(Debug)]
pub(crate) struct Directory {
    cleaner: Child,
    path: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let path = tempfile::tempdir().expect("there is room for a service").keep();
        // By then the processes' own shells have ended them.
        let script = r#"cat; sleep 2; rm -rf "$1""#;
        let cleaner = shell(script).arg(&path).spawn().expect("there is a shell");
        Self { cleaner, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The shell goes on by itself.
        drop(self.cleaner.stdin.take());
    }
}

/// A service's process, and the shell that watches over it. It is killed with its value: no goodbye, as
/// when the power goes.
#[derive(Debug)]
pub(crate) struct Process {
    watcher: Child,
    id: String,
}

impl Process {
    /// Starts what the command says; of it, only the program and the arguments.
    pub(crate) fn start(command: &Command) -> Self {
        // The shell ends the process when its own input ends: with the test, however that ends.
        let script = r#""$@" </dev/null >/dev/null 2>&1 & echo $!; cat; kill -9 $!; wait"#;
        let words: Vec<&OsStr> =
            [command.get_program()].into_iter().chain(command.get_args()).collect();
        let mut watcher = shell(script).args(words).spawn().expect("there is a shell");
        let mut id = String::new();
        let told = watcher.stdout.take().expect("it is piped");
        BufReader::new(told).read_line(&mut id).expect("the shell tells the process's id");
        Self { watcher, id: id.trim().to_owned() }
    }

    /// Sends a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args([signal, &self.id]).status().expect("the program is there");
        assert!(status.success(), "{kill:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // Nothing depends on how the shell ended.
        self.watcher.wait().ok();
    }
}

/// A shell whose input ends with this process at the latest.
fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    shell
}

/// Waits until something listens there.
pub(crate) fn wait_for_port(port: u16) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "what should listen on {port} did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// That many ports that nobody listens on.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("there are free ports"))
        .collect();
    held.iter().map(|it| it.local_addr().expect("it is bound").port()).collect()
}
