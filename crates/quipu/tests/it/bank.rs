//! The domain that most tests use: accounts, and transfers between them.

use quipu::{
    Aggregate, Command, Ctx, DecisionModel, Event, EventSet, Events, Evolve, Query, TagValue,
    events, fingerprint_of,
};
use serde::{Deserialize, Serialize};

#[derive(TagValue, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountId(pub(crate) String);

pub(crate) fn id(text: &str) -> AccountId {
    AccountId(text.to_owned())
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.account-opened")]
pub(crate) struct AccountOpened {
    #[tag]
    pub(crate) account: AccountId,
    pub(crate) owner: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.funds-deposited")]
pub(crate) struct FundsDeposited {
    #[tag]
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.funds-withdrawn")]
pub(crate) struct FundsWithdrawn {
    #[tag]
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "bank.funds-moved", stream = "transfer-{from}-{to}")]
pub(crate) struct FundsMoved {
    #[tag]
    pub(crate) from: AccountId,
    #[tag]
    pub(crate) to: AccountId,
    pub(crate) cents: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum AccountEvent {
    Opened(AccountOpened),
    Deposited(FundsDeposited),
    Withdrawn(FundsWithdrawn),
}

/// An aggregate: read by its stream.
#[derive(Aggregate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[aggregate(events = AccountEvent, snapshot(every = 10, retain = 3, version = 1))]
pub(crate) struct Account {
    #[key]
    pub(crate) account: AccountId,
    pub(crate) is_open: bool,
    pub(crate) balance: u64,
    pub(crate) event_count: u64,
}

impl Evolve for Account {
    fn evolve(&mut self, event: &AccountEvent) {
        self.event_count += 1;
        match event {
            AccountEvent::Opened(_) => self.is_open = true,
            AccountEvent::Deposited(deposited) => self.balance += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.balance -= withdrawn.cents,
        }
    }
}

/// The same state as a decision model: read from the log by its tag.
#[derive(DecisionModel, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[model(events = AccountEvent, snapshot(every = 10, version = 1))]
pub(crate) struct Balance {
    #[key]
    pub(crate) account: AccountId,
    pub(crate) is_open: bool,
    pub(crate) cents: u64,
}

impl Evolve for Balance {
    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened(_) => self.is_open = true,
            AccountEvent::Deposited(deposited) => self.cents += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.cents -= withdrawn.cents,
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum BankError {
    #[error("the account is open already")]
    Open,
    #[error("there is no such account")]
    NotOpen,
    #[error("the balance is only {balance}")]
    Insufficient { balance: u64 },
}

pub(crate) struct Open {
    pub(crate) account: AccountId,
}

pub(crate) fn open(account: &str) -> Open {
    Open { account: id(account) }
}

impl Command for Open {
    type Model = Account;
    type Error = BankError;

    fn model(&self) -> Account {
        Account::of(self.account.clone())
    }

    fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, BankError> {
        if account.is_open {
            return Err(BankError::Open);
        }
        Ok(events![AccountOpened { account: self.account.clone(), owner: "Ana".into() }])
    }
}

#[derive(Serialize)]
pub(crate) struct Deposit {
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
}

pub(crate) fn deposit(account: &str, cents: u64) -> Deposit {
    Deposit { account: id(account), cents }
}

impl Command for Deposit {
    type Model = Account;
    type Error = BankError;

    fn model(&self) -> Account {
        Account::of(self.account.clone())
    }

    fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, BankError> {
        if !account.is_open {
            return Err(BankError::NotOpen);
        }
        if self.cents == 0 {
            return Ok(events![].returning(&account.balance));
        }
        let deposited = FundsDeposited { account: self.account.clone(), cents: self.cents };
        Ok(events![deposited].returning(&(account.balance + self.cents)))
    }

    fn fingerprint(&self) -> String {
        fingerprint_of(self)
    }
}

/// Takes money out of an account that is read as a decision model.
pub(crate) struct Withdraw {
    pub(crate) account: AccountId,
    pub(crate) cents: u64,
    pub(crate) is_unguarded: bool,
}

pub(crate) fn withdraw(account: &str, cents: u64) -> Withdraw {
    Withdraw { account: id(account), cents, is_unguarded: false }
}

impl Command for Withdraw {
    type Model = Balance;
    type Error = BankError;

    fn model(&self) -> Balance {
        Balance::of(self.account.clone())
    }

    fn decide(&self, balance: &Balance, _ctx: &Ctx) -> Result<Events, BankError> {
        if balance.cents < self.cents {
            return Err(BankError::Insufficient { balance: balance.cents });
        }
        Ok(events![FundsWithdrawn { account: self.account.clone(), cents: self.cents }])
    }

    fn guard(&self) -> Option<Query> {
        self.is_unguarded.then(Query::nothing)
    }
}

/// Moves money: a boundary across two accounts.
pub(crate) struct Transfer {
    pub(crate) from: AccountId,
    pub(crate) to: AccountId,
    pub(crate) cents: u64,
}

impl Command for Transfer {
    type Model = (Balance, Balance);
    type Error = BankError;

    fn model(&self) -> (Balance, Balance) {
        (Balance::of(self.from.clone()), Balance::of(self.to.clone()))
    }

    fn decide(&self, (from, to): &(Balance, Balance), _ctx: &Ctx) -> Result<Events, BankError> {
        if !from.is_open || !to.is_open {
            return Err(BankError::NotOpen);
        }
        if from.cents < self.cents {
            return Err(BankError::Insufficient { balance: from.cents });
        }
        Ok(events![
            FundsWithdrawn { account: self.from.clone(), cents: self.cents },
            FundsDeposited { account: self.to.clone(), cents: self.cents },
        ])
    }
}
