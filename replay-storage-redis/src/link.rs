//! The way to the server: one multiplexed connection that is made anew when it breaks, and every call within a deadline.

use std::{fmt, io, sync::Arc, time::Duration};

use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Shared, join_all},
};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, ServerErrorKind, Value,
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
    error::{Effect, Failure, Stage},
    replicas::{Replicas, Replicated},
    script,
};

/// How long the first pause before another attempt is; each next one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// What waits to be sent goes out in writes of about so many bytes.
const WRITE_BYTES: usize = 64 << 10;

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
    /// To one server, and another one to it for writes.
    Two(MultiplexedConnection, Arc<Replicated>),
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
    /// The replicas that must have a write before it counts, of a server that is no cluster.
    replicas: Option<Replicas>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("timeouts", &self.timeouts).field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

impl Link {
    /// With a number of replicas to wait for, and the key that is written then.
    pub(crate) fn new(target: Target, timeouts: Timeouts, (wait_replicas, mark): (u32, &[u8])) -> Self {
        // Half of the time, since a write may come while another one waits.
        let replicas = (wait_replicas > 0).then(|| Replicas::new(wait_replicas, mark, timeouts.response / 2));
        Self { target: Arc::new(target), timeouts, state: Mutex::new(State { generation: 0, connecting: None }), replicas }
    }

    /// Connects, once, and fails if that fails.
    pub(crate) async fn open(&self, operation: &'static str) -> Result<()> {
        self.attempt(&redis::cmd("PING"), Effect::Read).await.map(drop).map_err(|failure| failure.into_error(operation, Effect::Read))
    }

    fn connection(&self) -> (u64, Connecting) {
        let mut state = self.state.lock();
        let generation = state.generation;
        let connecting = state.connecting.get_or_insert_with(|| {
            let work = connect(self.target.clone(), self.timeouts, self.replicas.clone());
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
        let (mut pause, mut was_resent, mut was_open) = (FIRST_PAUSE, false, false);
        loop {
            let mut failure = match self.attempt(cmd, effect).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            // What the first attempt may have done, a refusal of the second does not undo.
            failure.was_open |= was_open;
            was_open = failure.is_unknown();
            let was_lost = failure.stage != Stage::Connecting && failure.error.kind() == ErrorKind::Io && !failure.error.is_timeout();
            // A lost answer is asked for again once: the connection may have been broken since long before the call.
            let again = if was_lost {
                effect != Effect::Once && !std::mem::replace(&mut was_resent, true)
            } else {
                failure.passes() && (effect != Effect::Once || !was_open) && Instant::now() + pause < until
            };
            if !again {
                return Err(failure.into_error(operation, effect));
            }
            if !was_lost {
                SystemClock.sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Makes sure that replicas have what was found to be written already, if they must have it.
    pub(crate) async fn confirm(&self, operation: &'static str) -> Result<()> {
        match &self.replicas {
            Some(replicas) => self.call(operation, Effect::Repeatable, &replicas.mark).await.map(drop),
            None => Ok(()),
        }
    }

    /// Several calls at once, answered in their order; fails if one of them does.
    pub(crate) async fn calls(&self, operation: &'static str, effect: Effect, cmds: &[Cmd]) -> Result<Vec<Value>> {
        join_all(cmds.iter().map(|cmd| self.call(operation, effect, cmd))).await.into_iter().collect()
    }

    async fn attempt(&self, cmd: &Cmd, effect: Effect) -> std::result::Result<Value, Failure> {
        let (generation, connecting) = self.connection();
        let is_cluster = matches!(*self.target, Target::Cluster(_));
        let mut connection = match connecting.await {
            Ok(connection) => connection,
            Err(error) => {
                self.give_up(generation);
                return Err(Failure { stage: Stage::Connecting, is_cluster, ..Failure::from(error) });
            }
        };
        let result = match self.request(&mut connection, cmd, effect).await {
            Err(Failure { error, .. }) if is_code(&error, ServerErrorKind::NoScript) => match script::with_source(cmd) {
                Some(whole) => self.request(&mut connection, &whole, effect).await,
                None => Err(error.into()),
            },
            result => result,
        };
        result.map_err(|failure| {
            let Failure { error, stage, .. } = &failure;
            // A replica that was the primary leads nowhere, and what does not answer may be a connection that the network has lost.
            let is_broken = error.is_io_error() && !(*stage == Stage::Replicas && error.is_timeout());
            if is_broken || error.is_unrecoverable_error() || (is_code(error, ServerErrorKind::ReadOnly) && !is_cluster) {
                self.give_up(generation);
            }
            Failure { is_cluster, ..failure }
        })
    }

    async fn request(&self, connection: &mut Connection, cmd: &Cmd, effect: Effect) -> std::result::Result<Value, Failure> {
        let work = async {
            match connection {
                Connection::Two(_, writes) if effect != Effect::Read => write_and_wait(writes, cmd).await,
                Connection::One(connection) | Connection::Two(connection, _) => {
                    Ok(connection.req_packed_command(cmd).await?.extract_error()?)
                }
                Connection::Many(connection) => Ok(connection.req_packed_command(cmd).await?.extract_error()?),
            }
        };
        // The driver has its own timeouts; this one holds whatever it does.
        let limit = self.timeouts.response + self.timeouts.response / 4;
        timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out().into()))
    }
}

async fn write_and_wait(writes: &Arc<Replicated>, cmd: &Cmd) -> std::result::Result<Value, Failure> {
    let answer = writes.connection.clone().req_packed_command(cmd).await?.extract_error()?;
    let error = match writes.round().await {
        Ok(true) => return Ok(answer),
        Ok(false) => timed_out(),
        Err(error) => error,
    };
    Err(Failure { stage: Stage::Replicas, ..Failure::from(error) })
}

fn timed_out() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

fn is_code(error: &RedisError, code: ServerErrorKind) -> bool {
    error.kind() == ErrorKind::Server(code)
}

async fn connect(target: Arc<Target>, timeouts: Timeouts, replicas: Option<Replicas>) -> std::result::Result<Connection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeouts.connect))
        .set_response_timeout(Some(timeouts.response))
        .set_pipeline_buffer_size(1024)
        .set_write_backpressure_boundary(WRITE_BYTES);
    let work = async {
        let client = match &*target {
            Target::Single(client) => (**client).clone(),
            Target::Sentinel(client) => client.lock().await.async_get_client().await?,
            Target::Cluster(client) => return Ok(Connection::Many(client.get_async_connection().await?)),
        };
        let one = client.get_multiplexed_async_connection_with_config(&config).await?;
        let Some(replicas) = replicas else { return Ok(Connection::One(one)) };
        let other = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Connection::Two(one, Arc::new(Replicated::new(other, replicas))))
    };
    timeout(timeouts.connect, work).await.unwrap_or_else(|_| Err(timed_out()))
}
