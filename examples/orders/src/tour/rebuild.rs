//! A read model that is lost or damaged: it is built again from the log, and is the same.

use std::path::Path;
use std::time::{Duration, Instant};

use quipu::Quipu;
use quipu::projection::RunningProjection;
use sqlx::SqlitePool;

use super::bulk::Bulk;
use super::scene::{Scene, ensure};
use crate::list::{AllOrders, OrderList, Row, open_database};
use crate::order::{Order, OrderId};
use crate::shop::{Failure, append_old_order};

/// How long building may take.
const BUILD_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let app = scene.open().await?;
    let mut bulk = Bulk::default();
    for number in 0..scene.count(1_000, 100) {
        bulk.add_order(number)?;
    }
    let event_count = bulk.count();
    bulk.append(&app).await?;
    append_old_order(&app, "old").await?;

    let file = scene.path("orders.db");
    let (running, pool) = start(&app, &file).await?;
    let first = list(&app).await?;
    compare_with_replay(&app, &first).await?;
    let count = first.len();
    scene.say(format!(
        "A list of {count} orders, made from {event_count} events, is in an SQLite file."
    ));
    scene.say("It says of each order what replaying that order's events says.");

    running.stop().await?;
    pool.close().await;
    for suffix in ["", "-wal", "-shm"] {
        remove(&scene.path(&format!("orders.db{suffix}")))?;
    }
    let begun = Instant::now();
    let (running, pool) = start(&app, &file).await?;
    let second = list(&app).await?;
    let duration = begun.elapsed();
    compare("after the file was deleted", &first, &second)?;
    scene.say(format!(
        "The file is deleted. Built again in {} ms, it has the same {count} rows.",
        duration.as_millis()
    ));

    damage(&app).await?;
    let damaged = list(&app).await?;
    ensure(damaged != first, || "the list could not be damaged for the check".to_owned())?;
    running.rebuild().await?;
    let begun = Instant::now();
    let mut third = damaged;
    // Readers see it grow, so it is there when it is whole.
    while third != first && begun.elapsed() < BUILD_TIME_MAX {
        tokio::time::sleep(Duration::from_millis(10)).await;
        third = list(&app).await?;
    }
    compare("after it was built again in place", &first, &third)?;
    scene.say(
        "All totals in it are overwritten with 0. Built again in place, it is the same again.",
    );
    running.stop().await?;
    pool.close().await;
    Ok(format!("{count} rows equal, twice"))
}

/// Runs the projection into a file, until it has all that is in the log.
async fn start(
    app: &Quipu,
    file: &Path,
) -> Result<(RunningProjection<OrderList>, SqlitePool), Failure> {
    let pool = open_database(file).await?;
    let into = app.project(OrderList).into(pool.clone());
    let running = into.request_interval(Duration::from_millis(20)).spawn().await?;
    let frontier = app.store().frontier().await?;
    app.wait_for::<OrderList>(frontier).within(BUILD_TIME_MAX).await?;
    Ok((running, pool))
}

async fn list(app: &Quipu) -> Result<Vec<Row>, Failure> {
    Ok(app.view::<OrderList>()?.ask(AllOrders).await?)
}

async fn damage(app: &Quipu) -> Result<(), Failure> {
    let mut reading = app.view::<OrderList>()?.open().await?;
    let sql = reading.sql("UPDATE {order_list} SET cents = 0");
    sqlx::query(sql).execute(reading.conn()).await?;
    Ok(())
}

fn remove(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn compare(when: &str, before: &[Row], after: &[Row]) -> Result<(), Failure> {
    let (old, new) = (before.len(), after.len());
    ensure(old == new, || format!("{when} there are {new} rows, not {old}"))?;
    for (own, other) in before.iter().zip(after) {
        ensure(own == other, || format!("{when} {own:?} is {other:?}"))?;
    }
    Ok(())
}

/// Holds every row against the order that it is of, replayed by itself.
async fn compare_with_replay(app: &Quipu, rows: &[Row]) -> Result<(), Failure> {
    for row in rows {
        let order = app.load(Order::of(OrderId(row.order_id.clone()))).await?;
        let cents = order.cents.get(&row.currency).copied().unwrap_or_default();
        let is_equal = order.state.as_str() == row.state && cents == row.cents.cast_unsigned();
        ensure(is_equal, || format!("the list has {row:?}, but the order is {:?}", *order))?;
    }
    Ok(())
}
