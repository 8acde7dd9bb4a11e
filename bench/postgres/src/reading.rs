//! Reads beside a bare `SELECT` by the same client.

use std::time::Instant;

use quipu_core::{Batches, EventStore as _, Query, ReadAll, ReadStream, StreamName};
use quipu_postgres::PostgresStore;
use quipu_testing::postgres::Server;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::Plan;
use crate::report::{Report, median};

/// How many streams are read in one round.
const STREAM_COUNT: usize = 200;
/// What a bare `SELECT` reads of an event: what an event has, in the table's order.
const COLUMNS: &str =
    "position, stream, revision, id, type, tags, content_type, data, metadata, recorded_at";
/// How many events a page has: of the store's own, so that memory is bounded alike.
const PAGE: i64 = 1_024;

pub(crate) async fn measure(
    plan: Plan,
    server: &Server,
    store: &PostgresStore,
    report: &mut Report,
) {
    let pool = PgPool::connect(&server.socket_url("own")).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "select name from quipu.streams where last >= 99 order by random() limit {STREAM_COUNT}"
    )))
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    let mut streams = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds {
        all[0].push(select_all(&pool).await);
        all[1].push(select_pages(&pool).await);
        all[2].push(read_all(store).await);
        streams[0].push(select_streams(&pool, &names).await);
        streams[1].push(read_streams(store, &names).await);
    }
    report.head("reads of the log, events", &["one SELECT", "SELECT in pages", "quipu"]);
    let all = all.map(median);
    let notes = [("of one SELECT", all[2] / all[0]), ("of pages", all[2] / all[1])];
    report.row("all of it", &all, &notes);
    report.head("reads of streams one after the other, events", &["SELECT", "quipu"]);
    let streams = streams.map(median);
    report.row("100 events of each", &streams, &[("of SELECT", streams[1] / streams[0])]);
}

/// Looks at every column.
fn take(row: &PgRow) -> usize {
    let data: &[u8] = row.get("data");
    let metadata: &[u8] = row.get("metadata");
    let (stream, event_type): (&str, &str) = (row.get("stream"), row.get("type"));
    let tags: Vec<String> = row.get("tags");
    let content_type: Option<&str> = row.get("content_type");
    let numbers: [i64; 3] = [row.get("position"), row.get("revision"), row.get("recorded_at")];
    let sizes = [data.len(), metadata.len(), stream.len(), event_type.len(), tags.len()];
    sizes.iter().sum::<usize>() + numbers.len() + content_type.map_or(0, str::len)
}

fn per_second(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

/// All events in one answer.
async fn select_all(pool: &PgPool) -> f64 {
    use tokio_stream::StreamExt as _;

    let begun = Instant::now();
    let sql = AssertSqlSafe(format!("select {COLUMNS} from quipu.events order by position"));
    let mut rows = sqlx::query(sql).fetch(pool);
    let (mut count, mut size) = (0, 0);
    while let Some(row) = rows.next().await {
        size += take(&row.unwrap());
        count += 1;
    }
    std::hint::black_box(size);
    per_second(count, begun)
}

/// All events, so many at a time.
async fn select_pages(pool: &PgPool) -> f64 {
    let begun = Instant::now();
    let (mut count, mut after, mut size) = (0, 0_i64, 0);
    loop {
        let sql = AssertSqlSafe(format!(
            "select {COLUMNS} from quipu.events where position > $1 order by position limit {PAGE}"
        ));
        let rows = sqlx::query(sql).bind(after).fetch_all(pool).await.unwrap();
        size += rows.iter().map(take).sum::<usize>();
        count += rows.len();
        match rows.last() {
            Some(last) => after = last.get("position"),
            None => break,
        }
    }
    std::hint::black_box(size);
    per_second(count, begun)
}

async fn drain(mut batches: Box<dyn Batches>) -> usize {
    let (mut count, mut size) = (0, 0);
    while let Some(batch) = batches.next().await.unwrap() {
        size += batch.iter().map(|event| event.data_bytes().len()).sum::<usize>();
        count += batch.count();
    }
    std::hint::black_box(size);
    count
}

async fn read_all(store: &PostgresStore) -> f64 {
    let begun = Instant::now();
    let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    per_second(drain(read.batches).await, begun)
}

async fn select_streams(pool: &PgPool, names: &[String]) -> f64 {
    let begun = Instant::now();
    let mut count = 0;
    for name in names {
        let sql = AssertSqlSafe(format!(
            "select {COLUMNS} from quipu.events where stream = $1 order by revision limit 100"
        ));
        let rows = sqlx::query(sql).bind(name).fetch_all(pool).await.unwrap();
        std::hint::black_box(rows.iter().map(take).sum::<usize>());
        count += rows.len();
    }
    per_second(count, begun)
}

async fn read_streams(store: &PostgresStore, names: &[String]) -> f64 {
    let begun = Instant::now();
    let mut count = 0;
    for name in names {
        let read = ReadStream::new(StreamName::new(name).unwrap()).limit(100);
        let read = store.read_stream(read).await.unwrap();
        count += drain(read.batches).await;
    }
    per_second(count, begun)
}
