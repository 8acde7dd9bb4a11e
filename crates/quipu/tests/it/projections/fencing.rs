//! Of two instances of one projection, the one that was replaced changes nothing any more.

use std::sync::Arc;
use std::time::Duration;

use quipu::core::{EventStore, MemoryStore};
use quipu::{Phase, Quipu};

use super::sample::{All, Balances, balances, database, deposit, row, steal_lease};
use crate::stores::on_every_store;

#[tokio::test]
async fn the_fenced_one_steps_down_and_every_event_is_there_once() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (left, right) = (Quipu::over(Arc::clone(&store)), Quipu::over(Arc::clone(&store)));
    let (_directory, pool) = database().await;
    // So long a lease is not renewed, and its loss not noticed, during the test.
    let ttl = Duration::from_mins(10);
    let mut first = balances(&left, &pool).lease_ttl(ttl).spawn().await.unwrap();
    let position = deposit(&left, "a", 1).await;
    first.wait_until(|it| it.position >= position).await.unwrap();

    steal_lease(&*store, "balances", 1).await;
    let mut second = balances(&right, &pool).lease_ttl(ttl).spawn().await.unwrap();
    second.wait_until(|it| it.phase == Phase::Running).await.unwrap();
    let mut end = position;
    for cents in 2..=50 {
        end = deposit(&left, "a", cents).await;
    }
    second.wait_until(|it| it.position >= end).await.unwrap();
    let fenced = first.wait_until(|it| it.phase == Phase::Waiting).await.unwrap();

    assert_eq!((fenced.epoch, second.status().epoch), (1, 2));
    let all = right.view::<Balances>().unwrap().ask(All).await.unwrap();
    assert_eq!(all, [row("a", (1..=50).sum(), 50)]);
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_promotion_under_a_stale_epoch_is_refused() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let mut first =
            balances(&app, &pool).lease_ttl(Duration::from_mins(10)).spawn().await.unwrap();
        first.wait_until(|it| it.phase == Phase::Running).await.unwrap();
        steal_lease(&**app.store(), "balances", 1).await;
        // The database hears of the second one, not the first.
        let mut second = balances(&app, &pool).spawn().await.unwrap();
        second.wait_until(|it| it.phase == Phase::Running && it.epoch == 2).await.unwrap();
        sqlx::query("UPDATE quipu_generations SET epoch = 3").execute(&pool).await.unwrap();

        let promoted = second.promote().await;

        assert!(matches!(promoted, Err(quipu::KeepError::Fenced)), "{promoted:?}");
        drop((first, second));
    })
    .await;
}
