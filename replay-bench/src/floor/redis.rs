//! The floor of the Redis store: the same bytes through the same driver, over one multiplexed connection to the same server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::try_join_all;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Script, aio::MultiplexedConnection, io::tcp::TcpSettings};

use crate::{
    Outcome, harness,
    job::{Bits, STEPS},
};

/// Compares the newest sequence of a saga with the one before, and stores a record and its sequence.
const APPEND: &str = "local newest = redis.call('HGET', KEYS[1], 'h') or '0'
    if newest ~= ARGV[1] then return newest end
    redis.call('HSET', KEYS[1], 'h', ARGV[2], ARGV[2], ARGV[3])
    return 1";

/// A record's header and context as one value.
#[derive(Debug, Clone)]
pub(crate) struct Value(Bytes);

/// The values of a job's records.
pub(crate) fn values(records: &[Bits]) -> Arc<[Value]> {
    records.iter().map(Value::of).collect()
}

impl Value {
    pub(crate) fn of(bits: &Bits) -> Self {
        Self([&bits.header[..], &bits.context[..]].concat().into())
    }
}

/// A connection, and the name of the next saga.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    connection: MultiplexedConnection,
    append: Arc<str>,
    sagas: Arc<AtomicU64>,
}

impl Bare {
    pub(crate) async fn connect(url: &str) -> Outcome<Self> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        // The driver's own half second is too short for a disk that others keep busy; the store has this one as well.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
        let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?;
        let append = Script::new(APPEND).load_async(&mut connection).await?;
        Ok(Self { connection, append: append.into(), sagas: Arc::default() })
    }

    /// Empties the server, so that no row pays for what another one left.
    pub(crate) async fn clear(&self) -> Outcome {
        Ok(redis::cmd("FLUSHALL").exec_async(&mut self.connection.clone()).await?)
    }

    fn next_saga(&self) -> String {
        format!("bare:{}", self.sagas.fetch_add(1, Ordering::Relaxed))
    }

    /// Microseconds per step of so many sagas, a SET for each record.
    pub(crate) async fn alone(&self, values: &Arc<[Value]>, sagas: usize) -> Outcome<f64> {
        let (bare, values) = (self.clone(), values.clone());
        let start = Instant::now();
        tokio::spawn(async move {
            let mut connection = bare.connection.clone();
            for _ in 0..sagas {
                let saga = bare.next_saga();
                for (sequence, value) in values.iter().enumerate() {
                    redis::cmd("SET").arg(format!("{saga}:{sequence}")).arg(&value.0[..]).exec_async(&mut connection).await?;
                }
            }
            Outcome::Ok(())
        })
        .await??;
        Ok(harness::micros_each(start.elapsed(), sagas * STEPS))
    }

    /// Steps per second of so many tasks at once, a call of the script for each record.
    pub(crate) async fn throughput(&self, values: &Arc<[Value]>, tasks: usize, each: usize) -> Outcome<f64> {
        let start = Instant::now();
        let task = || {
            let (bare, values) = (self.clone(), values.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    bare.append_all(&bare.next_saga(), &values).await?;
                }
                Outcome::Ok(())
            })
        };
        try_join_all((0..tasks).map(|_| task())).await?.into_iter().collect::<Outcome>()?;
        Ok(harness::per_second(start.elapsed(), tasks * each * STEPS))
    }

    async fn append_all(&self, saga: &str, values: &[Value]) -> Outcome {
        let mut connection = self.connection.clone();
        for (sequence, value) in values.iter().enumerate() {
            let mut cmd = redis::cmd("EVALSHA");
            cmd.arg(&*self.append).arg(1).arg(saga).arg(sequence).arg(sequence + 1).arg(&value.0[..]);
            let done: i64 = cmd.query_async(&mut connection).await?;
            if done != 1 {
                return Err("a bare append was refused".into());
            }
        }
        Ok(())
    }

    /// Makes a saga of so many records that are all this one.
    pub(crate) async fn long(&self, saga: &str, value: &Value, records: usize) -> Outcome {
        let all: Vec<usize> = (1..=records).collect();
        for chunk in all.chunks(1000) {
            let mut cmd = redis::cmd("HSET");
            cmd.arg(saga);
            for sequence in chunk {
                cmd.arg(sequence).arg(&value.0[..]);
            }
            cmd.exec_async(&mut self.connection.clone()).await?;
        }
        Ok(())
    }

    /// One record's bytes.
    pub(crate) async fn get(&self, saga: &str, sequence: usize) -> Outcome<Bytes> {
        let mut cmd = redis::cmd("HGET");
        cmd.arg(saga).arg(sequence);
        self.bytes(&cmd).await
    }

    async fn bytes(&self, cmd: &Cmd) -> Outcome<Bytes> {
        let found: Option<Vec<u8>> = cmd.query_async(&mut self.connection.clone()).await?;
        Ok(found.ok_or("no record")?.into())
    }

    /// The bytes of the first so many records.
    pub(crate) async fn history(&self, saga: &str, records: usize) -> Outcome<Vec<Bytes>> {
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(saga).arg((1..=records).collect::<Vec<_>>());
        let found: Vec<Vec<u8>> = cmd.query_async(&mut self.connection.clone()).await?;
        Ok(found.into_iter().map(Bytes::from).collect())
    }

    /// Reads the newest record of each of so many sagas and appends so many more to each, all of them at once.
    pub(crate) async fn go_on(&self, values: &Arc<[Value]>, tasks: usize, more: usize) -> Outcome {
        let task = |number: usize| {
            let (bare, values) = (self.clone(), values.clone());
            tokio::spawn(async move {
                bare.get(&format!("bare:{number}"), values.len()).await?;
                bare.append_all(&format!("more:{number}"), &values[..more.min(values.len())]).await
            })
        };
        try_join_all((0..tasks).map(task)).await?.into_iter().collect()
    }
}
