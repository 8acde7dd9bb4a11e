//! The framework on a log in `PostgreSQL`: commands, and projections with every event exactly once.

use std::num::NonZeroU16;
use std::sync::Arc;

use quipu::Quipu;
use quipu::core::EventStore;
use quipu::postgres::{PostgresOptions, PostgresStore};
use quipu::projection::PgDocuments;
use quipu_testing::postgres::Server;

use super::documents::{Linked, Links};
use super::postgres::pool;
use super::sample::{append, tuned};
use quipu::events;

async fn store(server: &Server) -> PostgresStore {
    let options: PostgresOptions = server.socket_url("postgres").parse().unwrap();
    options.create(true).open().await.unwrap()
}

/// The log and the read model are in one database, and two applications write and read.
#[tokio::test(flavor = "multi_thread")]
async fn a_projection_on_a_log_in_postgres_has_every_event_once() {
    let Some(server) = Server::start() else { return };
    let nodes = [store(&server).await, store(&server).await];
    let apps = nodes.clone().map(|node| Quipu::over(Arc::new(node)));
    let pool = pool(&server).await;
    let partitions = NonZeroU16::new(4).unwrap();
    let documents = || {
        let into = apps[0].project(PgDocuments::<Links>::new()).into(pool.clone());
        tuned(into).partitions(partitions).batch(3)
    };
    let running = documents().spawn().await.unwrap();
    let mut end = quipu::Position::START;
    for number in 0..100 {
        let app = if number % 2 == 0 { &apps[0] } else { &apps[1] };
        let linked = Linked { one: format!("spoke {number}"), other: "hub".into() };
        end = append(app, events![linked]).await;
    }
    // In the middle of it the projection is started anew.
    running.stop().await.unwrap();
    for number in 100..150 {
        let linked = Linked { one: format!("spoke {number}"), other: "hub".into() };
        end = append(&apps[1], events![linked]).await;
    }
    let running = documents().spawn().await.unwrap();
    apps[0].wait_for::<PgDocuments<Links>>(end).await.unwrap();

    let view = apps[0].view::<PgDocuments<Links>>().unwrap();
    assert_eq!(view.get("hub").await.unwrap().map(|links| links.count), Some(150));
    assert_eq!(view.page("", 1_000).await.unwrap().len(), 151);
    running.stop().await.unwrap();
    let kept = nodes[1].checkpoints().list().await.unwrap();
    assert!(kept.iter().all(|name| !name.is_empty()));
}
