//! What is found out of a log, and how it is shown.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use quipu::{Loaded, Position, Quipu, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use crate::application::{Funnel, Stage};
use crate::waiting::{Stages, Waited, Waits};

/// The ways between stages whose times are shown.
const WAYS: [(Stage, Stage); 7] = [
    (Stage::Submitted, Stage::Preaccepted),
    (Stage::Preaccepted, Stage::Accepted),
    (Stage::Accepted, Stage::Finalized),
    (Stage::Finalized, Stage::Approved),
    (Stage::Submitted, Stage::Approved),
    (Stage::Submitted, Stage::Declined),
    (Stage::Submitted, Stage::Cancelled),
];
/// How long building the read model may take.
const BUILD_TIME: Duration = Duration::from_mins(5);

/// The funnel, with everything that was recorded by then.
pub(crate) async fn funnel_as_of(
    app: &Quipu,
    time: Timestamp,
) -> Result<Loaded<Funnel>, Box<dyn Error>> {
    Ok(app.load(Funnel::of()).as_of_time(time).await?)
}

/// How long applications waited, from a read model in a database that is built for it.
pub(crate) async fn waiting_times(
    app: &Quipu,
    database: &Path,
    position: Position,
) -> Result<Vec<(Stage, Stage, Option<Waited>)>, Box<dyn Error>> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().connect_with(options).await?;
    let running = app.project(Stages).into(pool).batch(5_000).spawn().await?;
    app.wait_for::<Stages>(position).within(BUILD_TIME).await?;
    let view = app.view::<Stages>()?;
    let mut times = Vec::new();
    for (from, to) in WAYS {
        times.push((from, to, view.ask(Waits { from, to }).await?));
    }
    running.stop().await?;
    Ok(times)
}

/// Two funnels beside each other.
pub(crate) fn funnel_table(now: &Funnel, then: &Funnel) -> String {
    let mut text = format!("  {:<12} {:>7} {:>6}   {:>7} {:>6}\n", "", "all", "", "by then", "");
    let mut row = |name: &str, now_count: u64, then_count: u64| {
        let now_share = share(now_count, now.count(Stage::Submitted));
        let then_share = share(then_count, then.count(Stage::Submitted));
        let line =
            format!("  {name:<12} {now_count:>7} {now_share}   {then_count:>7} {then_share}\n");
        text.push_str(&line);
    };
    for stage in Stage::ALL {
        row(stage.name(), now.count(stage), then.count(stage));
    }
    row("open", now.open_count(), then.open_count());
    let mean = |funnel: &Funnel| funnel.requested / funnel.count(Stage::Submitted).max(1);
    let (now, then) = (mean(now), mean(then));
    text + &format!("  {:<12} {now:>7} {:>6}   {then:>7}\n", "mean amount", "")
}

fn share(count: u64, all: u64) -> String {
    format!("{:>5}%", count * 100 / all.max(1))
}

pub(crate) fn waiting_table(times: &[(Stage, Stage, Option<Waited>)]) -> String {
    let mut text = format!("  {:<26} {:>7} {:>12} {:>12}\n", "", "count", "median", "p90");
    for (from, to, waited) in times {
        let way = format!("{} to {}", from.name(), to.name());
        let cells = match waited {
            Some(waited) => {
                let (median, p90) = (duration(waited.median_us), duration(waited.p90_us));
                format!("{:>7} {median:>12} {p90:>12}", waited.count)
            }
            None => format!("{:>7}", 0),
        };
        writeln!(text, "  {way:<26} {cells}").expect("a string takes all that is written to it");
    }
    text
}

/// A duration in its two largest units.
fn duration(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {:02} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes:02} min"),
        (_, _, _) => format!("{days} d {hours:02} h"),
    }
}
