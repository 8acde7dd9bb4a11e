//! What the bank promises.

use quipu::projection::SqliteDocuments;
use quipu::testing::{given, project};
use quipu::{Quipu, events};
use quipu_testing::served::Served;

use crate::account::{
    Account, AccountOpened, Deposit, ListedAccount, MoneyDeposited, MoneyWithdrawn, Open, Refusal,
    Transfer,
};
use crate::id;

fn opened(account: &str) -> AccountOpened {
    AccountOpened { account: id(account), owner: "Ana".into() }
}

fn deposited(account: &str, cents: u64) -> MoneyDeposited {
    MoneyDeposited { account: id(account), cents }
}

#[test]
fn an_account_is_opened_once() {
    let open = || Open { account: id("a"), owner: "Ana".into() };

    given(events![]).when(open()).then(events![opened("a")]);
    given(events![opened("a")]).when(open()).then_rejected(&Refusal::Open);
}

#[test]
fn money_goes_only_to_accounts_that_there_are() {
    let transfer = Transfer { from: id("a"), to: id("b"), cents: 5 };

    given(events![opened("a"), deposited("a", 10)])
        .when(transfer)
        .then_rejected(&Refusal::NotOpen(id("b")));
}

#[test]
fn a_transfer_takes_from_one_and_gives_to_the_other() {
    let transfer = |cents| Transfer { from: id("a"), to: id("b"), cents };
    let history = || events![opened("a"), opened("b"), deposited("a", 10)];

    given(history())
        .when(transfer(10))
        .then(events![MoneyWithdrawn { account: id("a"), cents: 10 }, deposited("b", 10),]);
    given(history()).when(transfer(11)).then_rejected(&Refusal::TooLittle { balance: 10 });
}

#[tokio::test]
async fn of_two_transfers_of_the_last_money_one_is_refused() {
    let app = Quipu::in_memory();
    for account in ["a", "b"] {
        app.execute(Open { account: id(account), owner: account.into() }).await.unwrap();
    }
    app.execute(Deposit { account: id("a"), cents: 10 }).await.unwrap();
    let transfer = || app.execute(Transfer { from: id("a"), to: id("b"), cents: 10 });

    let (first, second) = tokio::join!(transfer(), transfer());

    let refused = [&first, &second].into_iter().filter_map(|done| done.as_ref().err());
    let refusals: Vec<_> = refused.map(|error| error.rejection()).collect();
    assert_eq!(refusals, [Some(&Refusal::TooLittle { balance: 0 })]);
    assert_eq!(app.load(Account::of(id("b"))).await.unwrap().cents, 10);
}

#[tokio::test]
async fn the_list_has_every_account_with_its_balance() {
    let withdrawn = MoneyWithdrawn { account: id("a"), cents: 4 };

    project(SqliteDocuments::<ListedAccount>::new())
        .sqlite_memory()
        .given(events![opened("a"), opened("b"), deposited("a", 10), withdrawn])
        .crash_after_each()
        .then_rows(
            "SELECT key, document FROM {accounts} ORDER BY key",
            serde_json::json!([
                { "key": "a", "document": r#"{"owner":"Ana","cents":6}"# },
                { "key": "b", "document": r#"{"owner":"Ana","cents":0}"# },
            ]),
        )
        .await;
}

#[tokio::test]
async fn all_of_it_works_on_a_store_that_is_served() {
    let Some(served) = Served::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open_url(served.url()).await.unwrap();

    crate::run(&app, directory.path()).await.unwrap();
}
