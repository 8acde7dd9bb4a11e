//! The guide: how to build an application on events, a page for each thing you need.
//!
//! Begin with [`first_application`]. Then take what you need:
//!
//! | page | what it is about |
//! |---|---|
//! | [`first_application`] | a small bank, from a command to a read model and an outbox |
//! | [`events`] | types, versions, tags, streams, sets, metadata |
//! | [`aggregates_and_models`] | the state that a decision rests on |
//! | [`commands`] | deciding, retries, errors and what to answer, idempotency |
//! | [`boundaries`] | what conflicts with what; uniqueness, numbers without gaps |
//! | [`snapshots`] | a short replay for long histories |
//! | [`schema_evolution`] | how events of old versions are read |
//! | [`projections`] | read models: exactly once, errors, versions |
//! | [`processes`] | what happens next, across aggregates and over time |
//! | [`outbox`] | publishing events |
//! | [`time`] | the state as it was, and how it came about |
//! | [`testing`] | given, when, then |
//! | [`pattern`] | the terms of the literature, and what each is here |
//! | [`mistakes`] | what goes wrong with event sourcing, and what is seen of it here |
//! | [`when_not`] | when a table is the better choice |
//!
//! Every example is a test of this crate. Where one says `use bank::...`, it uses the code of the
//! first page, which is in the crate's `guide/bank.rs` for all of them. `app` is a
//! [`Quipu`](crate::Quipu), mostly one in memory.
//!
//! There is no code in these modules.

#[doc = include_str!("../guide/first_application.md")]
pub mod first_application {}

#[doc = include_str!("../guide/events.md")]
pub mod events {}

#[doc = include_str!("../guide/aggregates_and_models.md")]
pub mod aggregates_and_models {}

#[doc = include_str!("../guide/commands.md")]
pub mod commands {}

#[doc = include_str!("../guide/boundaries.md")]
pub mod boundaries {}

#[doc = include_str!("../guide/snapshots.md")]
pub mod snapshots {}

#[doc = include_str!("../guide/schema_evolution.md")]
pub mod schema_evolution {}

#[doc = include_str!("../guide/projections.md")]
pub mod projections {}

#[doc = include_str!("../guide/processes.md")]
pub mod processes {}

#[doc = include_str!("../guide/outbox.md")]
pub mod outbox {}

#[doc = include_str!("../guide/time.md")]
pub mod time {}

#[doc = include_str!("../guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../guide/pattern.md")]
pub mod pattern {}

#[doc = include_str!("../guide/mistakes.md")]
pub mod mistakes {}

#[doc = include_str!("../guide/when_not.md")]
pub mod when_not {}
