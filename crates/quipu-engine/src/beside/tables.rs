//! The tables of the side database, and how one of them is opened for reading.

use redb::WriteTransaction;
use redb::{Key, ReadOnlyTable, ReadTransaction, Table, TableDefinition, TableError, Value};

use super::error::BesideError;

/// Sealed snapshots by key and position.
pub(super) const SNAPSHOTS: TableDefinition<'_, (&str, u64), &[u8]> =
    TableDefinition::new("snapshots");
/// Sealed checkpoints by name.
pub(super) const CHECKPOINTS: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("checkpoints");
/// Sealed leases by name.
pub(super) const LEASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("leases");

/// Opens a table for reading, or `None` if nothing was ever written to it.
pub(super) fn open<K: Key + 'static, V: Value + 'static>(
    transaction: Option<&ReadTransaction>,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, BesideError> {
    let Some(transaction) = transaction else { return Ok(None) };
    match transaction.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(BesideError::database(error)),
    }
}

/// Opens a table for writing.
pub(super) fn open_writable<'a, K: Key + 'static, V: Value + 'static>(
    transaction: &'a WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Table<'a, K, V>, BesideError> {
    transaction.open_table(table).map_err(BesideError::database)
}
