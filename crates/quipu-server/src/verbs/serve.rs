//! `quipu serve`: serves the store to other processes until it is told to stop.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_lite::future::block_on;
use quipu_core::{EventStore, MemoryStore, Rights};
use quipu_engine::{Engine, Recovery};
use quipu_groups::Running;
use quipu_postgres::PostgresStore;
use quipu_server::config::{Config, DatabaseUrl, LogFormat, LogLevel, Settings};
use quipu_server::relays::RelayConfig;
use quipu_server::security::{
    Authentication, Authority, Credentials, Exposure, Listen, Transport, check_exposure,
};
use quipu_server::server::{ACCESS_LOG, REQUEST_LOG, Server, Tls};
use quipu_server::service::Service;
use quipu_server::shop::LivingShop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Answer, Context};
use crate::cli::ServeArgs;
use crate::open;
use crate::output::{Fact, Value, fact};

pub(crate) fn run(args: &ServeArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let config = load(&args.settings, args.config.as_deref(), context)?;
    start_log(&config);
    // Reads run where they are asked for, and may wait for the disk: the more threads, the less
    // one of them keeps others waiting.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads((2 * cores).max(4))
        .thread_name("quipu-serve")
        .enable_all()
        .build()
        .context("could not start the server's threads")?;
    let served = {
        let _entered = runtime.enter();
        Served::open(args, &config, context)?
    };
    let answer = runtime.block_on(serve(args, config, &served, context));
    runtime.block_on(served.close_base());
    // Whatever still runs belongs to connections that were cut off.
    runtime.shutdown_background();
    served.close()?;
    answer
}

/// The configuration of a server, from the command line and a file.
pub(crate) fn load(
    settings: &Settings,
    file: Option<&Path>,
    context: &Context,
) -> anyhow::Result<Config> {
    let data = context.given_data.clone();
    let postgres = context.target.remote.postgres.clone();
    Ok(Config::load(&Settings { data, postgres, ..settings.clone() }, file)?)
}

/// The store, and what is to be done with it at the end.
struct Served {
    service: Service,
    engine: Option<Engine>,
    base: Option<PostgresStore>,
    shop: bool,
    facts: Vec<Fact>,
    /// Removed when the server has ended.
    _scratch: Option<tempfile::TempDir>,
}

impl Served {
    fn open(args: &ServeArgs, config: &Config, context: &Context) -> anyhow::Result<Self> {
        let auth = config.settings().auth.as_deref();
        if let Some(database) = &config.settings().postgres {
            if args.memory || args.sample {
                bail!("{database} is to be served, and --memory or --sample is given too");
            }
            return Self::open_base(database, config, context);
        }
        if args.memory {
            let store = MemoryStore::new();
            let system = Arc::new(store.system());
            let authority = auth.map_or_else(|| Ok(Authority::open()), Authority::load)?;
            let limits = config.limits();
            let service = Service::secured(Arc::new(store), system, limits, authority);
            let facts = vec![fact("log", Value::Text("in memory, gone at the end".to_owned()))];
            let shop = args.sample;
            return Ok(Self { service, engine: None, base: None, shop, facts, _scratch: None });
        }
        let scratch = if args.sample { Some(tempfile::tempdir()?) } else { None };
        let data = config.settings().data.as_deref().unwrap_or(&context.target.data);
        let directory = scratch.as_ref().map_or(data, tempfile::TempDir::path);
        let engine = open::for_writing_or_new(directory, Rights::Application)?;
        let facts = facts_of(&engine, directory)?;
        let authority = match (auth, args.sample) {
            (Some(path), _) => Authority::load(path)?,
            (None, false) => Authority::load(&Credentials::default_path(directory))?,
            (None, true) => Authority::open(),
        };
        let service = Service::of_engine(&engine, config.limits(), authority);
        if let Some(directory) = &config.settings().backup_dir {
            service.set_backup_directory(directory.clone());
        }
        let shop = args.sample;
        Ok(Self { service, engine: Some(engine), base: None, shop, facts, _scratch: scratch })
    }

    /// The store in a database. One that is starting, or cannot be reached, is waited for.
    fn open_base(
        database: &DatabaseUrl,
        config: &Config,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let options = database.options()?.create(true);
        let mut pause = Duration::from_millis(500);
        let base = loop {
            match block_on(options.clone().open()) {
                Ok(base) => break base,
                Err(error) if error.is_transient() => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%database, cause, retry = ?pause, "waiting for the database");
                }
                Err(error) => return Err(error.into()),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(10));
        };
        let data = config.settings().data.as_deref().unwrap_or(&context.target.data);
        let authority = match config.settings().auth.as_deref() {
            Some(path) => Authority::load(path)?,
            None => Authority::load(&Credentials::default_path(data))?,
        };
        let identity = base.identity();
        let facts = vec![
            fact("database", Value::Text(options.to_string())),
            fact("log", Value::Text(identity.name)),
            fact("incarnation", Value::Place(identity.incarnation.get())),
            fact("last", Value::Place(block_on(base.frontier())?.get())),
        ];
        let service = Service::of_postgres(&base, config.limits(), authority);
        let (engine, base) = (None, Some(base));
        Ok(Self { service, engine, base, shop: false, facts, _scratch: None })
    }

    async fn close_base(&self) {
        if let Some(base) = &self.base {
            base.close().await;
        }
    }

    fn close(self) -> anyhow::Result<()> {
        drop(self.service);
        if let Some(engine) = self.engine {
            engine.close().context("the store could not be closed in order; nothing is lost")?;
        }
        Ok(())
    }
}

fn facts_of(engine: &Engine, directory: &Path) -> anyhow::Result<Vec<Fact>> {
    let identity = engine.identity();
    let frontier = block_on(engine.frontier())?;
    let Recovery { checked_count, indexed_count, torn_size, lost_run_count, .. } =
        *engine.recovery();
    let mut facts = vec![
        fact("data", Value::Text(directory.display().to_string())),
        fact("log", Value::Text(identity.name)),
        fact("last", Value::Place(frontier.get())),
        fact("checked_again", Value::Count(checked_count)),
        fact("indexed_again", Value::Count(indexed_count)),
    ];
    if torn_size > 0 {
        facts.push(fact("torn_bytes_kept_aside", Value::Size(torn_size)));
    }
    if lost_run_count > 0 {
        facts.push(fact("runs_to_build_again", Value::Count(lost_run_count)));
    }
    Ok(facts)
}

async fn serve(
    args: &ServeArgs,
    config: Config,
    served: &Served,
    context: &mut Context,
) -> anyhow::Result<Answer> {
    // Before anything is told: who reads the address may send a signal at once.
    let mut signals = Signals::new().context("could not watch for signals")?;
    let relays = config.settings().relays.as_deref().map(RelayConfig::load_all).transpose()?;
    let address = config.listen();
    let tls = config.tls()?.map(Tls::load).transpose()?;
    check_address(&config, tls.is_some(), &served.service)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = Server::start(served.service.clone(), address, tls.clone())
        .await
        .with_context(|| format!("could not listen on {address}"))?;
    let url = format!("{scheme}://{}", server.address());
    if args.print_address {
        context.output.text(&url)?;
    } else {
        let mut facts = served.facts.clone();
        facts.push(fact("url", Value::Text(url)));
        context.output.facts(&facts)?;
    }
    context.output.flush()?;
    let relays = start_relays(relays, &served.service)?;
    let shop = served.shop.then(|| tokio::spawn(keep_shop(served.service.clone())));
    let mut config = config;
    loop {
        let wish = tokio::select! {
            wish = signals.next() => wish,
            // A client may ask for it too.
            () = served.service.stopping() => Wish::Stop,
        };
        match wish {
            Wish::Stop => break,
            Wish::Reload => {
                let newer = load(&args.settings, args.config.as_deref(), context);
                served.service.metrics().count_reload(newer.is_ok());
                match newer {
                    Ok(newer) => {
                        served.service.set_limits(newer.limits());
                        reload(&served.service, tls.as_ref());
                        config = newer;
                        tracing::info!("read the configuration again");
                    }
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "kept the configuration");
                    }
                }
            }
        }
    }
    tracing::info!(drain = ?config.limits().drain_timeout, "stopping");
    if let Some(shop) = shop {
        shop.abort();
    }
    let stop = async {
        // Relays first: what they have begun is finished, and the lease given back.
        for (name, relay) in relays {
            if let Err(error) = relay.stop().await {
                tracing::error!(relay = name, %error, "had ended");
            }
        }
        server.stop().await;
    };
    tokio::select! {
        () = stop => Ok(Answer::Yes),
        () = signals.stop_again() => bail!("stopped at once: requests under way were cut off"),
    }
}

/// Begins to publish, beside the service.
fn start_relays(
    configs: Option<Vec<RelayConfig>>,
    service: &Service,
) -> anyhow::Result<Vec<(String, Running)>> {
    let mut relays = Vec::new();
    for config in configs.into_iter().flatten() {
        relays.push((config.name().to_owned(), config.spawn(service)?));
    }
    Ok(relays)
}

/// Refuses to serve others what is not protected, unless somebody insists.
fn check_address(config: &Config, has_tls: bool, service: &Service) -> anyhow::Result<()> {
    let address = config.listen();
    let transport = if has_tls { Transport::Tls } else { Transport::Plaintext };
    let is_open = service.authority().is_open();
    let authentication = if is_open { Authentication::Open } else { Authentication::Required };
    let dangerous = config.settings().dangerously_allow_plaintext_on;
    let exposure = check_exposure(Listen::Tcp(address), transport, authentication, dangerous)?;
    service.metrics().set_insecure(exposure == Exposure::Dangerous);
    if exposure == Exposure::Dangerous {
        tracing::warn!(
            %address,
            "SERVED WITHOUT PROTECTION: who can reach this address can read and change everything"
        );
    }
    Ok(())
}

/// Reads credentials and certificates again, at once instead of when their change is noticed.
fn reload(service: &Service, tls: Option<&Tls>) {
    if let Err(error) = service.authority().refresh() {
        tracing::error!(%error, "kept the credentials");
    }
    if let Some(Err(error)) = tls.map(Tls::reload) {
        tracing::error!(%error, "kept the certificates");
    }
}

async fn keep_shop(service: Service) {
    let lived = match LivingShop::open(service.application()).await {
        Ok(shop) => shop.live().await,
        Err(error) => Err(error),
    };
    if let Err(error) = lived {
        tracing::error!(%error, "the sample shop is closed");
    }
}

fn start_log(config: &Config) {
    let settings = config.settings();
    let level = match settings.log_level.unwrap_or_default() {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let has_access_log = settings.access_log.unwrap_or_default();
    let (access, requests) = if has_access_log {
        (LevelFilter::INFO, level.max(LevelFilter::INFO))
    } else {
        (LevelFilter::OFF, level)
    };
    let filter = Targets::new()
        .with_default(level)
        .with_target(ACCESS_LOG, access)
        .with_target(REQUEST_LOG, requests);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let log = tracing_subscriber::registry().with(filter);
    match settings.log_format.unwrap_or_default() {
        LogFormat::Text => log.with(lines).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
}

/// What a signal asks for.
enum Wish {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }

    async fn stop_again(&mut self) {
        while !matches!(self.next().await, Wish::Stop) {}
    }
}
