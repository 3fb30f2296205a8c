//! SQLite's result codes as errors with advice; texts are never read.

use std::path::Path;

use replay_core::{Error, ErrorKind, Retry};
use rusqlite::ffi;

/// When something failed, which decides what a failure leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the commit: nothing was stored.
    Work,
    /// In the commit: after some failures nobody knows whether it is stored.
    Commit,
}

/// The error for a failure of `operation`.
pub(crate) fn error(operation: &'static str, failure: rusqlite::Error) -> Error {
    classify(operation, &failure, Stage::Work).caused_by(failure)
}

/// Like [`error`], for use with `map_err`.
pub(crate) fn during(operation: &'static str) -> impl Fn(rusqlite::Error) -> Error + Copy {
    move |failure| error(operation, failure)
}

/// Whether another connection holds the lock that was wanted.
pub(crate) fn is_busy(failure: &rusqlite::Error) -> bool {
    code(failure).is_some_and(|code| matches!(code & 0xff, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED))
}

/// The extended result code, if SQLite gave one.
pub(crate) fn code(failure: &rusqlite::Error) -> Option<i32> {
    match failure {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.extended_code),
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => None,
    }
}

/// The error for a failure that is not ours to keep, as when one failure is the answer to many callers.
pub(crate) fn classify(operation: &'static str, failure: &rusqlite::Error, stage: Stage) -> Error {
    let Some(code) = code(failure) else { return other(operation, failure) };
    let (kind, message, hint) = describe(code);
    let error = Error::new(kind, operation).message(message).hint(hint).with("sqlite_code", code);
    // A commit that found no room wrote no commit mark; after any other failure the mark may have reached the disk.
    if stage == Stage::Commit && !matches!(code & 0xff, ffi::SQLITE_FULL | ffi::SQLITE_BUSY) {
        return error.retry(Retry::Ambiguous);
    }
    error
}

fn other(operation: &'static str, failure: &rusqlite::Error) -> Error {
    match failure {
        rusqlite::Error::QueryReturnedNoRows => damaged(operation, "a row that another one refers to is missing"),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => damaged(operation, "a row holds a value of the wrong kind"),
        _ => Error::new(ErrorKind::Internal, operation).message("the database library was used in a way that it does not allow"),
    }
}

/// An [`Integrity`](ErrorKind::Integrity) error.
pub(crate) fn damaged(operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, operation)
        .message(message)
        .hint("check the file with `PRAGMA integrity_check` and restore it from a backup")
}

fn describe(code: i32) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Integrity, Internal, Invalid, LimitExceeded, PermissionDenied, StoreFull, Unavailable};
    match code {
        ffi::SQLITE_READONLY_DBMOVED => (
            Unavailable,
            "the database file was moved or deleted while it was open",
            "put the file back where it was, then open the store again",
        ),
        ffi::SQLITE_IOERR_NOMEM => (Unavailable, "there is no memory left", "free some memory, then try again"),
        ffi::SQLITE_BUSY_SNAPSHOT => {
            (Unavailable, "another process wrote in between", "try again; do not write to the file with other tools meanwhile")
        }
        _ => match code & 0xff {
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => (
                Unavailable,
                "another process holds the lock of the database file",
                "end the other program's transaction, or allow more time with `busy_timeout`",
            ),
            ffi::SQLITE_FULL => (StoreFull, "the disk, or the quota of the file, is full", "free some space; the store goes on by itself"),
            ffi::SQLITE_READONLY => (
                PermissionDenied,
                "the database file, or its folder, is read-only",
                "allow writing to the file, its -wal and -shm companions and its folder, or open it read-only",
            ),
            ffi::SQLITE_PERM | ffi::SQLITE_AUTH => (
                PermissionDenied,
                "access to the database file was refused",
                "check the owner and the permissions of the file and its folder",
            ),
            ffi::SQLITE_CANTOPEN => (
                Unavailable,
                "the database file, or one of its -wal and -shm companions, cannot be opened",
                "check that the folder exists, may be written to, and that the process may open more files",
            ),
            ffi::SQLITE_IOERR => {
                (Unavailable, "the disk failed to read or write", "check the disk and the file system's limits, then try again")
            }
            ffi::SQLITE_CORRUPT => {
                (Integrity, "the database file is damaged", "check it with `PRAGMA integrity_check` and restore it from a backup")
            }
            ffi::SQLITE_NOTADB => (Invalid, "the file is not a SQLite database", "check the path; nothing was changed in the file"),
            ffi::SQLITE_TOOBIG => (LimitExceeded, "a row would be larger than 1 GB", "keep large parts of the context in blobs"),
            ffi::SQLITE_NOMEM => (Unavailable, "there is no memory left", "free some memory, then try again"),
            ffi::SQLITE_CONSTRAINT => {
                (Integrity, "two rows have one key", "check the file with `PRAGMA integrity_check`; was it changed by hand?")
            }
            ffi::SQLITE_ERROR | ffi::SQLITE_SCHEMA => {
                (Integrity, "the tables are not those that this version made", "was the file changed by hand? restore it from a backup")
            }
            _ => (Internal, "SQLite failed in an unexpected way", "look up the result code, and report it"),
        },
    }
}

/// The error for a file that could not be opened: asks the system why, since SQLite does not say.
pub(crate) fn cannot_open(path: &Path, failure: rusqlite::Error, writes: bool) -> Error {
    const OPERATION: &str = "open store";
    if code(&failure).is_none_or(|code| code & 0xff != ffi::SQLITE_CANTOPEN) {
        return error(OPERATION, failure).with("path", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let error = if path.is_dir() {
        Error::invalid(OPERATION, "the path names a folder").hint("give the path of the database file")
    } else if let Some(folder) = folder.filter(|folder| matches!(folder.try_exists(), Ok(false))) {
        Error::new(ErrorKind::Unavailable, OPERATION)
            .message(format!("the folder {} does not exist", folder.display()))
            .hint("create it, or check the path")
            .retry(Retry::Never)
    } else if !writes && matches!(path.try_exists(), Ok(false)) {
        Error::new(ErrorKind::Unavailable, OPERATION)
            .message(format!("there is no database file {}", path.display()))
            .hint("check the path; the file is made by whoever first writes to it")
            .retry(Retry::Never)
            .no_store()
    } else {
        match std::fs::OpenOptions::new().read(true).append(writes).create(writes).open(path).map_err(|e| e.kind()) {
            Err(std::io::ErrorKind::PermissionDenied) | Ok(_) => Error::new(ErrorKind::PermissionDenied, OPERATION)
                .message("access to the database file was refused")
                .hint("check the owner and the permissions of the file and its folder"),
            Err(_) => {
                let (kind, message, hint) = describe(ffi::SQLITE_CANTOPEN);
                Error::new(kind, OPERATION).message(message).hint(hint)
            }
        }
    };
    error.with("path", path.display()).caused_by(failure)
}
