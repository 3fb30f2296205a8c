//! PostgreSQL's SQLSTATEs as errors with advice; texts are never read.

use std::fmt;

use replay_core::{Error, ErrorKind, Result, Retry};

/// What repeating a statement does, which decides whether that is done here and what a lost connection means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: it only reads.
    Read,
    /// Nothing more than once: the caller recognises what an earlier attempt did.
    Repeatable,
    /// It may do it twice, or find that somebody did it.
    Once,
}

/// Why a statement, or connecting, gave no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection was made; nothing was sent.
    Connect(sqlx::Error),
    /// The server or the connection failed.
    Statement(sqlx::Error),
    /// No answer within the time that is allowed.
    Deadline,
}

/// What a failure means for the connection and for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// The server refused the statement, and another attempt gets the same answer. The connection is sound.
    Refused,
    /// The server undid it because of others; another attempt may succeed. The connection is sound.
    Undone,
    /// The connection is of no more use, and nothing was done.
    Stale,
    /// The connection is lost, and what it was doing may be done or not.
    Lost,
}

/// The server's code and message, without what else it tells: parts of rows may be among that.
#[derive(Debug)]
struct ServerMessage {
    code: String,
    message: String,
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl std::error::Error for ServerMessage {}

/// The server's code, if it gave one.
fn code(failure: &sqlx::Error) -> Option<String> {
    failure.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

impl Failure {
    /// What it means for the connection and for another attempt.
    pub(crate) fn aftermath(&self) -> Aftermath {
        let failure = match self {
            Self::Connect(_) => return Aftermath::Stale,
            Self::Deadline => return Aftermath::Lost,
            Self::Statement(failure) => failure,
        };
        match (code(failure), failure) {
            (Some(code), _) => aftermath(&code),
            (None, sqlx::Error::Encode(_) | sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_)) => Aftermath::Refused,
            (None, _) => Aftermath::Lost,
        }
    }

    /// The error for it.
    pub(crate) fn into_error(self, operation: &'static str, access: Access) -> Error {
        let aftermath = self.aftermath();
        let error = match self {
            Self::Deadline => Error::new(ErrorKind::Timeout, operation)
                .message("the server did not answer in time")
                .hint("check the server and the network, or allow more time with `timeout_ms`"),
            Self::Connect(failure) | Self::Statement(failure) => describe(operation, failure),
        };
        if aftermath == Aftermath::Lost && access != Access::Read { error.retry(Retry::Ambiguous) } else { error }
    }
}

fn describe(operation: &'static str, failure: sqlx::Error) -> Error {
    if let Some(code) = code(&failure) {
        let (kind, message, hint) = meaning(&code);
        let message_of_server = failure.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default();
        let error = Error::new(kind, operation).message(message).hint(hint).with("sqlstate", &code);
        // A missing database or a wrong password stays as it is.
        let error = if code == "3D000" { error.retry(Retry::Never) } else { error };
        return error.caused_by(ServerMessage { code, message: message_of_server });
    }
    let (kind, message, hint) = match &failure {
        sqlx::Error::Tls(_) => (
            ErrorKind::Unavailable,
            "no encrypted connection could be made",
            "check `sslmode`, the file given as `sslrootcert`, and that the certificate bears the host's name",
        ),
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => (
            ErrorKind::Unavailable,
            "no encrypted connection could be made",
            "check `sslmode`, the file given as `sslrootcert`, and that the certificate bears the host's name",
        ),
        sqlx::Error::Io(_) => (ErrorKind::Unavailable, "the server cannot be reached", "check that it runs, its host and its port"),
        sqlx::Error::Configuration(_) => {
            (ErrorKind::Invalid, "the URL is not one of a PostgreSQL database", "write postgres://user:password@host:5432/database")
        }
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => {
            (ErrorKind::LimitExceeded, "it is more than one statement can carry", "keep large parts of the context in blobs")
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
            (ErrorKind::Integrity, "a row holds a value of the wrong kind", "were the tables changed by hand? restore them from a backup")
        }
        sqlx::Error::Protocol(_) => (
            ErrorKind::Unavailable,
            "the server's answer is not understood",
            "is it a PostgreSQL server? behind a pooler that shares connections between transactions, set `pooler`",
        ),
        _ => (ErrorKind::Internal, "the database library was used in a way that it does not allow", "report it"),
    };
    Error::new(kind, operation).message(message).hint(hint).caused_by(failure)
}

fn aftermath(code: &str) -> Aftermath {
    match code {
        // Serialisation failure, deadlock, lock not to be had.
        "40001" | "40P01" | "55P03" => Aftermath::Undone,
        // A statement that this connection prepared is gone, or no longer fits the tables.
        "26000" | "42P05" | "0A000"
        // The server is starting, has no connection left, or is not for this user: said before anything was done.
        | "57P03" | "53300" | "28P01" | "28000" | "3D000" => Aftermath::Stale,
        // The server ends the connection, perhaps after it has committed.
        "57P01" | "57P02" | "57P04" | "57P05" | "40003" | "25P03" => Aftermath::Lost,
        _ if code.starts_with("08") => Aftermath::Lost,
        _ => Aftermath::Refused,
    }
}

/// What a SQLSTATE says: the kind, one sentence, and what to do.
fn meaning(code: &str) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Integrity, Internal, Invalid, LimitExceeded, PermissionDenied, StoreFull, Timeout, Unavailable};
    match code {
        "28P01" | "28000" => (
            PermissionDenied,
            "the server refused the user or the password",
            "check the user and the password of the URL, PGPASSWORD or .pgpass, and the server's pg_hba.conf",
        ),
        "3D000" => (Unavailable, "the database does not exist", "create it, or check the URL's last part"),
        "42501" => (
            PermissionDenied,
            "the user lacks a privilege",
            "grant USAGE on the schema and SELECT, INSERT, UPDATE and DELETE on its tables; creating or migrating them takes their owner",
        ),
        "25006" => (
            PermissionDenied,
            "the server, or the transaction, only reads",
            "connect to the primary, and check default_transaction_read_only",
        ),
        "53100" | "58030" => (StoreFull, "the server's disk is full or failed to write", "free some space; the store goes on by itself"),
        "53200" => (Unavailable, "the server has no memory left", "free some memory, then try again"),
        "53300" => (Unavailable, "the server has no connection left", "lower `max_connections` here, or raise it on the server"),
        "57014" => (Timeout, "the server did not finish in time and undid it", "allow more time with `timeout_ms`, and look for locks"),
        "57P03" => (Unavailable, "the server is starting up or shutting down", "try again in a moment"),
        "57P01" | "57P02" | "57P04" | "57P05" | "25P03" => (Unavailable, "the server ended the connection", "try again in a moment"),
        "40001" | "40P01" | "55P03" => (Unavailable, "others changed the same rows at the same time", "try again"),
        "26000" | "42P05" => (
            Unavailable,
            "a prepared statement is not where it was prepared",
            "the server is behind a pooler that shares connections between transactions: set `pooler=transaction`",
        ),
        "0A000" => (Unavailable, "the tables were migrated meanwhile", "try again"),
        "08P01" => (
            Unavailable,
            "the server refused how it was spoken to",
            "behind a pooler that shares connections between transactions, set `pooler=transaction`",
        ),
        "3F000" | "42P01" | "42703" | "42883" | "42804" => {
            (Integrity, "the tables are not those that this version made", "were they changed by hand? restore them from a backup")
        }
        "23505" => (Integrity, "two rows have one key", "were the tables changed by hand? restore them from a backup"),
        "22021" | "22P05" => (Invalid, "the database does not keep UTF-8", "use a database with the encoding UTF8"),
        "22008" => (Invalid, "an instant is out of the server's range", "use instants after 4713 BC"),
        _ if code.starts_with("08") || code == "40003" => (Unavailable, "the connection was lost", "try again in a moment"),
        _ if code.starts_with("53") => (Unavailable, "the server is short of something", "look at the server's log"),
        _ if code.starts_with("54") => (LimitExceeded, "it is more than the server can keep", "keep large parts of the context in blobs"),
        _ if code.starts_with("58") => (Unavailable, "the server's system failed", "look at the server's log"),
        _ if code.starts_with("XX") => (Integrity, "the server found damaged data, or failed inside", "look at the server's log"),
        _ => (Internal, "the server refused a statement of this library", "look up the SQLSTATE, and report it"),
    }
}

/// An [`Integrity`](ErrorKind::Integrity) error.
pub(crate) fn damaged(operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, operation).message(message).hint("were the tables changed by hand? restore them from a backup")
}

/// The error for a row that does not decode.
pub(crate) fn unreadable(operation: &'static str) -> impl Fn(sqlx::Error) -> Error + Copy {
    move |failure| describe(operation, failure)
}

/// The same error once more, for another who waits for the same answer.
pub(crate) fn copy_of(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.operation()).retry(error.retry_advice());
    if let Some(message) = error.detail() {
        copy = copy.message(message);
    }
    if let Some(hint) = error.advice() {
        copy = copy.hint(hint);
    }
    if let Some(source) = std::error::Error::source(error) {
        copy = copy.caused_by(source.to_string());
    }
    error.facts().fold(copy, |copy, (key, value)| copy.with(key, value))
}

/// Says that it is unknown whether something was done, since an earlier attempt may have done it.
pub(crate) fn ambiguous<T>(outcome: Result<T>, is_unknown: bool) -> Result<T> {
    if is_unknown { outcome.map_err(|error| error.retry(Retry::Ambiguous)) } else { outcome }
}
