//! Opening connections to the file.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use replay_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags};

use crate::{
    builder::Durability,
    error::{self, cannot_open},
    schema::{self, Found},
};

const OPERATION: &str = "open store";

/// Five records of 1 KB share a page. Smaller pages waste room and system calls, larger ones write more for a lone append.
const PAGE_BYTES: u32 = 8192;

/// How many pages the log may have before a commit moves them into the file: 8 MB.
const CHECKPOINT_PAGES: u32 = 1000;

/// The connection that writes, with the tables in place.
pub(crate) fn writer(path: &Path, durability: Durability, patience: Duration, create: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let mut connection = Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, e, create))?;
    connection.busy_timeout(patience).map_err(error::during(OPERATION))?;
    if !create && matches!(schema::inspect(&connection), Ok(Found::Nothing)) {
        return Err(holds_nothing(path));
    }
    prepare(&mut connection, durability, patience).map_err(|e| e.with("path", path.display()))?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, durability: Durability, patience: Duration) -> Result<()> {
    let failed = error::during(OPERATION);
    schema::inspect(connection)?;
    if connection.is_readonly("main").map_err(failed)? {
        return Err(Error::new(ErrorKind::PermissionDenied, OPERATION)
            .message("the database file is read-only")
            .hint("allow writing to the file, or open it read-only"));
    }
    // Without effect on a file that has tables.
    connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
    let mode =
        patiently(patience, || connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))).map_err(failed)?;
    if mode != "wal" {
        return Err(Error::unsupported(OPERATION, "the file system does not offer what a write-ahead log needs")
            .hint("keep the file on a local disk"));
    }
    schema::migrate(connection)?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// SQLite does not wait by itself when two processes want to turn on the log at once.
fn patiently<T>(patience: Duration, mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let until = Instant::now() + patience;
    loop {
        match attempt() {
            Err(failure) if error::is_busy(&failure) && Instant::now() < until => std::thread::park_timeout(Duration::from_millis(2)),
            outcome => return outcome,
        }
    }
}

/// A connection that only reads. The file must have been opened for writing before, unless it holds the tables already.
pub(crate) fn reader(path: &Path, patience: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, e, false))?;
    connection.busy_timeout(patience).map_err(error::during(OPERATION))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Checks that a file that will only be read has the tables of this version.
pub(crate) fn check_readable(path: &Path, patience: Duration) -> Result<()> {
    match schema::inspect(&reader(path, patience)?).map_err(|e| e.with("path", path.display()))? {
        Found::Version(schema::VERSION) => Ok(()),
        Found::Version(version) => Err(Error::new(ErrorKind::Unsupported, OPERATION)
            .message(format!("the file has schema version {version}, and this version reads {}", schema::VERSION))
            .hint("open it once for writing, which brings its tables up to date")
            .with("path", path.display())),
        Found::Nothing => Err(holds_nothing(path)),
    }
}

fn holds_nothing(path: &Path) -> Error {
    Error::invalid(OPERATION, "the file holds no store")
        .hint("check the path, or open it for writing once")
        .with("path", path.display())
        .no_store()
}
