//! Connections, lent for one statement each.
//!
//! The driver's own pool is not used: there a connection whose borrower went away comes back in the middle of a transaction, one
//! that the network swallowed keeps its place for ever, and each return costs a round trip. Here a connection comes back only after
//! the answer to its last statement was read; in any other case it is closed, and its place is free at once.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use replay_core::{Error, ErrorKind, Result};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    builder::Pooler,
    error::{Access, Aftermath, Failure, ambiguous},
    sql::Args,
};

/// A connection that was idle for longer is asked whether it is still there before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// How often a statement is tried when connections are lost.
const ATTEMPTS: u32 = 3;

/// How often a statement is tried when the server undoes it because of others.
const CONTENDED_ATTEMPTS: u32 = 8;

/// How many connections there are, and how long what may take.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_connections: u32,
    /// For a free place in the pool.
    pub(crate) acquire: Duration,
    /// For making a connection.
    pub(crate) connect: Duration,
    /// For the answer to a statement.
    pub(crate) response: Duration,
    pub(crate) idle: Duration,
    pub(crate) lifetime: Duration,
}

/// The connections of a store.
pub(crate) struct Pool {
    options: PgConnectOptions,
    pooler: Pooler,
    limits: Limits,
    places: Arc<Semaphore>,
    idle: Mutex<VecDeque<Idle>>,
}

struct Idle {
    connection: PgConnection,
    made: Instant,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, pooler: Pooler, limits: Limits) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.max_connections.max(1) as usize));
        Arc::new(Self { options, pooler, limits, places, idle: Mutex::default() })
    }

    /// How long an answer may take.
    pub(crate) fn response_limit(&self) -> Duration {
        self.limits.response
    }

    /// Runs one statement, in a transaction of its own, and gives its rows.
    ///
    /// It is tried again where that cannot do harm: if connections are lost, unless it is [`Access::Once`], and if the server
    /// undid it because of others.
    ///
    /// # Cancel safety
    /// A dropped future may or may not have run the statement; its connection is closed.
    pub(crate) async fn run(
        self: &Arc<Self>,
        operation: &'static str,
        access: Access,
        sql: &Arc<str>,
        args: impl Fn() -> Args,
    ) -> Result<Vec<PgRow>> {
        let (mut attempt, mut is_unknown) = (0, false);
        loop {
            attempt += 1;
            let arguments = args().into_arguments(operation)?;
            let mut lease = ambiguous(self.lease(operation).await, is_unknown)?;
            let failure = match timeout(self.limits.response, self.execute(&mut lease.connection, sql, arguments)).await {
                Ok(Ok(rows)) => {
                    lease.give_back();
                    return Ok(rows);
                }
                Ok(Err(failure)) => Failure::Statement(failure),
                Err(_) => Failure::Deadline,
            };
            let aftermath = failure.aftermath();
            let again = match aftermath {
                Aftermath::Refused => false,
                Aftermath::Undone => attempt < CONTENDED_ATTEMPTS,
                Aftermath::Stale => attempt < ATTEMPTS,
                Aftermath::Lost => access != Access::Once && attempt < ATTEMPTS && !matches!(failure, Failure::Deadline),
            };
            match aftermath {
                // With a transaction around it the connection would first have to leave that.
                Aftermath::Refused | Aftermath::Undone if self.pooler != Pooler::Transaction => lease.give_back(),
                Aftermath::Refused | Aftermath::Undone => drop(lease),
                // The others were made to the same server, which may have gone.
                Aftermath::Stale | Aftermath::Lost => self.idle.lock().clear(),
            }
            is_unknown |= aftermath == Aftermath::Lost && access != Access::Read;
            if !again {
                return ambiguous(Err(failure.into_error(operation, access)), is_unknown);
            }
        }
    }

    async fn execute(&self, connection: &mut PgConnection, sql: &Arc<str>, arguments: PgArguments) -> sqlx::Result<Vec<PgRow>> {
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()), arguments);
        if self.pooler != Pooler::Transaction {
            return query.fetch_all(connection).await;
        }
        // Only within a transaction do preparing and running a statement reach the same server connection.
        connection.execute("BEGIN").await?;
        let rows = query.persistent(false).fetch_all(&mut *connection).await?;
        connection.execute("COMMIT").await?;
        Ok(rows)
    }

    /// A connection. It is closed unless it is given back.
    ///
    /// # Errors
    /// What keeps one from being made, or `Unavailable` if no place is free in time.
    pub(crate) async fn lease(self: &Arc<Self>, operation: &'static str) -> Result<Lease> {
        let Ok(Ok(place)) = timeout(self.limits.acquire, self.places.clone().acquire_owned()).await else {
            return Err(Error::new(ErrorKind::Unavailable, operation)
                .message("all connections are in use")
                .hint("allow more with `max_connections`, or more time with `acquire_timeout_ms`")
                .with("max_connections", self.limits.max_connections));
        };
        while let Some(mut idle) = self.take_idle() {
            let is_there = idle.since.elapsed() < FRESH || matches!(timeout(self.limits.connect, idle.connection.ping()).await, Ok(Ok(())));
            if is_there {
                return Ok(Lease { connection: idle.connection, made: idle.made, pool: self.clone(), place });
            }
        }
        let connection = self.connect().await.map_err(|failure| failure.into_error(operation, Access::Read))?;
        Ok(Lease { connection, made: Instant::now(), pool: self.clone(), place })
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        match timeout(self.limits.connect, PgConnection::connect_with(&self.options)).await {
            Ok(connected) => connected.map_err(Failure::Connect),
            Err(_) => Err(Failure::Connect(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    /// The connection that was used last; those that were idle or alive for too long are closed.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.lock();
        while idle.front().is_some_and(|oldest| oldest.since.elapsed() > self.limits.idle) {
            idle.pop_front();
        }
        while let Some(last) = idle.pop_back() {
            if last.made.elapsed() <= self.limits.lifetime {
                return Some(last);
            }
        }
        None
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("pooler", &self.pooler).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A connection and its place in the pool.
pub(crate) struct Lease {
    pub(crate) connection: PgConnection,
    made: Instant,
    pool: Arc<Pool>,
    place: OwnedSemaphorePermit,
}

impl Lease {
    /// Leaves the connection to the next one. It must not be inside a transaction.
    pub(crate) fn give_back(self) {
        let Self { connection, made, pool, place } = self;
        pool.idle.lock().push_back(Idle { connection, made, since: Instant::now() });
        // Only now, so that whoever waits finds the connection.
        drop(place);
    }
}
