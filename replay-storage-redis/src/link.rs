//! The way to the server: one multiplexed connection that is made anew when it breaks, and every call within a deadline.

use std::{fmt, io, sync::Arc, time::Duration};

use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Shared, join_all},
};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::SentinelClient,
};
use replay_core::{Clock, Result, SystemClock};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, timeout},
};

use crate::{
    error::{Effect, Failure},
    script,
};

/// How long the first pause before another attempt is; each next one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// Where the server is, and how connections to it are made.
pub(crate) enum Target {
    Single(Box<Client>),
    Sentinel(Box<AsyncMutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// To make a connection.
    pub(crate) connect: Duration,
    /// From a command to its answer.
    pub(crate) response: Duration,
    /// For how long a call is tried again that the server has surely not carried out.
    pub(crate) retry: Duration,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

type Connecting = Shared<BoxFuture<'static, std::result::Result<Connection, RedisError>>>;

/// What all callers share. `generation` tells connections apart, so that only the one that failed is given up.
struct State {
    generation: u64,
    connecting: Option<Connecting>,
}

pub(crate) struct Link {
    target: Arc<Target>,
    timeouts: Timeouts,
    state: Mutex<State>,
    /// How many replicas must have a write before it counts, of a server that is no cluster.
    wait_replicas: u32,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("timeouts", &self.timeouts).field("wait_replicas", &self.wait_replicas).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(target: Target, timeouts: Timeouts, wait_replicas: u32) -> Self {
        Self { target: Arc::new(target), timeouts, state: Mutex::new(State { generation: 0, connecting: None }), wait_replicas }
    }

    /// Connects, once, and fails if that fails.
    pub(crate) async fn open(&self, operation: &'static str) -> Result<()> {
        self.attempt(&redis::cmd("PING")).await.map(drop).map_err(|failure| failure.into_error(operation, Effect::Read))
    }

    fn connection(&self) -> (u64, Connecting) {
        let mut state = self.state.lock();
        let generation = state.generation;
        let connecting = state.connecting.get_or_insert_with(|| {
            let work = connect(self.target.clone(), self.timeouts);
            // On its own, so that it goes on when the caller that began it is dropped.
            let lost = |_| RedisError::from(io::Error::from(io::ErrorKind::NotConnected));
            tokio::spawn(work).unwrap_or_else(move |gone| Err(lost(gone))).boxed().shared()
        });
        (generation, connecting.clone())
    }

    /// The next call connects anew, unless another has begun to do so.
    fn give_up(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.generation == generation {
            (state.generation, state.connecting) = (generation + 1, None);
        }
    }

    /// Calls the server; see [`Effect`] for when it is tried again.
    pub(crate) async fn call(&self, operation: &'static str, effect: Effect, cmd: &Cmd) -> Result<Value> {
        let until = Instant::now() + self.timeouts.retry;
        let (mut pause, mut was_sent) = (FIRST_PAUSE, false);
        loop {
            let mut failure = match self.attempt(cmd).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let was_lost = failure.sent && failure.error.kind() == ErrorKind::Io && !failure.error.is_timeout();
            // A lost answer is asked for again once: the connection may have been broken since long before the call.
            let again = if was_lost {
                effect != Effect::Once && !was_sent
            } else {
                failure.passes() && (effect != Effect::Once || !failure.is_unknown()) && Instant::now() + pause < until
            };
            was_sent |= failure.sent && failure.error.kind() == ErrorKind::Io;
            if !again {
                failure.sent |= was_sent;
                return Err(failure.into_error(operation, effect));
            }
            if !was_lost {
                SystemClock.sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Several calls at once, answered in their order; fails if one of them does.
    pub(crate) async fn calls(&self, operation: &'static str, effect: Effect, cmds: &[Cmd]) -> Result<Vec<Value>> {
        join_all(cmds.iter().map(|cmd| self.call(operation, effect, cmd))).await.into_iter().collect()
    }

    async fn attempt(&self, cmd: &Cmd) -> std::result::Result<Value, Failure> {
        let (generation, connecting) = self.connection();
        let mut connection = match connecting.await {
            Ok(connection) => connection,
            Err(error) => {
                self.give_up(generation);
                return Err(Failure { error, sent: false, connecting: true, is_cluster: matches!(*self.target, Target::Cluster(_)) });
            }
        };
        let result = match self.request(&mut connection, cmd).await {
            Err(error) if is_code(&error, ServerErrorKind::NoScript) => match script::with_source(cmd) {
                Some(whole) => self.request(&mut connection, &whole).await,
                None => Err(error),
            },
            result => result,
        };
        result.map_err(|error| {
            // A replica that was the primary leads nowhere, and what does not answer may be a connection that the network has lost.
            let is_cluster = matches!(connection, Connection::Many(_));
            if error.is_io_error() || error.is_unrecoverable_error() || (is_code(&error, ServerErrorKind::ReadOnly) && !is_cluster) {
                self.give_up(generation);
            }
            Failure { error, sent: true, connecting: false, is_cluster }
        })
    }

    async fn request(&self, connection: &mut Connection, cmd: &Cmd) -> std::result::Result<Value, RedisError> {
        let work = async {
            match connection {
                Connection::One(connection) if self.wait_replicas > 0 && is_write(cmd) => self.request_and_wait(connection, cmd).await,
                Connection::One(connection) => connection.req_packed_command(cmd).await?.extract_error(),
                Connection::Many(connection) => connection.req_packed_command(cmd).await?.extract_error(),
            }
        };
        // The driver has its own timeouts; this one holds whatever it does.
        let limit = self.timeouts.response + self.timeouts.response / 4;
        timeout(limit, work).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    async fn request_and_wait(&self, connection: &mut MultiplexedConnection, cmd: &Cmd) -> std::result::Result<Value, RedisError> {
        let mut pipeline = Pipeline::with_capacity(2);
        let wait = self.timeouts.response.as_millis() / 2;
        pipeline.add_command(cmd.clone()).cmd("WAIT").arg(self.wait_replicas).arg(u64::try_from(wait).unwrap_or(u64::MAX));
        let mut answers = connection.req_packed_commands(&pipeline, 0, 2).await?.into_iter();
        let (answer, replicas) = (answers.next().unwrap_or_default().extract_error()?, answers.next().unwrap_or_default());
        match replicas.extract_error()? {
            Value::Int(count) if count >= i64::from(self.wait_replicas) => Ok(answer),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "too few replicas have the write").into()),
        }
    }
}

fn is_code(error: &RedisError, code: ServerErrorKind) -> bool {
    error.kind() == ErrorKind::Server(code)
}

fn is_write(cmd: &Cmd) -> bool {
    !matches!(cmd.args_iter().next(), Some(redis::Arg::Simple(b"GET" | b"HGET" | b"HMGET" | b"PING" | b"ZRANGE" | b"LRANGE" | b"LLEN")))
}

async fn connect(target: Arc<Target>, timeouts: Timeouts) -> std::result::Result<Connection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeouts.connect))
        .set_response_timeout(Some(timeouts.response))
        .set_pipeline_buffer_size(1024);
    let work = async {
        match &*target {
            Target::Single(client) => Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?)),
            Target::Sentinel(client) => {
                let client = client.lock().await.async_get_client().await?;
                Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Target::Cluster(client) => Ok(Connection::Many(client.get_async_connection().await?)),
        }
    };
    timeout(timeouts.connect, work).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}
