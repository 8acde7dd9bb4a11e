//! Places and parked events of a read model, in its own database.

use quipu_core::{BoxFuture, ParkedItem, Position, Timestamp};
use quipu_groups::{KeepError, Move, Parking, PlaceKeeper, SlicePlace, SliceRange, UnparkReason};

use super::Projection;
use super::books::{ReadModel, explain};
use super::database::{Backend, Cell, Connection};
use super::lifecycle::Stage;

/// The most bytes of a cause that are kept.
const CAUSE_SIZE_MAX: usize = 2_000;

/// Why a generation that was dropped cannot run.
#[derive(Debug, thiserror::Error)]
#[error(
    "version {version} of the projection \"{name}\" was retired and its tables are gone: raise \
     VERSION to build it anew"
)]
struct Retired {
    name: &'static str,
    version: u32,
}

impl<P: Projection> ReadModel<P> {
    /// The rows of `quipu_places` of this version.
    pub(super) async fn places(&self, conn: &mut P::Conn) -> Result<Vec<SlicePlace>, sqlx::Error> {
        let sql = "SELECT first_slice, last_slice, position FROM quipu_places
                   WHERE name = $1 AND version = $2 ORDER BY first_slice, last_slice";
        let rows = conn.rows(sql.to_owned(), Self::key([])).await?;
        let place = |row: &Vec<Cell>| {
            let [first, last, position] = row.as_slice() else { return None };
            let slice = |cell: &Cell| u16::try_from(cell.number()).ok();
            let slices = SliceRange::new(slice(first)?, slice(last)?)?;
            Some(SlicePlace { slices, position: Position::new(position.number().unsigned_abs()) })
        };
        Ok(rows.iter().filter_map(place).collect())
    }

    async fn put_places(&self, conn: &mut P::Conn, rows: &[SlicePlace]) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM quipu_places WHERE name = $1 AND version = $2";
        conn.run(sql.to_owned(), Self::key([])).await?;
        for row in rows {
            let sql = "INSERT INTO quipu_places VALUES ($1, $2, $3, $4, $5)";
            let (first, last) = (row.slices.first(), row.slices.last());
            let cells = Self::key([first.into(), last.into(), row.position.get().into()]);
            conn.run(sql.to_owned(), cells).await?;
        }
        Ok(())
    }

    /// Moves places forward; each must be where it is believed to be.
    pub(super) async fn move_places(
        &self,
        conn: &mut P::Conn,
        moves: &[Move],
    ) -> Result<(), KeepError> {
        for own in moves {
            let sql = "UPDATE quipu_places SET position = $6 WHERE name = $1 AND version = $2
                       AND first_slice = $3 AND last_slice = $4 AND position = $5";
            let (first, last) = (own.slices.first(), own.slices.last());
            let (from, to) = (own.from.get(), own.to.get());
            let cells = Self::key([first.into(), last.into(), from.into(), to.into()]);
            let moved_count = conn.run(sql.to_owned(), cells).await.map_err(explain::<P>)?;
            if moved_count != 1 {
                return Err(KeepError::Fenced);
            }
        }
        Ok(())
    }

    /// Forgets that an event was parked. Answers whether it was.
    pub(super) async fn forget_parked(
        &self,
        conn: &mut P::Conn,
        position: Position,
    ) -> Result<bool, KeepError> {
        let sql = "DELETE FROM quipu_parked WHERE name = $1 AND version = $2 AND position = $3";
        let cells = Self::key([position.get().into()]);
        let count = conn.run(sql.to_owned(), cells).await.map_err(explain::<P>)?;
        Ok(count > 0)
    }

    /// Puts on record that an event is not in the read model.
    async fn put_left_out(
        &self,
        conn: &mut P::Conn,
        epoch: u64,
        item: &ParkedItem,
        reason: &str,
    ) -> Result<(), KeepError> {
        let sql = "INSERT INTO quipu_left_out VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                   ON CONFLICT DO NOTHING";
        let cells = Self::key([
            item.position.get().into(),
            reason.into(),
            storable(&item.key).into(),
            storable(&item.cause).into(),
            epoch.into(),
            Timestamp::now().as_micros().into(),
        ]);
        conn.run(sql.to_owned(), cells).await.map_err(explain::<P>).map(drop)
    }

    async fn claim_rows(
        &self,
        epoch: u64,
        loaded: &[SlicePlace],
        rows: &[SlicePlace],
    ) -> Result<(), KeepError> {
        let identity = self.store.identity();
        let mut open = self.begin_locked().await?;
        match self.own(&mut open).await.map_err(explain::<P>)? {
            Some(own) if own.stage == Stage::Dropped => return Err(retired::<P>()),
            Some(own) if own.fences(identity.incarnation.get(), epoch) => {
                return Err(KeepError::Fenced);
            }
            Some(_) => {
                let sql = "UPDATE quipu_generations SET incarnation = $3, epoch = $4, log = $5
                           WHERE name = $1 AND version = $2";
                let incarnation = identity.incarnation.get().into();
                let log = identity.log.to_string().into();
                let cells = Self::key([incarnation, epoch.into(), log]);
                open.run(sql.to_owned(), cells).await.map_err(explain::<P>)?;
            }
            None => self.begin_generation(&mut open, epoch).await?,
        }
        // Only now, as until here the instance before may have moved them.
        if self.places(&mut open).await.map_err(explain::<P>)? != sorted(loaded) {
            return Err(KeepError::Moved);
        }
        self.put_places(&mut open, rows).await.map_err(explain::<P>)?;
        P::Conn::commit(open).await.map_err(explain::<P>)
    }

    async fn load_places(&self) -> Result<Vec<SlicePlace>, KeepError> {
        self.prepare().await?;
        let mut conn = P::Conn::hold(&self.pool).await.map_err(explain::<P>)?;
        let Some(own) = self.own(&mut conn).await.map_err(explain::<P>)? else {
            return Ok(Vec::new());
        };
        if own.stage == Stage::Dropped {
            return Err(retired::<P>());
        }
        let rows = self.places(&mut conn).await.map_err(explain::<P>)?;
        drop(conn);
        let furthest = rows.iter().map(|row| row.position).max().unwrap_or_default();
        self.check_log(&own, furthest).await?;
        Ok(rows)
    }
}

fn retired<P: Projection>() -> KeepError {
    KeepError::Refused(Retired { name: P::NAME, version: P::VERSION }.into())
}

fn sorted(rows: &[SlicePlace]) -> Vec<SlicePlace> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.slices);
    rows
}

/// A text that every database keeps: short, and without zeros, which `PostgreSQL` refuses.
fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(CAUSE_SIZE_MAX);
    text.get(..end).unwrap_or_default().replace('\0', "\u{fffd}")
}

impl<P: Projection> PlaceKeeper for ReadModel<P> {
    fn load(&self) -> BoxFuture<'_, Result<Vec<SlicePlace>, KeepError>> {
        Box::pin(self.load_places())
    }

    fn claim<'a>(
        &'a self,
        epoch: u64,
        loaded: &'a [SlicePlace],
        rows: &'a [SlicePlace],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(self.claim_rows(epoch, loaded, rows))
    }

    fn advance<'a>(
        &'a self,
        epoch: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut open = self.begin_fenced(epoch).await?;
            self.move_places(&mut open, moves).await?;
            P::Conn::commit(open).await.map_err(explain::<P>)
        })
    }

    fn reset(&self, epoch: u64, position: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            let mut open = self.begin_fenced(epoch).await?;
            let sql = "UPDATE quipu_places SET position = $3 WHERE name = $1 AND version = $2";
            let cells = Self::key([position.get().into()]);
            open.run(sql.to_owned(), cells).await.map_err(explain::<P>)?;
            P::Conn::commit(open).await.map_err(explain::<P>)
        })
    }
}

impl<P: Projection> Parking for ReadModel<P> {
    fn load(&self) -> BoxFuture<'_, Result<Vec<ParkedItem>, KeepError>> {
        Box::pin(async move {
            self.prepare().await?;
            let mut conn = P::Conn::hold(&self.pool).await.map_err(explain::<P>)?;
            let sql = "SELECT position, event_key, cause FROM quipu_parked
                       WHERE name = $1 AND version = $2 ORDER BY position";
            let rows = conn.rows(sql.to_owned(), Self::key([])).await.map_err(explain::<P>)?;
            let item = |row: &Vec<Cell>| {
                let [position, key, cause] = row.as_slice() else { return None };
                let position = Position::new(position.number().unsigned_abs());
                let (key, cause) = (key.text().to_owned(), cause.text().to_owned());
                Some(ParkedItem { position, key, cause })
            };
            Ok(rows.iter().filter_map(item).collect())
        })
    }

    fn park<'a>(
        &'a self,
        epoch: u64,
        items: &'a [ParkedItem],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut open = self.begin_fenced(epoch).await?;
            for item in items {
                let sql = "INSERT INTO quipu_parked VALUES ($1, $2, $3, $4, $5, $6)
                           ON CONFLICT (name, version, position)
                           DO UPDATE SET cause = excluded.cause";
                let cells = Self::key([
                    item.position.get().into(),
                    item.key.as_str().into(),
                    storable(&item.cause).into(),
                    Timestamp::now().as_micros().into(),
                ]);
                open.run(sql.to_owned(), cells).await.map_err(explain::<P>)?;
            }
            P::Conn::commit(open).await.map_err(explain::<P>)
        })
    }

    fn unpark(
        &self,
        epoch: u64,
        position: Position,
        reason: UnparkReason,
    ) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            let mut open = self.begin_fenced(epoch).await?;
            if reason == UnparkReason::Dropped {
                let sql = "SELECT event_key, cause FROM quipu_parked
                           WHERE name = $1 AND version = $2 AND position = $3";
                let cells = Self::key([position.get().into()]);
                let rows = open.rows(sql.to_owned(), cells).await.map_err(explain::<P>)?;
                if let Some([key, cause]) = rows.first().map(Vec::as_slice) {
                    let (key, cause) = (key.text().to_owned(), cause.text().to_owned());
                    let item = ParkedItem { position, key, cause };
                    self.put_left_out(&mut open, epoch, &item, reason.as_str()).await?;
                }
            }
            self.forget_parked(&mut open, position).await?;
            P::Conn::commit(open).await.map_err(explain::<P>)
        })
    }

    fn skip<'a>(
        &'a self,
        epoch: u64,
        item: &'a ParkedItem,
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut open = self.begin_fenced(epoch).await?;
            self.put_left_out(&mut open, epoch, item, "skipped").await?;
            P::Conn::commit(open).await.map_err(explain::<P>)
        })
    }
}
