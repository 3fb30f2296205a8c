//! The one error of the libraries: what failed, whether trying again can help, and with which facts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What kind of failure it was. The words are stable: programs may match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input is wrong: an id, a URL, a query, a definition, an override.
    Invalid,
    /// The saga, snapshot, step, checkpoint or key does not exist.
    NotFound,
    /// Somebody else was first: the sequence is taken, the id is in use, the versions differ.
    Conflict,
    /// The saga's runner is alive; it must end before another may take over.
    Busy,
    /// Not permitted by a rule, such as a changed definition or an expired checkpoint.
    Refused,
    /// The store, or this build, does not offer what was asked for.
    Unsupported,
    /// The store cannot be reached or does not answer.
    Unavailable,
    /// The store has no room left.
    StoreFull,
    /// The store refused access: wrong credentials, read-only file, missing privilege.
    PermissionDenied,
    /// Stored bytes are not what was written: a digest, a chain link or the encoding is wrong.
    Integrity,
    /// The record, schema or file was written by a newer version than this one.
    NewerVersion,
    /// A size, depth, ratio or count is over its limit.
    LimitExceeded,
    /// The time that was allowed ran out.
    Timeout,
    /// The operation was cancelled.
    Cancelled,
    /// Two branches of a wave set one place of the context to different values.
    ContextConflict,
    /// A fault of this library or of the system below it.
    Internal,
}

impl ErrorKind {
    /// The kind in words, as it appears in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid input",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "store unavailable",
            Self::StoreFull => "store full",
            Self::PermissionDenied => "permission denied",
            Self::Integrity => "integrity violated",
            Self::NewerVersion => "newer version",
            Self::LimitExceeded => "limit exceeded",
            Self::Timeout => "timed out",
            Self::Cancelled => "cancelled",
            Self::ContextConflict => "context conflict",
            Self::Internal => "internal error",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the same call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Trying again gives the same answer.
    Never,
    /// Nothing was done; trying again may help.
    Safe,
    /// It may or may not have been done. Repeating the very same append is right; see
    /// [`SnapshotStorage::append`](crate::storage::SnapshotStorage::append).
    Ambiguous,
}

/// An error with its kind, the operation that failed, facts about it, and its cause.
///
/// `Display` is one line without the source: `append failed: conflict, saga=order_123, sequence=17`.
/// Walk [`source`](std::error::Error::source) for the rest.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    is_no_store: bool,
    operation: &'static str,
    message: Option<String>,
    hint: Option<String>,
    context: Vec<(&'static str, String)>,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `kind` in `operation` (a verb, as in `append`). Its retry advice is the kind's own:
    /// [`Safe`](Retry::Safe) for `Unavailable`, `Busy`, `StoreFull` and `Timeout`, else [`Never`](Retry::Never).
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::StoreFull | ErrorKind::Timeout => Retry::Safe,
            _ => Retry::Never,
        };
        Self(Box::new(Inner { kind, retry, is_no_store: false, operation, message: None, hint: None, context: Vec::new(), source: None }))
    }

    /// An [`Invalid`](ErrorKind::Invalid) error with a message.
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, operation).message(message)
    }

    /// An [`Unsupported`](ErrorKind::Unsupported) error that names what is missing.
    pub fn unsupported(operation: &'static str, missing: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, operation).message(missing)
    }

    /// Says in one sentence what is wrong.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Overrides the kind's retry advice.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Says that there is no store at the place, and that one may be made there. A backend whose store
    /// [must exist](crate::storage::StoreUrl::must_exist) says so for callers to whom none is as good as an empty one.
    #[must_use]
    pub fn no_store(mut self) -> Self {
        self.0.is_no_store = true;
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may be made again.
    pub fn retry_advice(&self) -> Retry {
        self.0.retry
    }

    /// The operation that failed.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The sentence that says what is wrong, if there is one.
    pub fn detail(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// What the reader can do about it, if that is known.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The value of the fact `key`, if it was given.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.0.context.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }

    /// The facts, in the order in which they were added.
    pub fn facts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// Whether it says that there is no store at the place, and that one may be made there.
    pub fn is_no_store(&self) -> bool {
        self.0.is_no_store
    }

    /// Whether the kind is `kind`.
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.0.kind == kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.0.operation, self.0.kind)?;
        if let Some(message) = &self.0.message {
            write!(f, ": {message}")?;
        }
        for (key, value) in &self.0.context {
            write!(f, ", {key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_without_the_source() {
        let error =
            Error::new(ErrorKind::Conflict, "append").with("saga", "order_123").with("sequence", 17).caused_by("UNIQUE constraint failed");
        assert_eq!(error.to_string(), "append failed: conflict, saga=order_123, sequence=17");
        assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("UNIQUE constraint failed"));
    }

    #[test]
    fn an_error_is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
