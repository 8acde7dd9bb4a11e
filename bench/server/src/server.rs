//! Servers as processes of their own: how they are started, watched and ended.

use std::fmt;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Client, Echo, Quipu, Result, Tephra, UmaDb};

/// How long a server may take to answer, once it was started.
const START_TIME_MAX: Duration = Duration::from_mins(1);
/// How long is waited for a server to come to rest.
const REST_TIME_MAX: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    UmaDb,
    Tephra,
    Quipu,
    /// A server that does nothing.
    Echo,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UmaDb => "UmaDB",
            Self::Tephra => "tephra",
            Self::Quipu => "quipu",
            Self::Echo => "echo",
        })
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    quipu: PathBuf,
    umadb: PathBuf,
    tephra: PathBuf,
}

impl Programs {
    /// Our own as it was built, the others where `install` puts them.
    pub(crate) fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        let target = path("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target"));
        let cache = || path("HOME").unwrap_or_default().join(".cache");
        let tools = path("QUIPU_TOOLS")
            .unwrap_or_else(|| path("XDG_CACHE_HOME").unwrap_or_else(cache).join("quipu-tools"));
        Self {
            quipu: target.join("release/quipu"),
            umadb: tools.join("servers/umadb/bin/umadb"),
            tephra: tools.join("servers/bin/tephra-server"),
        }
    }

    /// The servers that are there.
    pub(crate) fn stores(&self) -> Vec<Which> {
        let all = [
            (Which::UmaDb, &self.umadb),
            (Which::Tephra, &self.tephra),
            (Which::Quipu, &self.quipu),
        ];
        all.iter().filter(|(_, path)| path.exists()).map(|(which, _)| *which).collect()
    }

    fn command(&self, which: Which, directory: &Path, address: SocketAddr) -> Result<Command> {
        let address = address.to_string();
        let mut command = match which {
            Which::UmaDb => Command::new(&self.umadb),
            Which::Tephra => Command::new(&self.tephra),
            Which::Quipu => Command::new(&self.quipu),
            Which::Echo => Command::new(std::env::current_exe()?),
        };
        match which {
            Which::UmaDb => {
                command.args(["--listen", &address, "--db-path"]).arg(directory.join("uma.db"));
            }
            Which::Tephra => {
                command.args(["--bind", &address, "--data-dir"]).arg(directory);
            }
            Which::Quipu => {
                command.args(["serve", "--listen", &address, "--data"]).arg(directory);
            }
            Which::Echo => {
                command.args(["echo", &address]);
            }
        }
        Ok(command)
    }
}

/// A server that runs. It is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) which: Which,
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts a server on a directory, and waits until it answers. Answers how long that took, too.
    pub(crate) async fn start(
        programs: &Programs,
        which: Which,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<(Self, Duration)> {
        fs::create_dir_all(directory)?;
        let address = free_address()?;
        let log = directory.with_extension("log");
        let mut command = programs.command(which, directory, address)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let begin = Instant::now();
        let process = command.stderr(File::create(&log)?).spawn()?;
        let mut new = Self { which, address, process };
        while !new.answers().await {
            if new.process.try_wait()?.is_some() || begin.elapsed() > START_TIME_MAX {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{which} did not start: {said}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok((new, begin.elapsed()))
    }

    async fn answers(&self) -> bool {
        match self.which {
            Which::Echo => match Echo::connect(self.address).await {
                Ok(mut echo) => echo.call().await.is_ok(),
                Err(_) => false,
            },
            _ => match self.connect().await {
                Ok(mut client) => client.last().await.is_ok(),
                Err(_) => false,
            },
        }
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Client>> {
        Ok(match self.which {
            Which::UmaDb => Box::new(UmaDb::connect(self.address).await?),
            Which::Tephra => Box::new(Tephra::connect(self.address).await?),
            Which::Quipu => Box::new(Quipu::connect(self.address).await?),
            Which::Echo => return Err("an echo holds no events".into()),
        })
    }

    /// Its memory in MiB: all that is resident, and what of it is no file's.
    pub(crate) fn memory(&self) -> Result<[f64; 2]> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
            kib.map_or(f64::NAN, |kib| kib / 1024.0)
        };
        Ok([of("VmRSS:"), of("RssAnon:")])
    }

    /// Waits until it does nothing, so that what it puts off is not paid by the next.
    pub(crate) async fn rest(&self) {
        let begin = Instant::now();
        let mut quiet = 0;
        let mut before = self.ticks();
        while quiet < 2 && begin.elapsed() < REST_TIME_MAX {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = self.ticks();
            quiet = if now.saturating_sub(before) <= 1 { quiet + 1 } else { 0 };
            before = now;
        }
    }

    /// Ticks of processor time that it had so far.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.unwrap_or_default();
        // The second field is the program's name in parentheses, with whatever is in it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split(' ');
        fields.skip(12).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that nobody listens on. Somebody else may take it before the server does; that fails
/// the measurement, which is made again by hand.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
