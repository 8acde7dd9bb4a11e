// The bank of the guide's first page, for the examples of the other pages: they include it.

use quipu::projection::{ApplyError, Generation, Projection};
use quipu::view::Question;
use quipu::{Aggregate, Command, Ctx, Event, EventSet, Events, Evolve, Recorded, TagValue, events};
use serde::{Deserialize, Serialize};

#[derive(TagValue, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountId(pub String);

pub fn id(text: &str) -> AccountId {
    AccountId(text.to_owned())
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.account-opened")]
pub struct AccountOpened {
    #[tag]
    pub account: AccountId,
    pub owner: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.money-deposited")]
pub struct MoneyDeposited {
    #[tag]
    pub account: AccountId,
    pub cents: u64,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.money-withdrawn")]
pub struct MoneyWithdrawn {
    #[tag]
    pub account: AccountId,
    pub cents: u64,
}

#[derive(EventSet)]
pub enum AccountEvent {
    Opened(AccountOpened),
    Deposited(MoneyDeposited),
    Withdrawn(MoneyWithdrawn),
}

#[derive(Aggregate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[aggregate(events = AccountEvent, snapshot(every = 100, version = 1))]
pub struct Account {
    #[key]
    pub account: AccountId,
    pub owner: Option<String>,
    pub cents: u64,
}

impl Evolve for Account {
    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened(opened) => self.owner = Some(opened.owner.clone()),
            AccountEvent::Deposited(deposited) => self.cents += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.cents -= withdrawn.cents,
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the account is open already")]
    Open,
    #[error("there is no such account")]
    NotOpen,
    #[error("the balance is only {balance} cents")]
    TooLittle { balance: u64 },
}

#[derive(Serialize)]
pub struct Open {
    pub account: AccountId,
    pub owner: String,
}

impl Command for Open {
    type Model = Account;
    type Error = Refusal;

    fn model(&self) -> Account {
        Account::of(self.account.clone())
    }

    fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, Refusal> {
        if account.owner.is_some() {
            return Err(Refusal::Open);
        }
        Ok(events![AccountOpened { account: self.account.clone(), owner: self.owner.clone() }])
    }
}

#[derive(Serialize)]
pub struct Deposit {
    pub account: AccountId,
    pub cents: u64,
}

impl Command for Deposit {
    type Model = Account;
    type Error = Refusal;

    fn model(&self) -> Account {
        Account::of(self.account.clone())
    }

    fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, Refusal> {
        if account.owner.is_none() {
            return Err(Refusal::NotOpen);
        }
        Ok(events![MoneyDeposited { account: self.account.clone(), cents: self.cents }])
    }
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Withdraw {
    pub account: AccountId,
    pub cents: u64,
}

impl Command for Withdraw {
    type Model = Account;
    type Error = Refusal;

    fn model(&self) -> Account {
        Account::of(self.account.clone())
    }

    fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, Refusal> {
        if account.owner.is_none() {
            return Err(Refusal::NotOpen);
        }
        if account.cents < self.cents {
            return Err(Refusal::TooLittle { balance: account.cents });
        }
        Ok(events![MoneyWithdrawn { account: self.account.clone(), cents: self.cents }])
    }
}

/// The read model of the first page: the balance of every account.
pub struct Balances;

impl Projection for Balances {
    type Event = AccountEvent;
    type Conn = sqlx::SqliteConnection;
    const NAME: &'static str = "balances";

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql("CREATE TABLE {balances} (account TEXT PRIMARY KEY, cents INTEGER)");
        sqlx::query(sql).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        recorded: &Recorded<AccountEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        let (account, cents) = match &recorded.event {
            AccountEvent::Opened(opened) => (&opened.account, 0),
            AccountEvent::Deposited(it) => (&it.account, it.cents.cast_signed()),
            AccountEvent::Withdrawn(it) => (&it.account, -it.cents.cast_signed()),
        };
        let sql = own.stmt(
            "INSERT INTO {balances} VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET cents = cents + ?2",
        );
        sqlx::query(sql).bind(&account.0).bind(cents).execute(conn).await?;
        Ok(())
    }
}

/// What the read model is asked.
pub struct BalanceOf<'a>(pub &'a str);

impl Question<Balances> for BalanceOf<'_> {
    type Answer = Option<i64>;

    async fn ask(
        self,
        conn: &mut sqlx::SqliteConnection,
        own: &Generation,
    ) -> Result<Option<i64>, sqlx::Error> {
        let sql = own.stmt("SELECT cents FROM {balances} WHERE account = ?1");
        sqlx::query_scalar(sql).bind(self.0).fetch_optional(conn).await
    }
}

/// A database in memory. It has one connection, since each further one would have its own.
pub async fn memory() -> Result<sqlx::SqlitePool, sqlx::Error> {
    let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    options.idle_timeout(None).max_lifetime(None).connect("sqlite::memory:").await
}
