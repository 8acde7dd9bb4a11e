//! Running the binary on a store of its own.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A real event log, if it is at hand: in `shared/data` in or above the workspace.
pub(crate) fn real_log(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|directory| directory.join("shared/data").join(name));
    found.into_iter().find(|path| path.is_file())
}

/// A program that tests need and a fresh machine may lack.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|at| at.join(name)).find(|at| at.is_file())
}

/// Says that a test cannot run for want of something; fails where everything has to be there.
pub(crate) fn skip(what: &str) {
    let is_required = std::env::var("QUIPU_REQUIRE_SERVICES").is_ok_and(|it| it == "1");
    assert!(!is_required, "{what}");
    eprintln!("SKIPPED: {what}");
}

/// A directory with a place for a store, removed at the end.
pub(crate) struct Store {
    directory: TempDir,
}

impl Store {
    /// A place where there is no store yet.
    pub(crate) fn missing() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A store with these lines in it.
    pub(crate) fn with(lines: &str) -> Self {
        let store = Self::missing();
        store.import(lines, &[]).ok();
        store
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The store's own directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Makes a file beside the store.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    pub(crate) fn command(&self) -> Command {
        quipu(&self.data())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(self.command().args(args), b"")
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
        run(self.command().args(args), input.as_ref())
    }

    pub(crate) fn import(&self, lines: impl AsRef<[u8]>, options: &[&str]) -> Ran {
        self.run_with_input(&[&["import", "-"], options].concat(), lines)
    }

    /// What a verb prints with `--format jsonl`.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        self.run(&[args, &["--format", "jsonl"]].concat()).ok().json()
    }

    /// Every event in the store, reserved ones too.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.json(&["read", "--all", "--system"])
    }

    /// Starts a verb that goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command().args(args))
    }
}

/// The binary on a directory, without what the environment may say.
pub(crate) fn quipu(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.env_remove("QUIPU_DATA").env_remove("RUST_BACKTRACE").arg("--data").arg(data);
    command
}

/// Runs a command to its end with an input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A verb that refuses its input may not read all of it.
        stdin.write_all(&input).is_ok()
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran { args: format!("{command:?}"), output }
}

/// A command that came to its end.
pub(crate) struct Ran {
    args: String,
    output: Output,
}

impl Ran {
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Asserts that it is done, exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code(), Some(0), "{self}");
        self
    }

    /// Asserts that the answer is no, exit code 1, with `reason` on standard error.
    #[track_caller]
    pub(crate) fn no(self, reason: &str) -> Self {
        assert_eq!(self.code(), Some(1), "{self}");
        assert!(self.err().contains(reason), "no {reason:?} in {self}");
        self
    }

    /// Asserts that it failed, exit code 2, with `reason` on standard error.
    #[track_caller]
    pub(crate) fn fails(self, reason: &str) -> Self {
        assert_eq!(self.code(), Some(2), "{self}");
        assert!(self.err().contains("error: "), "no error: in {self}");
        assert!(self.err().contains(reason), "no {reason:?} in {self}");
        self
    }

    /// Standard output.
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub(crate) fn out_bytes(&self) -> &[u8] {
        &self.output.stdout
    }

    /// Standard error.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Standard output as one JSON value a line, and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.output.stdout.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| match serde_json::from_slice(line) {
                Ok(value) => value,
                Err(error) => panic!("{error} in {:?} of {self}", String::from_utf8_lossy(line)),
            })
            .collect()
    }

    /// The value behind a label in a table of facts.
    #[track_caller]
    pub(crate) fn fact(&self, label: &str) -> String {
        let out = self.out();
        let value = out.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix("  "));
        value.unwrap_or_else(|| panic!("no {label:?} in {self}")).trim().to_owned()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, out, err) = (self.output.status, &self.output.stdout, self.err());
        let out: String = String::from_utf8_lossy(out).chars().take(2_000).collect();
        write!(f, "{}\n{code}\n-- out:\n{out}-- err:\n{err}", self.args)
    }
}

/// A command that goes on. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Option<Receiver<String>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with_errors_elsewhere(command.stderr(Stdio::inherit()))
    }

    /// As [`Running::start`], with a standard error that the caller has chosen.
    pub(crate) fn start_with_errors_elsewhere(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            // The reader, and with it the pipe, goes when nobody wants a line any more.
            for line in stdout.lines() {
                if line.is_err() || sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines: Some(lines) }
    }

    /// As [`Running::start`], with a standard output that is closed at once.
    pub(crate) fn start_with_closed_output(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        Self { stdin: child.stdin.take(), child, lines: None }
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let lines = self.lines.as_ref().expect("standard output is open");
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line came"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended without a line"),
        }
    }

    /// The next lines that it prints, each an object.
    #[track_caller]
    pub(crate) fn json(&self, count: usize) -> Vec<Value> {
        (0..count).map(|_| serde_json::from_str(&self.line()).unwrap()).collect()
    }

    /// Its process, as the system numbers it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits for the end and answers its exit code; `None` if a signal killed it.
    #[track_caller]
    pub(crate) fn end(mut self) -> Option<i32> {
        self.wait()
    }

    /// As [`Running::end`], for a command that is one of several in turn.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        drop(self.stdin.take());
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            // Not a spin: the command needs the processor more than this test.
            thread::park_timeout(Duration::from_millis(1));
        }
        panic!("it goes on")
    }

    /// Waits until something holds; fails the test if it does not come to.
    #[track_caller]
    pub(crate) fn until(&mut self, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < PATIENCE, "it did not come to that");
            assert_eq!(self.child.try_wait().unwrap(), None, "it ended early");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killing and waiting fail only where it ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `count` lines, each for a stream of its own.
pub(crate) fn lines(count: usize) -> String {
    (0..count)
        .map(|i| {
            format!("{{\"stream\":\"order-{i}\",\"type\":\"Placed\",\"data\":{{\"n\":{i}}}}}\n")
        })
        .collect()
}

/// The values of one field.
pub(crate) fn field<'a>(events: &'a [Value], name: &str) -> Vec<&'a str> {
    events.iter().map(|event| event.get(name).and_then(Value::as_str).unwrap()).collect()
}
