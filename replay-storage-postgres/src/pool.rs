//! Connections, lent for one statement each.
//!
//! The driver's own pool is not used: there a connection whose borrower went away comes back in the middle of a transaction, one
//! that the network swallowed keeps its place for ever, and each return costs a round trip. Here a connection comes back only after
//! the answer to its last statement was read; in any other case it is closed, and its place is free at once.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use replay_core::{Error, ErrorKind, Result};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
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
    idle: Mutex<IdleConnections>,
    /// Told when the pool is gone.
    gone: Arc<Notify>,
}

#[derive(Default)]
struct IdleConnections {
    /// The one that was used last comes last.
    connections: VecDeque<Idle>,
    /// Whether a task closes those that are too old.
    are_watched: bool,
}

struct Idle {
    connection: PgConnection,
    made: Instant,
    since: Instant,
}

impl Idle {
    /// How long it may still be kept; nothing if it is too old.
    fn left(&self, now: Instant, limits: &Limits) -> Duration {
        let of = |limit: Duration, since: Instant| limit.saturating_sub(now.saturating_duration_since(since));
        of(limits.idle, self.since).min(of(limits.lifetime, self.made))
    }
}

impl IdleConnections {
    /// Takes out those that are too old, and says when the next one will be; none if there are no others.
    fn take_old(&mut self, limits: &Limits) -> (VecDeque<Idle>, Option<Duration>) {
        let now = Instant::now();
        let next = |kept: &VecDeque<Idle>| kept.iter().map(|idle| idle.left(now, limits)).min();
        match next(&self.connections) {
            Some(Duration::ZERO) => {}
            soon => return (VecDeque::new(), soon),
        }
        let (old, kept) = std::mem::take(&mut self.connections).into_iter().partition(|idle| idle.left(now, limits).is_zero());
        self.connections = kept;
        (old, next(&self.connections))
    }
}

/// The rows of a statement.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<PgRow>,
    /// Whether an earlier attempt, whose answer was lost, may have done what this one did not find to do.
    pub(crate) is_unknown: bool,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, pooler: Pooler, limits: Limits) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.max_connections.max(1) as usize));
        Arc::new(Self { options, pooler, limits, places, idle: Mutex::default(), gone: Arc::default() })
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
    ) -> Result<Answer> {
        let (mut attempt, mut is_unknown) = (0, false);
        loop {
            attempt += 1;
            let arguments = args().into_arguments(operation)?;
            let mut lease = ambiguous(self.lease(operation).await, is_unknown)?;
            let failure = match timeout(self.limits.response, self.execute(&mut lease.connection, sql, arguments)).await {
                Ok(Ok(rows)) => {
                    lease.give_back();
                    return Ok(Answer { rows, is_unknown });
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
                Aftermath::Stale | Aftermath::Lost => self.idle.lock().connections.clear(),
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
        let (old, _) = idle.take_old(&self.limits);
        let last = idle.connections.pop_back();
        drop(idle);
        drop(old);
        last
    }

    fn put_idle(self: &Arc<Self>, connection: Idle) {
        // Without a runtime, as when that is ending, there is nobody to watch them, nor anybody who keeps them.
        let runtime = Handle::try_current().ok();
        let mut idle = self.idle.lock();
        idle.connections.push_back(connection);
        let begins = runtime.is_some() && !idle.are_watched;
        idle.are_watched |= begins;
        drop(idle);
        if let Some(runtime) = runtime.filter(|_| begins) {
            let watch = Watch { pool: Arc::downgrade(self), is_over: false };
            // Not within the lock: a runtime that ends drops the watch here and now, and that takes the lock.
            runtime.spawn(watch.close_old(self.gone.clone()));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.gone.notify_one();
    }
}

/// The duty to close idle connections that are too old, also if nobody leases one any more. It does not keep the pool.
struct Watch {
    pool: Weak<Pool>,
    is_over: bool,
}

impl Watch {
    /// Goes on until no connection is idle; the next one that is begins anew.
    async fn close_old(mut self, gone: Arc<Notify>) {
        while let Some(next) = self.close() {
            // A wait that is over early, since the pool is gone, finds that out above.
            let _ = timeout(next, gone.notified()).await;
        }
    }

    /// Closes what is too old, and says how long it is until there is more; none if there is nothing to watch any more.
    fn close(&mut self) -> Option<Duration> {
        let pool = self.pool.upgrade()?;
        let mut idle = pool.idle.lock();
        let (old, next) = idle.take_old(&pool.limits);
        // Within the lock, so that no connection comes back unwatched.
        self.is_over = next.is_none();
        idle.are_watched = !self.is_over;
        drop(idle);
        drop(old);
        next
    }
}

impl Drop for Watch {
    /// A runtime that ends drops it half-way, and the pool may go on in another one.
    fn drop(&mut self) {
        if !self.is_over
            && let Some(pool) = self.pool.upgrade()
        {
            pool.idle.lock().are_watched = false;
        }
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
        pool.put_idle(Idle { connection, made, since: Instant::now() });
        // Only now, so that whoever waits finds the connection.
        drop(place);
    }
}
