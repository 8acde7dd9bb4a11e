//! Appending in a transaction of the caller's own.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::decide;
use quipu_core::{Append, AppendError, Appended, Change, StorageError, Timestamp};
use sqlx::PgConnection;

use crate::append::Outcome;
use crate::error::append_error;
use crate::store::PostgresStore;

/// How long the caller's transaction may do nothing, unless told otherwise.
const IDLE_MAX: Duration = Duration::from_secs(5);

impl PostgresStore {
    /// Appends in a transaction that the caller began on the same database, beside rows of the
    /// caller's own: what commits with it, and only if it does, is in the log.
    ///
    /// It is the outbox without a table: who reads the log sees the events after the transaction has
    /// committed, and never if it does not. The places in the answer hold if it commits.
    ///
    /// **Until the transaction ends it holds readers of the log back**: they stop before its events,
    /// and so before all that is appended after them. Append last, and commit at once. A transaction
    /// that does nothing for five seconds after this is ended by the database, with its connection;
    /// [`held_back`](Self::held_back) tells of those that are open. An append with a condition also
    /// keeps appends with the same tags waiting, and one to a stream those to the stream.
    ///
    /// The transaction needs the isolation level that is the default, `read committed`. Two
    /// transactions that append to the same streams in another order each can be in each other's way:
    /// the database then ends one of them with a deadlock, and the caller begins it again.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]. After a [`Conflict`](AppendError::Conflict) or an
    /// [`Invalid`](AppendError::Invalid) append nothing of the append was written, and the transaction
    /// can go on; after any other error it has failed and can only be rolled back.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use quipu_core::{Append, ExpectedRevision, NewEvent, StreamName};
    /// # async fn example(
    /// #     store: quipu_postgres::PostgresStore, pool: sqlx::PgPool,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let placed = NewEvent::json("OrderPlaced", "{}")?;
    /// let append =
    ///     Append::to_stream(StreamName::new("order-1")?, ExpectedRevision::NoStream, [placed]);
    ///
    /// let mut transaction = pool.begin().await?;
    /// sqlx::query("insert into orders (id) values (1)").execute(&mut *transaction).await?;
    /// store.append_in(&mut *transaction, append).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn append_in(
        &self,
        connection: &mut PgConnection,
        append: Append,
    ) -> Result<Appended, AppendError> {
        let now = Timestamp::now();
        let change = Change::Append(append);
        decide::validate(&change, self.rights, now).map_err(AppendError::Invalid)?;
        let layout =
            || decide::validate(&change, self.rights, now).expect("what was valid stays valid");
        let shared = Arc::clone(&self.shared);
        let statement = &shared.sql.limit_idle;
        let idle = format!("{}ms", IDLE_MAX.as_millis());
        let limited = sqlx::query(statement.text()).bind(idle).execute(&mut *connection).await;
        limited.map_err(|cause| append_error(statement.failed(cause)))?;
        let outcome = match shared.decide_in(connection, &change, &layout).await {
            Ok(outcome) => outcome?,
            Err(error) => {
                // The next transaction then knows.
                shared.find_life().await.ok();
                return Err(AppendError::Storage(StorageError::new(error)));
            }
        };
        match outcome {
            Outcome::Written(appended) | Outcome::Unchanged(appended) => Ok(appended),
        }
    }
}
