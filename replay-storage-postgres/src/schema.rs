//! The tables: numbered migrations, each applied once, also when several processes open a new database at once.
//!
//! Each migration says from which version on a program can still use what it leaves. What only adds leaves that as it is, so an older
//! and a newer program share the tables until a later migration takes away what the older one needs.

use std::{sync::Arc, time::Duration};

use replay_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use tokio::time::timeout;

use crate::{
    error::{Access, Failure},
    pool::{Lease, Pool},
    sql::in_schema,
};

struct Migration {
    sql: &'static str,
    /// The oldest version whose programs can use the tables once this is done.
    usable_from: i32,
}

/// The migrations in order; the first makes version 1. A released one never changes.
const MIGRATIONS: [Migration; 2] = [
    Migration { sql: include_str!("../migrations/0001_initial.sql"), usable_from: 1 },
    Migration { sql: include_str!("../migrations/0002_deleted_cells.sql"), usable_from: 1 },
];

/// What this version knows.
const VERSION: i32 = 2;

/// "RPLY": what the lock of a migration is known by, beside the schema.
const LOCK: i32 = 0x5250_4c59;

/// How long a migration may take, the wait for that of another process included.
const PATIENCE: Duration = Duration::from_mins(10);

const OPERATION: &str = "open store";

/// What the database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Tables of this version, for programs that know this one or a later one.
    Tables {
        version: i32,
        usable_from: i32,
    },
}

/// Checks the tables, and makes them if `creates`, or migrates them, if `migrates`.
pub(crate) async fn prepare(pool: &Arc<Pool>, schema: &str, creates: bool, migrates: bool) -> Result<()> {
    let mut lease = pool.lease(OPERATION).await?;
    let found = within(pool.response_limit(), look_alone(&mut lease.connection, schema)).await??;
    if is_usable(found)? {
        lease.give_back();
        return Ok(());
    }
    let refused = match found {
        Found::Nothing if !creates => Some(("there is no store", "check the database and `schema`; `start` makes a store")),
        _ if !migrates => {
            Some(("the database has no tables of this version", "open it once with `migrate=true` as a user that may create them"))
        }
        _ => None,
    };
    if let Some((message, hint)) = refused {
        let error = Error::new(ErrorKind::Unavailable, OPERATION).message(message).hint(hint);
        let error = error.retry(replay_core::Retry::Never).with("schema", schema);
        return Err(if found == Found::Nothing && migrates { error.no_store() } else { error });
    }
    within(PATIENCE, migrate(lease, schema)).await?
}

/// Whether the tables are there and this version can use them as they are.
fn is_usable(found: Found) -> Result<bool> {
    match found {
        Found::Nothing => Ok(false),
        Found::Tables { version, usable_from } if version > VERSION && usable_from > VERSION => {
            Err(Error::new(ErrorKind::NewerVersion, OPERATION)
                .message(format!("the tables have version {version}, and this version knows up to {VERSION}"))
                .hint("use the version of replay that migrated them, or a newer one"))
        }
        Found::Tables { version, .. } => Ok(version >= VERSION),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T> {
    timeout(limit, work).await.map_err(|_| Failure::Deadline.into_error(OPERATION, Access::Read))
}

fn failed(failure: sqlx::Error) -> Error {
    Failure::Statement(failure).into_error(OPERATION, Access::Read)
}

/// Looks in a transaction of its own, so that behind a pooler all of it is asked on one connection.
async fn look_alone(connection: &mut PgConnection, schema: &str) -> Result<Found> {
    connection.execute("BEGIN").await.map_err(failed)?;
    let found = look(connection, schema).await?;
    connection.execute("COMMIT").await.map_err(failed)?;
    Ok(found)
}

async fn look(connection: &mut PgConnection, schema: &str) -> Result<Found> {
    // Asked of the catalogue itself: names are looked up in a memory that may be older than the lock of a migration.
    const LOOK: &str = "SELECT current_setting('server_encoding'), EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'schema_versions')";
    let row = sqlx::query(LOOK).bind(schema).persistent(false).fetch_one(&mut *connection).await.map_err(failed)?;
    let encoding: String = row.try_get(0).map_err(failed)?;
    if encoding != "UTF8" {
        return Err(Error::invalid(OPERATION, "the database does not keep UTF-8")
            .hint("use a database with the encoding UTF8")
            .with("encoding", encoding));
    }
    if !row.try_get::<bool, _>(1).map_err(failed)? {
        return Ok(Found::Nothing);
    }
    let sql = in_schema(schema, "SELECT version, usable_from FROM @.schema_versions ORDER BY version DESC LIMIT 1");
    let rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(failed)?;
    let Some(row) = rows.first() else { return Ok(Found::Nothing) };
    Ok(Found::Tables { version: row.try_get(0).map_err(failed)?, usable_from: row.try_get(1).map_err(failed)? })
}

/// Brings the tables to [`VERSION`] in one transaction. The connection is closed afterwards, for it has forgotten its time limit.
async fn migrate(mut lease: Lease, schema: &str) -> Result<()> {
    let connection = &mut lease.connection;
    let run = |sql: String| sqlx::raw_sql(AssertSqlSafe(sql));
    connection.execute("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext($2))")
        .bind(LOCK)
        .bind(schema)
        .persistent(false)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    // Another process may have migrated while this one waited for the lock.
    let found = look(connection, schema).await?;
    if is_usable(found)? {
        return Ok(());
    }
    let done = match found {
        Found::Nothing => {
            let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)")
                .bind(schema)
                .persistent(false)
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
            if !exists {
                run(format!("CREATE SCHEMA \"{schema}\"")).execute(&mut *connection).await.map_err(failed)?;
            }
            let versions = "CREATE TABLE @.schema_versions (version integer PRIMARY KEY, usable_from integer NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now())";
            run(in_schema(schema, versions).to_string()).execute(&mut *connection).await.map_err(failed)?;
            0
        }
        Found::Tables { version, .. } => version,
    };
    for (version, migration) in (1..).zip(&MIGRATIONS).filter(|(version, _)| *version > done) {
        run(in_schema(schema, migration.sql).to_string()).execute(&mut *connection).await.map_err(failed)?;
        let note = format!("INSERT INTO @.schema_versions (version, usable_from) VALUES ({version}, {})", migration.usable_from);
        run(in_schema(schema, &note).to_string()).execute(&mut *connection).await.map_err(failed)?;
    }
    connection.execute("COMMIT").await.map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_program_goes_on_until_what_it_needs_is_taken_away() {
        let tables = |version, usable_from| is_usable(Found::Tables { version, usable_from });
        assert!(!is_usable(Found::Nothing).unwrap());
        assert!(tables(VERSION, VERSION).unwrap());
        assert!(tables(VERSION + 1, VERSION).unwrap());
        assert_eq!(tables(VERSION + 2, VERSION + 1).unwrap_err().kind(), ErrorKind::NewerVersion);
    }

    #[test]
    fn every_migration_has_its_number() {
        assert_eq!(i32::try_from(MIGRATIONS.len()), Ok(VERSION));
        assert!((1..).zip(&MIGRATIONS).all(|(version, migration)| migration.usable_from <= version));
    }
}
