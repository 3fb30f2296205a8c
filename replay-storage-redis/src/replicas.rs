//! Waiting until replicas have what was written.
//!
//! `WAIT` holds up everything behind it on its connection, so writes that wait have a connection of their own, and all that were
//! carried out before it share one.

use std::{fmt, io, sync::Arc, time::Duration};

use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use redis::{
    Cmd, Pipeline, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::Mutex as AsyncMutex;

/// How many replicas must have a write, and what is written before waiting for them.
#[derive(Debug, Clone)]
pub(crate) struct Replicas {
    pub(crate) count: u32,
    /// `WAIT` waits for what its connection has written, and for nothing on a new one: so something is always written before it, also
    /// where a call was repeated and found its work done.
    pub(crate) mark: Cmd,
    /// How long one `WAIT` may last.
    pub(crate) time: Duration,
}

impl Replicas {
    /// Waits for `count` replicas, after a write to `key`.
    pub(crate) fn new(count: u32, key: &[u8], time: Duration) -> Self {
        let mut mark = redis::cmd("SET");
        mark.arg(key).arg("");
        Self { count, mark, time }
    }
}

type Round = Shared<BoxFuture<'static, Result<bool, RedisError>>>;

/// A connection for writes that count once replicas have them.
pub(crate) struct Replicated {
    pub(crate) connection: MultiplexedConnection,
    replicas: Replicas,
    /// One round at a time: another one would wait behind it anyway.
    turn: AsyncMutex<()>,
    /// The round that has not begun.
    next: Mutex<Option<Round>>,
}

impl fmt::Debug for Replicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicated").field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

impl Replicated {
    pub(crate) fn new(connection: MultiplexedConnection, replicas: Replicas) -> Self {
        Self { connection, replicas, turn: AsyncMutex::default(), next: Mutex::default() }
    }

    /// Waits until enough replicas have everything that was answered on this connection before; false if they take too long.
    pub(crate) fn round(self: &Arc<Self>) -> impl Future<Output = Result<bool, RedisError>> + Send + use<> {
        let join = || {
            let shared = self.clone();
            let work = async move {
                let _turn = shared.turn.lock().await;
                *shared.next.lock() = None;
                shared.wait().await
            };
            // On its own, so that it goes on when the caller that began it is dropped.
            let lost = |_| RedisError::from(io::Error::from(io::ErrorKind::NotConnected));
            tokio::spawn(work).unwrap_or_else(move |gone| Err(lost(gone))).boxed().shared()
        };
        self.next.lock().get_or_insert_with(join).clone()
    }

    async fn wait(&self) -> Result<bool, RedisError> {
        let (replicas, mut pipeline) = (&self.replicas, Pipeline::with_capacity(2));
        pipeline.add_command(replicas.mark.clone());
        pipeline.cmd("WAIT").arg(replicas.count).arg(u64::try_from(replicas.time.as_millis()).unwrap_or(u64::MAX));
        let mut answers = self.connection.clone().req_packed_commands(&pipeline, 0, 2).await?.into_iter();
        answers.next().unwrap_or_default().extract_error()?;
        let reached = answers.next().unwrap_or_default().extract_error()?;
        Ok(matches!(reached, Value::Int(reached) if reached >= i64::from(replicas.count)))
    }
}
