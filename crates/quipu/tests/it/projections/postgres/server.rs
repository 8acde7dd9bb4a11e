//! A `PostgreSQL` of its own for one test, in a directory, on a socket.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;

pub(super) struct Server {
    directory: TempDir,
    programs: PathBuf,
}

impl Server {
    /// Starts a server; `None`, and a line that says so, where `PostgreSQL` is not installed.
    #[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
    pub(super) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            let is_required = std::env::var("QUIPU_REQUIRE_SERVICES").is_ok_and(|it| it == "1");
            assert!(!is_required, "PostgreSQL is required, and its initdb is not installed");
            eprintln!("skipped: PostgreSQL's initdb is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let server = Self { directory, programs };
        if is_root() {
            // PostgreSQL does not run as root.
            let path = server.directory.path().display().to_string();
            done(Command::new("chown").args(["postgres", &path]));
        }
        let data = server.data();
        done(
            server
                .command("initdb")
                .args(["--auth=trust", "--username=quipu", "--no-sync", "-D"])
                .arg(data),
        );
        server.resume();
        Some(server)
    }

    /// Lets it run (again).
    pub(super) fn resume(&self) {
        let socket = self.directory.path().display();
        let options = format!("-k {socket} -c listen_addresses='' -c fsync=off");
        let log = self.directory.path().join("log");
        let mut start = self.command("pg_ctl");
        done(
            start
                .args(["start", "-w", "-s", "-o", &options, "-l"])
                .arg(log)
                .arg("-D")
                .arg(self.data()),
        );
    }

    /// Lets it crash.
    pub(super) fn stop(&self) {
        let mut stop = self.command("pg_ctl");
        done(stop.args(["stop", "-m", "immediate", "-w", "-s", "-D"]).arg(self.data()));
    }

    pub(super) async fn pool(&self) -> PgPool {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.directory.path())
            .username("quipu")
            .database("postgres");
        let pool = PgPoolOptions::new().max_connections(10);
        let pool = pool.acquire_timeout(Duration::from_secs(2));
        pool.connect_with(options).await.unwrap()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").stdout(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "-m", "immediate", "-w", "-s", "-D"]).arg(self.data());
        // It may be down already, and nothing of it is kept.
        stop.stderr(Stdio::null()).status().ok();
    }
}

fn done(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}");
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// Where `PostgreSQL`'s programs are: the newest of Debian's, or those that are found by name.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.retain(|programs| programs.join("initdb").exists());
    found.sort();
    found.pop().or_else(|| {
        let path = std::env::var_os("PATH")?;
        let mut all = std::env::split_paths(&path);
        all.find(|programs: &PathBuf| Path::new(programs).join("initdb").exists())
    })
}
