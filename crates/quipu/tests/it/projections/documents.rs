//! Read models of documents: one fold for each key.

use quipu::projection::{Document, SqliteDocuments};
use quipu::testing::project;
use quipu::{Event, Recorded, events};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::sample::{append, database};
use crate::bank::{AccountEvent, AccountOpened, FundsDeposited, id};
use crate::stores::on_every_store;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    owner: String,
    cents: u64,
}

impl Document for Row {
    type Event = AccountEvent;
    const NAME: &'static str = "rows";
    const KEY: &'static str = "account";

    fn apply(&mut self, event: &Recorded<AccountEvent>) {
        match &event.event {
            AccountEvent::Opened(opened) => self.owner.clone_from(&opened.owner),
            AccountEvent::Deposited(deposited) => self.cents += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.cents -= withdrawn.cents,
        }
    }
}

fn opened(account: &str, owner: &str) -> AccountOpened {
    AccountOpened { account: id(account), owner: owner.into() }
}

fn deposited(account: &str, cents: u64) -> FundsDeposited {
    FundsDeposited { account: id(account), cents }
}

#[tokio::test]
async fn every_key_has_its_document_and_nothing_is_folded_twice() {
    project(SqliteDocuments::<Row>::new())
        .sqlite_memory()
        .given(events![
            opened("a", "Ana"),
            opened("b", "Ben"),
            deposited("a", 5),
            deposited("a", 7)
        ])
        .crash_after_each()
        .then_rows(
            "SELECT key, document FROM {rows} ORDER BY key",
            json!([
                { "key": "a", "document": r#"{"owner":"Ana","cents":12}"# },
                { "key": "b", "document": r#"{"owner":"Ben","cents":0}"# },
            ]),
        )
        .await;
}

#[tokio::test]
async fn documents_are_found_by_their_key_and_read_page_by_page() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        append(&app, events![opened("a", "Ana"), opened("b", "Ben")]).await;
        let end = append(&app, events![opened("c", "Cyd"), deposited("b", 5)]).await;

        let running = app.project(SqliteDocuments::<Row>::new()).into(pool).spawn().await.unwrap();
        app.wait_for::<SqliteDocuments<Row>>(end).await.unwrap();

        let view = app.view::<SqliteDocuments<Row>>().unwrap();
        assert_eq!(view.get("b").await.unwrap(), Some(Row { owner: "Ben".into(), cents: 5 }));
        assert_eq!(view.get("d").await.unwrap(), None);
        let keys =
            |page: Vec<(String, Row)>| page.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(view.page("", 2).await.unwrap()), ["a", "b"]);
        assert_eq!(keys(view.page("b", 2).await.unwrap()), ["c"]);
        running.stop().await.unwrap();
    })
    .await;
}

/// Is about two accounts.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "bank.accounts-linked")]
pub(crate) struct Linked {
    #[tag("account")]
    pub(crate) one: String,
    #[tag("account")]
    pub(crate) other: String,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Links {
    pub(crate) count: u32,
}

impl Document for Links {
    type Event = Linked;
    const NAME: &'static str = "links";
    const KEY: &'static str = "account";

    fn apply(&mut self, _linked: &Recorded<Linked>) {
        self.count += 1;
    }
}

#[tokio::test]
async fn an_event_of_two_keys_changes_both_documents() {
    let linked = |one: &str, other: &str| Linked { one: one.into(), other: other.into() };

    project(SqliteDocuments::<Links>::new())
        .sqlite_memory()
        .given(events![linked("a", "b"), linked("b", "c")])
        .then_rows(
            "SELECT key, document FROM {links} ORDER BY key",
            json!([
                { "key": "a", "document": r#"{"count":1}"# },
                { "key": "b", "document": r#"{"count":2}"# },
                { "key": "c", "document": r#"{"count":1}"# },
            ]),
        )
        .await;
}
