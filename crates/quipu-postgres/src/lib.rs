//! The event store on `PostgreSQL`: one log for any number of nodes, with the failover, replicas and
//! backups of the database.
//!
//! ```no_run
//! use quipu_core::{Append, EventStore, ExpectedRevision, NewEvent, StreamName};
//! use quipu_postgres::PostgresOptions;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options: PostgresOptions = "postgres://shop:secret@db.example.org/shop".parse()?;
//! let store = options.create(true).open().await?;
//!
//! let placed = NewEvent::json("OrderPlaced", r#"{"total_cents":1200}"#)?;
//! let order = StreamName::new("order-1")?;
//! store.append(Append::to_stream(order, ExpectedRevision::NoStream, [placed])).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It is not a queue on tables: events stay where they are, readers remember a position. It needs
//! `PostgreSQL` 13 or newer with the encoding UTF-8, a tokio runtime, and the primary: what readers go
//! by is not on replicas.
//!
//! # How it keeps the contract
//!
//! - **An append is one statement**, the function `append`, which locks, decides and writes. What does
//!   not simply hold there (a conflict, a retry, a deleted stream) is decided again with all the rules
//!   of [`quipu_core::decide`], in a transaction that holds the same locks.
//! - **The frontier is announced.** Positions come from a sequence, and transactions commit in another
//!   order. Before it takes positions, an append takes a shared advisory lock that carries the last
//!   position given out; readers stop at the lowest one that is held. Nobody waits for anybody.
//! - **Conditions lock what they are about**: types, tags and categories by hashed buckets, which
//!   appends share and conditions have to themselves. No lock is for the whole store, unless an append
//!   is about more than [`BUCKETS_MAX`] of them.
//! - **Nothing is notified inside an append**: a notification would make commits wait for each other. A
//!   task of each node tells the others afterwards, at most fifty times a second.
//! - **A failover begins another life of the log**: whoever finds another timeline writes that down
//!   before anything is appended to it.
//!
//! # The outbox
//!
//! Applications that are not event-sourced insert rows into the view `outbox`, in their own transactions
//! and in whatever language: `insert into quipu.outbox (aggregatetype, aggregateid, type, payload)`.
//! When the transaction commits, the row is an event in the stream `aggregatetype-aggregateid`.
//!
//! # Modules
//!
//! `sql` has every statement, and `migrations/` the tables and functions.

mod append;
mod beside;
mod error;
mod facts;
mod followers;
mod group;
mod life;
mod locks;
mod marks;
mod migrate;
mod options;
mod query;
mod reading;
mod rows;
mod scavenge;
mod sql;
mod store;
mod subscription;
mod transaction;
mod watch;

pub use error::{DatabaseError, OpenError};
pub use locks::BUCKETS_MAX;
pub use migrate::Migrated;
pub use options::{ParseUrlError, PostgresOptions};
pub use store::PostgresStore;
pub use watch::Counters;
