//! The jobs of one round.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quipu::core::{ExpectedRevision, Position, ReadAll, Revision, collect};
use quipu::projection::{Projection, SqliteDocuments};
use quipu::{Quipu, Retry, Upcasters};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};

use crate::ours::{
    self, AccountEvent, Balance, Balances, DepositKept, DepositReplayed, append_bare,
};
use crate::report::Report;
use crate::{Error, Options, Result, theirs};

const PER_SECOND: &str = "commands/s";
const CALLERS: usize = 64;
/// What a projection into `SQLite` must do, in events a second on two cores.
const PROJECTION_BAR: f64 = 30_000.0;

/// How much is done.
struct Scale {
    histories: &'static [u64],
    /// How long each job of commands takes.
    time: Duration,
    projected: u64,
}

/// One round of every job.
pub(crate) async fn round(options: &Options, directory: &Path, report: &mut Report) -> Result<()> {
    let scale = if options.is_quick {
        Scale { histories: &[10, 10_000], time: Duration::from_millis(500), projected: 20_000 }
    } else {
        let histories = &[10, 1_000, 100_000];
        Scale { histories, time: Duration::from_secs(2), projected: 100_000 }
    };
    let is_asked =
        |row: &str| options.rows.is_empty() || options.rows.iter().any(|own| row.contains(own));
    for &history in scale.histories {
        if is_asked("history") {
            histories(&scale, history, &directory.join(format!("history-{history}")), report)
                .await?;
        }
    }
    if is_asked("callers") {
        callers(&scale, &directory.join("callers"), report).await?;
    }
    if is_asked("projection") {
        projections(&scale, &directory.join("projection"), report).await?;
    }
    if is_asked("decode") {
        decoding(report).await?;
    }
    Ok(())
}

/// One caller, one aggregate with a history.
async fn histories(
    scale: &Scale,
    history: u64,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    std::fs::create_dir(directory)?;
    let row = format!("one aggregate, history of {history}");
    let app = Quipu::open(directory.join("quipu")).await?;
    for account in ["bare", "kept", "replayed"] {
        ours::load(&app, account, history).await?;
    }
    let mut revision = history;
    let rate = repeat(scale.time, async || {
        let expected = ExpectedRevision::Exactly(Revision::new(revision - 1));
        revision += 1;
        append_bare(&app, "bare", expected).await
    });
    report.add(&row, PER_SECOND, "the bare engine, appending only", rate.await?);
    // The first command makes the snapshot.
    app.execute(DepositKept("kept".to_owned())).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let rate = repeat(scale.time, async || {
        app.execute(DepositKept("kept".to_owned())).await.map(drop).map_err(Error::from)
    });
    report.add(&row, PER_SECOND, "quipu, snapshots", rate.await?);
    let rate = repeat(scale.time, async || {
        app.execute(DepositReplayed("replayed".to_owned())).await.map(drop).map_err(Error::from)
    });
    report.add(&row, PER_SECOND, "quipu, no snapshots", rate.await?);
    drop(app);

    let pool = theirs::open(directory).await?;
    // It makes a snapshot with each hundredth event: the first command appends one of them.
    theirs::load(&pool, "kept", history - 1).await?;
    theirs::load(&pool, "replayed", history).await?;
    let framework = theirs::kept(&pool);
    theirs::deposit(&framework, "kept").await?;
    let rate = repeat(scale.time, async || theirs::deposit(&framework, "kept").await);
    report.add(&row, PER_SECOND, "cqrs-es on SQLite, snapshots", rate.await?);
    let framework = theirs::replayed(&pool);
    let rate = repeat(scale.time, async || theirs::deposit(&framework, "replayed").await);
    report.add(&row, PER_SECOND, "cqrs-es on SQLite, no snapshots", rate.await?);
    pool.close().await;
    Ok(())
}

/// 64 callers, each on an aggregate of its own, and all of them on one.
async fn callers(scale: &Scale, directory: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir(directory)?;
    let app = Quipu::open(directory.join("quipu")).await?;
    let pool = theirs::open(directory).await?;
    let framework = Arc::new(theirs::kept(&pool));
    for (row, is_one) in
        [("64 callers, an aggregate each", false), ("64 callers, one aggregate", true)]
    {
        let name = move |caller: usize| {
            if is_one { "one".to_owned() } else { format!("of {caller}") }
        };
        if !is_one {
            let shared = app.clone();
            let bare = move |caller: usize| {
                let app = shared.clone();
                async move { append_bare(&app, &name(caller), ExpectedRevision::Any).await }
            };
            let rate = repeat_all(scale.time, bare).await?;
            report.add(row, PER_SECOND, "the bare engine, appending only", rate);
        }
        let shared = app.clone();
        let deposit = move |caller: usize| {
            let app = shared.clone();
            async move {
                let retry = Retry::attempts(10_000);
                let done = app.execute(DepositKept(name(caller))).retry(retry).await;
                done.map(drop).map_err(Error::from)
            }
        };
        report.add(row, PER_SECOND, "quipu, snapshots", repeat_all(scale.time, deposit).await?);
        let shared = Arc::clone(&framework);
        let deposit = move |caller: usize| {
            let framework = Arc::clone(&shared);
            async move { theirs::deposit(&framework, &name(caller)).await }
        };
        let rate = repeat_all(scale.time, deposit).await?;
        report.add(row, PER_SECOND, "cqrs-es on SQLite, snapshots", rate);
    }
    pool.close().await;
    Ok(())
}

/// A read model in `SQLite`, built from a log of 1,000 accounts.
async fn projections(scale: &Scale, directory: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir(directory)?;
    let app = Quipu::open(directory.join("quipu")).await?;
    for account in 0..1_000 {
        ours::load(&app, &account.to_string(), scale.projected / 1_000).await?;
    }
    let end = app.store().frontier().await?;
    let row = "projection into SQLite, batches of 500";
    let pool = database(directory, "statements.db").await?;
    let rate = project(&app, Balances::<false>, pool, end, scale.projected).await?;
    report.judge(row, "events/s", "quipu, a statement an event", rate, PROJECTION_BAR);
    let pool = database(directory, "at_once.db").await?;
    let rate = project(&app, Balances::<true>, pool, end, scale.projected).await?;
    report.judge(row, "events/s", "quipu, a statement a batch", rate, PROJECTION_BAR);
    let pool = database(directory, "documents.db").await?;
    let documents = SqliteDocuments::<Balance>::new();
    let rate = project(&app, documents, pool, end, scale.projected).await?;
    report.judge(row, "events/s", "quipu, documents", rate, PROJECTION_BAR);
    drop(app);

    let pool = theirs::open(directory).await?;
    // A tenth: it makes a transaction for each event.
    for account in 0..1_000 {
        theirs::load(&pool, &account.to_string(), scale.projected / 10_000).await?;
    }
    let began = Instant::now();
    theirs::replay_view(&pool).await?;
    let rate = (scale.projected / 10) as f64 / began.elapsed().as_secs_f64();
    report.add(row, "events/s", "cqrs-es, its view, a transaction an event", rate);
    pool.close().await;
    Ok(())
}

async fn project<P: Projection<Conn = sqlx::SqliteConnection>>(
    app: &Quipu,
    projection: P,
    pool: SqlitePool,
    end: Position,
    count: u64,
) -> Result<f64> {
    let began = Instant::now();
    let running = app.project(projection).into(pool).batch(500).spawn().await?;
    app.wait_for::<P>(end).within(Duration::from_mins(10)).await?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    running.stop().await?;
    Ok(rate)
}

async fn database(directory: &Path, name: &str) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join(name))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    Ok(SqlitePool::connect_with(options).await?)
}

/// What decoding an event costs, beside what its JSON alone costs.
async fn decoding(report: &mut Report) -> Result<()> {
    const COUNT: u64 = 10_000;
    let app = Quipu::in_memory();
    ours::load(&app, "a", COUNT).await?;
    let log = app.store().read_all(ReadAll::new(app.query_of::<AccountEvent>())).await?;
    let events = collect(log.batches).await?;
    let batch: quipu::core::EventBatch = events.iter().collect();
    let upcasters = Upcasters::new();
    let each = |began: Instant| began.elapsed().as_secs_f64() * 1e9 / COUNT as f64;
    let row = "decode, an event of 190 bytes";
    let began = Instant::now();
    for event in batch.iter() {
        let decoded = quipu::decode::<AccountEvent>(event, &upcasters)?;
        std::hint::black_box(decoded);
    }
    report.add(row, "ns", "quipu, with place, tags and metadata", each(began));
    let began = Instant::now();
    for event in batch.iter() {
        let decoded: ours::Deposited = serde_json::from_slice(event.data_bytes())?;
        std::hint::black_box(decoded);
    }
    report.add(row, "ns", "its JSON alone", each(began));
    Ok(())
}

/// How often a second a job can be done, one after the other.
async fn repeat<F: AsyncFnMut() -> Result<()>>(time: Duration, mut job: F) -> Result<f64> {
    let began = Instant::now();
    let mut count = 0_u64;
    while began.elapsed() < time {
        job().await?;
        count += 1;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// How often a second all callers together can do a job, each one after the other.
async fn repeat_all<F, J>(time: Duration, job: F) -> Result<f64>
where
    F: Fn(usize) -> J,
    J: Future<Output = Result<()>> + Send + 'static,
    F: Clone + Send + 'static,
{
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let job = job.clone();
        tasks.spawn(async move {
            let mut count = 0_u64;
            while began.elapsed() < time {
                job(caller).await?;
                count += 1;
            }
            Ok::<u64, Error>(count)
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
