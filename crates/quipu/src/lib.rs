//! Event sourcing for applications: events, models, commands, and their test kit, on any store of
//! Quipu.
//!
//! An application says what can happen ([`Event`]), what a decision rests on ([`Aggregate`], or
//! [`DecisionModel`] for boundaries across entities), and what may be asked for ([`Command`]).
//! [`Quipu`] loads, decides and appends: what was read is what is guarded, and a command that lost
//! against another one is decided again.
//!
//! It is not a command bus, an ORM or a workflow engine. It starts no runtime and keeps no state of
//! its own but the log and snapshots, which may be lost.
//!
//! # Example: a bank account
//!
//! ```
//! use quipu::{Aggregate, Command, Ctx, Event, EventSet, Events, Evolve, Quipu, TagValue, events};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(TagValue, Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct AccountId(String);
//!
//! #[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
//! #[event(type = "bank.account-opened")]
//! struct AccountOpened { #[tag] account: AccountId, owner: String }
//!
//! #[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
//! #[event(type = "bank.funds-deposited")]
//! struct FundsDeposited { #[tag] account: AccountId, cents: u64 }
//!
//! #[derive(EventSet)]
//! enum AccountEvent { Opened(AccountOpened), Deposited(FundsDeposited) }
//!
//! #[derive(Aggregate, Clone, Debug, Serialize, Deserialize)]
//! #[aggregate(events = AccountEvent, snapshot(every = 200, version = 1))]
//! struct Account { #[key] account: AccountId, is_open: bool, balance: u64 }
//!
//! impl Evolve for Account {
//!     fn evolve(&mut self, event: &AccountEvent) {
//!         match event {
//!             AccountEvent::Opened(_) => self.is_open = true,
//!             AccountEvent::Deposited(deposited) => self.balance += deposited.cents,
//!         }
//!     }
//! }
//!
//! #[derive(Debug, PartialEq, thiserror::Error)]
//! enum AccountError {
//!     #[error("the account is open already")]
//!     Open,
//!     #[error("there is no such account")]
//!     NotOpen,
//! }
//!
//! struct Open { account: AccountId, owner: String }
//!
//! impl Command for Open {
//!     type Model = Account;
//!     type Error = AccountError;
//!
//!     fn model(&self) -> Account {
//!         Account::of(self.account.clone())
//!     }
//!
//!     fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, AccountError> {
//!         if account.is_open {
//!             return Err(AccountError::Open);
//!         }
//!         Ok(events![AccountOpened { account: self.account.clone(), owner: self.owner.clone() }])
//!     }
//! }
//!
//! struct Deposit { account: AccountId, cents: u64 }
//!
//! impl Command for Deposit {
//!     type Model = Account;
//!     type Error = AccountError;
//!
//!     fn model(&self) -> Account {
//!         Account::of(self.account.clone())
//!     }
//!
//!     fn decide(&self, account: &Account, _ctx: &Ctx) -> Result<Events, AccountError> {
//!         if !account.is_open {
//!             return Err(AccountError::NotOpen);
//!         }
//!         Ok(events![FundsDeposited { account: self.account.clone(), cents: self.cents }])
//!     }
//! }
//!
//! # futures_lite::future::block_on(async {
//! let app = Quipu::in_memory();
//! let id = AccountId("42".into());
//! app.execute(Open { account: id.clone(), owner: "Ana".into() }).actor("ana").await?;
//! let deposit = || Deposit { account: id.clone(), cents: 500 };
//! app.execute(deposit()).idempotency_key("request 1").await?;
//! let again = app.execute(deposit()).idempotency_key("request 1").await?;
//!
//! assert!(again.replayed, "the same key is the same command");
//! assert_eq!(app.load(Account::of(id)).await?.balance, 500);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # The modules
//!
//! Everything an application writes is at the crate's root. [`lock`] keeps the shapes of stored
//! events from breaking, [`testing`] is the test kit, and [`core`] is the contract underneath.
#![cfg_attr(
    all(feature = "sqlite", feature = "relay"),
    doc = "",
    doc = "The [`guide`] begins with a [first application](guide::first_application), has a page for",
    doc = "each concept, and says what the [terms of the pattern](guide::pattern) are here."
)]

// Derived code says `::quipu`, also in this crate's own tests.
extern crate self as quipu;

mod app;
mod cache;
mod codec;
mod command;
mod decode;
mod error;
mod event;
mod execute;
mod fold;
// Its pages link to all of the API, so it is there when all of it is.
#[cfg(all(feature = "sqlite", feature = "relay"))]
pub mod guide;
mod history;
mod ledger;
mod load;
mod loaded;
pub mod lock;
mod metadata;
mod model;
mod open_url;
mod process;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod projection;
mod recorded;
#[cfg(feature = "relay")]
mod relay;
mod retry;
mod snapshot;
pub mod testing;
mod upcast;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod view;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
use __private as private;

pub use quipu_core as core;
pub use quipu_core::{
    EventId, NameError, Position, Query, QueryItem, Revision, StreamName, Tag, Tags, Timestamp,
};
pub use quipu_derive::{Aggregate, DecisionModel, Event, EventSet, TagValue};
pub use quipu_groups::{Backoff, GiveUp, KeepError, OnError, Phase, RunError, RunnerStatus};
#[cfg(feature = "postgres-store")]
pub use quipu_postgres as postgres;
#[cfg(feature = "remote")]
pub use quipu_wire as wire;

pub use app::{Clock, Quipu};
pub use codec::{Codec, CodecError, Json};
pub use command::{Command, Ctx, Events, InvalidCommand, fingerprint_of};
pub use decode::{DecodeError, DecodeProblem, Part, decode, decode_recorded};
pub use error::{ExecuteError, LoadError, Unavailable};
pub use event::{Event, EventSet, EventShape, FieldShape, TagValue};
pub use execute::{Done, Execute};
pub use history::{Change, Changes, History};
pub use ledger::{LEDGER_STREAM, LEDGER_TYPE};
pub use load::Load;
pub use loaded::Loaded;
pub use metadata::{Metadata, MetadataError};
pub use model::{Aggregate, DecisionModel, Evolve, Model};
pub use open_url::OpenUrlError;
pub use process::{Effects, Input, Process, Route, RunProcess, RunningProcess, TimerStatus};
pub use recorded::{Erased, Recorded};
#[cfg(feature = "relay")]
pub use relay::{Outbox, Running, sinks};
pub use retry::Retry;
pub use snapshot::SnapshotPolicy;
pub use upcast::{UpcasterError, Upcasters};
