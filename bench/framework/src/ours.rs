//! The account of the bench on Quipu: with snapshots, without, and its read models.

use std::convert::Infallible;

use quipu::core::{Append, ExpectedRevision, NewEvent};
use quipu::projection::{ApplyError, Document, Generation, Projection};
use quipu::{
    Aggregate, Command, Ctx, Event, EventSet, Events, Evolve, Quipu, Recorded, StreamName, events,
};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Events an append while a history is made.
const LOAD: u64 = 1_000;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "bank.money-deposited")]
pub(crate) struct Deposited {
    #[tag]
    account: String,
    cents: u64,
    purpose: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "bank.account-closed")]
pub(crate) struct Closed {
    #[tag]
    account: String,
}

#[derive(EventSet)]
pub(crate) enum AccountEvent {
    Deposited(Deposited),
    Closed(Closed),
}

/// An account of which a snapshot is kept every 100 events.
#[derive(Aggregate, Clone, Serialize, Deserialize)]
#[aggregate(events = AccountEvent, snapshot(every = 100))]
pub(crate) struct Kept {
    #[key("account")]
    id: String,
    cents: u64,
    count: u64,
    is_closed: bool,
}

impl Evolve for Kept {
    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Deposited(deposited) => {
                self.cents += deposited.cents;
                self.count += 1;
            }
            AccountEvent::Closed(_) => self.is_closed = true,
        }
    }
}

/// An account that is replayed from its first event.
#[derive(Aggregate, Clone)]
#[aggregate(events = AccountEvent)]
pub(crate) struct Replayed {
    #[key("account")]
    id: String,
    cents: u64,
    count: u64,
    is_closed: bool,
}

impl Evolve for Replayed {
    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Deposited(deposited) => {
                self.cents += deposited.cents;
                self.count += 1;
            }
            AccountEvent::Closed(_) => self.is_closed = true,
        }
    }
}

/// A deposit into an account with snapshots.
pub(crate) struct DepositKept(pub(crate) String);

impl Command for DepositKept {
    type Model = Kept;
    type Error = Infallible;

    fn model(&self) -> Kept {
        Kept::of(self.0.clone())
    }

    fn decide(&self, account: &Kept, _ctx: &Ctx) -> std::result::Result<Events, Infallible> {
        Ok(if account.is_closed { events![] } else { events![deposited(&self.0)] })
    }
}

/// A deposit into an account without.
pub(crate) struct DepositReplayed(pub(crate) String);

impl Command for DepositReplayed {
    type Model = Replayed;
    type Error = Infallible;

    fn model(&self) -> Replayed {
        Replayed::of(self.0.clone())
    }

    fn decide(&self, account: &Replayed, _ctx: &Ctx) -> std::result::Result<Events, Infallible> {
        Ok(if account.is_closed { events![] } else { events![deposited(&self.0)] })
    }
}

fn deposited(account: &str) -> Deposited {
    Deposited { account: account.to_owned(), cents: 5, purpose: crate::PURPOSE.to_owned() }
}

/// The event of a deposit as the store gets it.
pub(crate) fn stored(account: &str) -> Result<(StreamName, NewEvent)> {
    let data = serde_json::to_vec(&deposited(account))?;
    let event = NewEvent::json("bank.money-deposited", data)?;
    let event = event.with_tag(&format!("account:{account}"))?;
    Ok((StreamName::new(format!("account-{account}"))?, event))
}

/// Appends deposits to one account.
pub(crate) async fn load(app: &Quipu, account: &str, count: u64) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let mut append = Append::new();
        for _ in 0..left.min(LOAD) {
            let (stream, event) = stored(account)?;
            append = append.event(stream, event);
        }
        app.store().append(append).await?;
        left -= left.min(LOAD);
    }
    Ok(())
}

/// Appends one deposit without any framework, at this revision.
pub(crate) async fn append_bare(
    app: &Quipu,
    account: &str,
    expected: ExpectedRevision,
) -> Result<()> {
    let (stream, event) = stored(account)?;
    app.store().append(Append::to_stream(stream, expected, [event])).await?;
    Ok(())
}

/// Balances in a table: by a statement for each event, or at once by one for each batch.
pub(crate) struct Balances<const AT_ONCE: bool>;

impl<const AT_ONCE: bool> Projection for Balances<AT_ONCE> {
    type Event = AccountEvent;
    type Conn = sqlx::SqliteConnection;
    const NAME: &'static str = if AT_ONCE { "balances_at_once" } else { "balances" };

    async fn setup(
        &self,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> std::result::Result<(), ApplyError> {
        let sql = own.sql("CREATE TABLE {balances} (account TEXT PRIMARY KEY, cents INTEGER)");
        sqlx::query(sql).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        event: &Recorded<AccountEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> std::result::Result<(), ApplyError> {
        let AccountEvent::Deposited(deposited) = &event.event else { return Ok(()) };
        let sql = own.stmt(
            "INSERT INTO {balances} VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + ?2",
        );
        let cents = deposited.cents.cast_signed();
        sqlx::query(sql).bind(&deposited.account).bind(cents).execute(conn).await?;
        Ok(())
    }

    async fn apply_batch(
        &self,
        events: &[Recorded<AccountEvent>],
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> std::result::Result<(), ApplyError> {
        if !AT_ONCE {
            for event in events {
                self.apply(event, conn, own).await?;
            }
            return Ok(());
        }
        let row = |event: &Recorded<AccountEvent>| match &event.event {
            AccountEvent::Deposited(own) => Some((own.account.clone(), own.cents)),
            AccountEvent::Closed(_) => None,
        };
        let rows: Vec<_> = events.iter().filter_map(row).collect();
        let sql = own.stmt(
            "INSERT INTO {balances} SELECT value ->> 0, value ->> 1 FROM json_each(?1)
             WHERE true ON CONFLICT DO UPDATE SET cents = cents + excluded.cents",
        );
        sqlx::query(sql).bind(serde_json::to_string(&rows)?).execute(conn).await?;
        Ok(())
    }
}

/// The same as documents.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Balance {
    cents: u64,
}

impl Document for Balance {
    type Event = AccountEvent;
    const NAME: &'static str = "balance_documents";
    const KEY: &'static str = "account";

    fn apply(&mut self, event: &Recorded<AccountEvent>) {
        if let AccountEvent::Deposited(deposited) = &event.event {
            self.cents += deposited.cents;
        }
    }
}
