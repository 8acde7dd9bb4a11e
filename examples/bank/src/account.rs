//! The bank: its events, the account, what may be asked for, and the list of accounts.

use quipu::projection::Document;
use quipu::{Aggregate, Command, Ctx, Event, EventSet, Events, Evolve, Recorded, TagValue, events};
use serde::{Deserialize, Serialize};

#[derive(TagValue, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountId(pub(crate) String);

#[derive(Event, Serialize, Deserialize)]
#[event(type = "bank.account-opened")]
pub(crate) struct AccountOpened {
    #[tag]
    pub(crate) account: AccountId,
    pub(crate) owner: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "bank.money-deposited")]
pub(crate) struct MoneyDeposited {
    #[tag]
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "bank.money-withdrawn")]
pub(crate) struct MoneyWithdrawn {
    #[tag]
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
}

#[derive(EventSet)]
pub(crate) enum AccountEvent {
    Opened(AccountOpened),
    Deposited(MoneyDeposited),
    Withdrawn(MoneyWithdrawn),
}

#[derive(Aggregate, Clone, Serialize, Deserialize)]
#[aggregate(events = AccountEvent, snapshot(every = 100, retain = 3, version = 1))]
pub(crate) struct Account {
    #[key("account")]
    pub(crate) id: AccountId,
    pub(crate) owner: Option<String>,
    pub(crate) cents: u64,
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
pub(crate) enum Refusal {
    #[error("the account is open already")]
    Open,
    #[error("there is no account {}", .0.0)]
    NotOpen(AccountId),
    #[error("the balance is only {balance} cents")]
    TooLittle { balance: u64 },
}

impl Account {
    fn check_open(&self) -> Result<(), Refusal> {
        if self.owner.is_some() { Ok(()) } else { Err(Refusal::NotOpen(self.id.clone())) }
    }
}

pub(crate) struct Open {
    pub(crate) account: AccountId,
    pub(crate) owner: String,
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

pub(crate) struct Deposit {
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
}

impl Command for Deposit {
    type Model = Account;
    type Error = Refusal;
    fn model(&self) -> Account {
        Account::of(self.account.clone())
    }

    fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, Refusal> {
        account.check_open()?;
        Ok(events![MoneyDeposited { account: self.account.clone(), cents: self.cents }])
    }
}

/// Rests on two accounts, and is appended only if neither has changed meanwhile.
pub(crate) struct Transfer {
    pub(crate) from: AccountId,
    pub(crate) to: AccountId,
    pub(crate) cents: u64,
}

impl Command for Transfer {
    type Model = (Account, Account);
    type Error = Refusal;
    fn model(&self) -> (Account, Account) {
        (Account::of(self.from.clone()), Account::of(self.to.clone()))
    }

    fn decide(&self, (from, to): &(Account, Account), _ctx: &Ctx) -> Result<Events, Refusal> {
        from.check_open().and(to.check_open())?;
        if from.cents < self.cents {
            return Err(Refusal::TooLittle { balance: from.cents });
        }
        Ok(events![
            MoneyWithdrawn { account: self.from.clone(), cents: self.cents },
            MoneyDeposited { account: self.to.clone(), cents: self.cents },
        ])
    }
}

/// A row of the list of accounts: the read model.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListedAccount {
    pub(crate) owner: String,
    pub(crate) cents: u64,
}

impl Document for ListedAccount {
    type Event = AccountEvent;
    const NAME: &'static str = "accounts";
    const KEY: &'static str = "account";

    fn apply(&mut self, event: &Recorded<AccountEvent>) {
        match &event.event {
            AccountEvent::Opened(opened) => self.owner.clone_from(&opened.owner),
            AccountEvent::Deposited(deposited) => self.cents += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.cents -= withdrawn.cents,
        }
    }
}
