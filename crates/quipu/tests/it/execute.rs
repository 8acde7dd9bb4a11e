//! Commands: decided on what is there, appended only if it still is.

use quipu::{ExecuteError, Revision};

use crate::bank::{Account, Balance, BankError, Transfer, deposit, id, open, withdraw};
use crate::stores::on_every_store;

#[tokio::test]
async fn what_a_command_decided_is_what_is_loaded() {
    on_every_store(async |app| {
        app.execute(open("a")).await.unwrap();
        let done = app.execute(deposit("a", 100)).await.unwrap();
        app.execute(withdraw("a", 30)).await.unwrap();

        let account = app.load(Account::of(id("a"))).await.unwrap();
        let balance = app.load(Balance::of(id("a"))).await.unwrap();
        let both = app.load((Balance::of(id("a")), Account::of(id("b")))).await.unwrap();

        assert_eq!((done.attempts, done.replayed, done.events.len()), (1, false, 1));
        assert_eq!(done.value::<u64>().unwrap(), Some(100));
        assert_eq!((account.balance, account.revision()), (70, Some(Revision::new(2))));
        assert_eq!((balance.cents, balance.revision()), (70, None));
        assert_eq!((both.0.cents, both.1.is_open), (70, false));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_appends_nothing() {
    on_every_store(async |app| {
        let refused = app.execute(deposit("a", 100)).idempotency_key("k").await.unwrap_err();

        assert_eq!(refused.rejection(), Some(&BankError::NotOpen));
        assert_eq!(app.store().frontier().await.unwrap().get(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_tuple_of_models_is_one_boundary() {
    on_every_store(async |app| {
        for account in ["a", "b"] {
            app.execute(open(account)).await.unwrap();
        }
        app.execute(deposit("a", 100)).await.unwrap();

        let transfer = |cents| Transfer { from: id("a"), to: id("b"), cents };
        app.execute(transfer(60)).await.unwrap();
        let refused = app.execute(transfer(60)).await.unwrap_err();

        let Err(ExecuteError::Rejected(refusal)) = Err::<(), _>(refused) else {
            panic!("expected a refusal");
        };
        assert_eq!(refusal, BankError::Insufficient { balance: 40 });
        let (a, b) =
            app.load((Balance::of(id("a")), Balance::of(id("b")))).await.unwrap().into_state();
        assert_eq!((a.cents, b.cents), (40, 60));
    })
    .await;
}
