//! The tables: numbered migrations, each applied once, also when several processes open a new file at once.

use replay_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

use crate::error::during;

/// The migrations in order; the first makes version 1. A released one never changes.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_initial.sql")];

/// What this version knows.
pub(crate) const VERSION: i64 = 1;

/// "RPLY": says in the file's header whose it is.
pub(crate) const APPLICATION_ID: i64 = 0x5250_4c59;

const OPERATION: &str = "open store";

/// What a file is, before anything is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A new file, or one without tables.
    Nothing,
    /// Ours, with this schema version.
    Version(i64),
}

/// Looks at a file, at one instant: between two reads of their own another process may finish its migration.
///
/// # Errors
/// `NewerVersion` for a later schema, `Invalid` for another program's database.
pub(crate) fn inspect(connection: &Connection) -> Result<Found> {
    let look = connection.unchecked_transaction().map_err(during(OPERATION))?;
    inspect_within(&look)
}

fn inspect_within(connection: &Connection) -> Result<Found> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(during(OPERATION));
    let application = number("SELECT application_id FROM pragma_application_id")?;
    let version = number("SELECT user_version FROM pragma_user_version")?;
    match application {
        APPLICATION_ID if version > VERSION => Err(Error::new(ErrorKind::NewerVersion, OPERATION)
            .message(format!("the file has schema version {version}, and this version knows up to {VERSION}"))
            .hint("open it with the version of replay that wrote it, or a newer one")),
        APPLICATION_ID if version > 0 => Ok(Found::Version(version)),
        0 if version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 => Ok(Found::Nothing),
        _ => Err(Error::invalid(OPERATION, "the file is the database of another program")
            .hint("check the path; nothing was changed in the file")
            .with("application_id", application)),
    }
}

/// Brings the tables to [`VERSION`].
pub(crate) fn migrate(connection: &mut Connection) -> Result<()> {
    if inspect(connection)? == Found::Version(VERSION) {
        return Ok(());
    }
    let failed = during(OPERATION);
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have migrated while this one waited for the lock.
    let done = match inspect_within(&transaction)? {
        Found::Nothing => 0,
        Found::Version(version) => usize::try_from(version).unwrap_or(0),
    };
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}
