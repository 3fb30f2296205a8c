//! The driver's errors as errors with advice, by their codes; texts are never read.

use std::{error::Error as _, io, sync::Arc};

use redis::{ErrorKind as Kind, RedisError, ServerErrorKind as Server};
use replay_core::{Error, ErrorKind, Retry};

/// What a call does to the store, which decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Only reads.
    Read,
    /// Writes, and may be repeated: the second time it sees what the first did.
    Repeatable,
    /// Writes, and would be misled by a repeat.
    Once,
}

/// A failed call, before it is told to anyone.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) error: RedisError,
    pub(crate) stage: Stage,
    /// Whether it is a cluster, of which the driver knows the nodes.
    pub(crate) is_cluster: bool,
    /// Whether it may have been carried out whatever this error says: an earlier attempt may have been.
    pub(crate) was_open: bool,
}

/// How far a call came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There was no connection.
    Connecting,
    /// The server may have seen it.
    Sent,
    /// The server has carried it out, and only the wait for replicas failed.
    Replicas,
}

impl From<RedisError> for Failure {
    /// What a server that is no cluster answered.
    fn from(error: RedisError) -> Self {
        Self { error, stage: Stage::Sent, is_cluster: false, was_open: false }
    }
}

impl Failure {
    /// The error for a failure of `operation`.
    pub(crate) fn into_error(self, operation: &'static str, effect: Effect) -> Error {
        let error = classify(operation, &self);
        let error = if effect != Effect::Read && self.is_unknown() { error.retry(Retry::Ambiguous) } else { error };
        error.caused_by(self.error)
    }

    /// Whether the server may have carried it out.
    pub(crate) fn is_unknown(&self) -> bool {
        // The driver of a cluster repeats what it has lost, and tells of the last failure only.
        let may_hide_a_loss = || self.is_cluster && matches!(describe(self).0, ErrorKind::Unavailable | ErrorKind::StoreFull);
        match self.stage {
            Stage::Connecting => self.was_open,
            Stage::Sent => self.was_open || self.error.kind() == Kind::Io || may_hide_a_loss(),
            Stage::Replicas => true,
        }
    }

    /// Whether the same call may succeed in a moment, and this answer does not mean that it was carried out.
    pub(crate) fn passes(&self) -> bool {
        if self.stage != Stage::Connecting && self.error.kind() == Kind::Io {
            return false;
        }
        let is_refused = |error: &RedisError| tls(error).is_none() && (error.is_connection_refusal() || error.is_connection_dropped());
        match self.error.kind() {
            Kind::Io => is_refused(&self.error),
            Kind::ClusterConnectionNotFound => true,
            Kind::Server(Server::Moved | Server::Ask) => self.is_cluster,
            Kind::Server(kind) => matches!(kind, Server::BusyLoading | Server::TryAgain | Server::ClusterDown | Server::MasterDown),
            _ => false,
        }
    }
}

/// The error in TLS that a failure comes from, if it does.
fn tls(error: &RedisError) -> Option<&rustls::Error> {
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn classify(operation: &'static str, failure: &Failure) -> Error {
    let (kind, message, hint) = describe(failure);
    let error = Error::new(kind, operation).message(message).hint(hint);
    match failure.error.code() {
        Some(code) => error.with("redis_code", code),
        None => error,
    }
}

fn describe(failure: &Failure) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Internal, Invalid, Timeout, Unavailable};
    let (error, is_connecting) = (&failure.error, failure.stage == Stage::Connecting);
    if failure.stage == Stage::Replicas && error.is_timeout() {
        return (
            Timeout,
            "too few replicas have the write",
            "check that the replicas run and keep up, or ask for fewer with `wait_replicas`",
        );
    }
    match error.kind() {
        Kind::Io if tls(error).is_some() => (
            Unavailable,
            "no secure connection could be agreed on",
            "check that the server speaks TLS on this port, that its certificate is for this host name, and that `ca` names who signed it",
        ),
        Kind::Io if error.is_timeout() && is_connecting => (
            Unavailable,
            "the server did not accept a connection in time",
            "check the address, the firewall, and that the server speaks TLS if the URL says `rediss:`, or allow more time with \
             `connect_timeout_ms`",
        ),
        Kind::Io if error.is_timeout() => (
            Timeout,
            "the server did not answer in time",
            "check that the server runs and is not blocked, or allow more time with `response_timeout_ms`",
        ),
        Kind::Io if error.is_connection_refusal() => {
            (Unavailable, "nothing listens at the server's address", "check that the server runs, and the host and port of the URL")
        }
        Kind::Io if is_connecting => (
            Unavailable,
            "the connection could not be set up",
            "check the address; a server that speaks TLS wants `rediss:`, one that does not wants `redis:`",
        ),
        Kind::Io => (Unavailable, "the connection to the server was lost", "check that the server runs; the store reconnects by itself"),
        Kind::AuthenticationFailed => WRONG_PASSWORD,
        Kind::MasterNameNotFoundBySentinel => {
            (Unavailable, "no Sentinel knows a primary of this name", "check the name in the URL: redis+sentinel://HOST:PORT/NAME")
        }
        Kind::EmptySentinelList | Kind::InvalidClientConfig => {
            (Invalid, "the settings of the connection contradict each other", "check the URL and its options")
        }
        Kind::ClusterConnectionNotFound => (
            Unavailable,
            "no node of the cluster could be reached",
            "check that the nodes run, and that the addresses that they announce can be reached from here",
        ),
        Kind::Server(Server::Moved | Server::Ask) if failure.is_cluster => {
            (Unavailable, "the cluster has not agreed yet on where things are", "try again in a moment, and check that all nodes run")
        }
        Kind::Server(kind) => describe_server(kind, is_connecting),
        Kind::Extension => describe_code(error.code().unwrap_or_default()),
        Kind::Parse | Kind::UnexpectedReturnType | Kind::RESP3NotSupported => {
            (Invalid, "what answers does not speak the Redis protocol", "check the host and port of the URL")
        }
        _ => (Internal, "the driver failed in an unexpected way", "look at the cause, and report it"),
    }
}

const WRONG_PASSWORD: (ErrorKind, &str, &str) = (
    ErrorKind::PermissionDenied,
    "the server refused the user or the password",
    "check the user and the password of the URL; special characters are written as %XX",
);

fn describe_server(kind: Server, connecting: bool) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Internal, Invalid, PermissionDenied, Unavailable};
    match kind {
        Server::NoPerm => (
            PermissionDenied,
            "the user may not use a command or a key that the store needs",
            "allow the user the commands and the key pattern that the page of replay-storage-redis lists",
        ),
        Server::ReadOnly => (
            Unavailable,
            "the server is a read-only replica",
            "give the address of the primary, or use redis+sentinel: or redis+cluster: so that it is found",
        ),
        Server::BusyLoading => (Unavailable, "the server is still loading its data", "try again in a moment"),
        Server::ClusterDown | Server::TryAgain | Server::MasterDown => {
            (Unavailable, "the cluster, or the replica's primary, is not ready", "try again in a moment, and check that all nodes run")
        }
        Server::Moved | Server::Ask | Server::CrossSlot => {
            (Invalid, "the server is a node of a cluster", "write redis+cluster: instead of redis:")
        }
        Server::ResponseError if connecting => {
            (Invalid, "the server refused the settings of the connection", "check the number of the database in the URL")
        }
        _ => (Internal, "the server refused a command", "look at the cause; the server may be older than 6.2 or lack scripts"),
    }
}

fn describe_code(code: &str) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Integrity, Internal, Invalid, StoreFull, Unavailable};
    match code {
        "WRONGPASS" | "NOAUTH" => WRONG_PASSWORD,
        "OOM" => (StoreFull, "the server's memory limit is reached", "raise `maxmemory`, or prune what need not be kept"),
        "MISCONF" => (StoreFull, "the server cannot write to its disk", "free some space on the server's disk, and look at its log"),
        "NOREPLICAS" => (Unavailable, "too few replicas are connected to the server", "check the replicas, or `min-replicas-to-write`"),
        "BUSY" => (Unavailable, "a script of somebody else blocks the server", "try again in a moment"),
        "WRONGTYPE" => (
            Integrity,
            "a key of the store holds something else",
            "another program writes keys with the same prefix: choose another one with `prefix`",
        ),
        "DENIED" => (Unavailable, "the server is in protected mode", "set a password, or bind the server to this host"),
        "UNBLOCKED" => (Unavailable, "the server ended the call", "try again"),
        "NOPROTO" => (Invalid, "the server does not speak the protocol's version", "use a server of version 6.2 or later"),
        _ => (Internal, "the server failed in an unexpected way", "look up the code, and report it"),
    }
}

/// An [`Integrity`](ErrorKind::Integrity) error.
pub(crate) fn damaged(operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, operation)
        .message(message)
        .hint("were keys changed by hand, evicted, or lost in a failover? `maxmemory-policy` must be noeviction")
}

/// The error for an answer of a shape that was not asked for.
pub(crate) fn unexpected(operation: &'static str) -> Error {
    Error::new(ErrorKind::Internal, operation)
        .message("the server gave an answer of the wrong shape")
        .hint("is there a proxy before the server that changes answers? report it otherwise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: impl Into<RedisError>, sent: bool) -> Failure {
        Failure { stage: if sent { Stage::Sent } else { Stage::Connecting }, ..Failure::from(error.into()) }
    }

    fn server(code: &str) -> RedisError {
        redis::make_extension_error(code.to_owned(), None)
    }

    #[test]
    fn codes_decide_what_kind_of_error_it_is() {
        let kinds = [
            (server("OOM"), ErrorKind::StoreFull),
            (server("MISCONF"), ErrorKind::StoreFull),
            (server("WRONGPASS"), ErrorKind::PermissionDenied),
            (server("NOAUTH"), ErrorKind::PermissionDenied),
            (server("WRONGTYPE"), ErrorKind::Integrity),
            (server("NOREPLICAS"), ErrorKind::Unavailable),
            (server("WHATEVER"), ErrorKind::Internal),
            ((Kind::Server(Server::NoPerm), "").into(), ErrorKind::PermissionDenied),
            ((Kind::Server(Server::ReadOnly), "").into(), ErrorKind::Unavailable),
            ((Kind::Server(Server::BusyLoading), "").into(), ErrorKind::Unavailable),
            ((Kind::Server(Server::Moved), "").into(), ErrorKind::Invalid),
            ((Kind::AuthenticationFailed, "").into(), ErrorKind::PermissionDenied),
            (io::Error::from(io::ErrorKind::TimedOut).into(), ErrorKind::Timeout),
            (io::Error::from(io::ErrorKind::ConnectionRefused).into(), ErrorKind::Unavailable),
            (io::Error::from(io::ErrorKind::BrokenPipe).into(), ErrorKind::Unavailable),
        ];
        for (error, kind) in kinds {
            let error = failure(error, true).into_error("append", Effect::Repeatable);
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.advice().is_some_and(|hint| !hint.is_empty()));
        }
    }

    #[test]
    fn a_lost_answer_to_a_write_is_ambiguous_and_a_refusal_is_not() {
        let lost = || io::Error::from(io::ErrorKind::BrokenPipe);
        let advice = |failure: Failure, effect| failure.into_error("append", effect).retry_advice();
        assert_eq!(advice(failure(lost(), true), Effect::Repeatable), Retry::Ambiguous);
        assert_eq!(advice(failure(lost(), true), Effect::Once), Retry::Ambiguous);
        assert_eq!(advice(failure(lost(), true), Effect::Read), Retry::Safe);
        assert_eq!(advice(failure(lost(), false), Effect::Repeatable), Retry::Safe);
        assert_eq!(advice(failure(server("OOM"), true), Effect::Repeatable), Retry::Safe);
        assert_eq!(advice(failure(server("WRONGPASS"), true), Effect::Repeatable), Retry::Never);
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_only_if_nothing_was_done() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(failure(refused(), false).passes());
        assert!(!failure(refused(), true).passes());
        assert!(failure((Kind::Server(Server::BusyLoading), ""), true).passes());
        assert!(!failure(io::Error::from(io::ErrorKind::TimedOut), false).passes());
        assert!(!failure(server("WRONGPASS"), false).passes());
    }
}
