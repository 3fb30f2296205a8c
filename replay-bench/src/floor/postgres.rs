//! The floor of the PostgreSQL store: the same bytes through the same driver into one table with one index, on the same server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    Outcome, harness,
    job::{Bits, STEPS},
};

const INSERT: &str = "INSERT INTO bare (saga_no, sequence, created_at, header, context) VALUES ($1, $2, $3, $4, $5)";
const INSERT_MANY: &str = "INSERT INTO bare (saga_no, sequence, created_at, header, context)
    SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::bytea[], $5::text[])";

/// A bare table on a server.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    url: Arc<str>,
    sagas: Arc<AtomicI64>,
}

/// One row, and where to say that it is committed.
type Job = ((i64, i64, Bits), oneshot::Sender<()>);

impl Bare {
    pub(crate) async fn make(url: &str) -> Outcome<Self> {
        let bare = Self { url: url.into(), sagas: Arc::default() };
        bare.connect()
            .await?
            .execute(
                "CREATE TABLE IF NOT EXISTS bare (saga_no int8 NOT NULL, sequence int8 NOT NULL, created_at int8 NOT NULL,
                     header bytea NOT NULL, context text COLLATE \"C\" NOT NULL);
                 TRUNCATE bare;
                 CREATE UNIQUE INDEX IF NOT EXISTS bare_by_saga ON bare (saga_no, sequence);
                 CREATE INDEX IF NOT EXISTS bare_by_time ON bare (saga_no, created_at) WHERE sequence % 16 = 1",
            )
            .await?;
        Ok(bare)
    }

    async fn connect(&self) -> Outcome<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    fn next_saga(&self) -> i64 {
        self.sagas.fetch_add(1, Ordering::Relaxed)
    }

    /// Microseconds per step of so many sagas, each record a commit of its own.
    pub(crate) async fn alone(&self, records: &Arc<[Bits]>, sagas: usize) -> Outcome<f64> {
        let mut connection = self.connect().await?;
        connection.execute(sqlx::query(INSERT).bind(-1_i64).bind(self.next_saga()).bind(0_i64).bind(&b""[..]).bind("")).await?;
        let (bare, records) = (self.clone(), records.clone());
        let start = Instant::now();
        tokio::spawn(async move {
            for _ in 0..sagas {
                let saga = bare.next_saga();
                for (sequence, bits) in (1_i64..).zip(&*records) {
                    let query = sqlx::query(INSERT).bind(saga).bind(sequence).bind(sequence * 1000).bind(&bits.header[..]);
                    connection.execute(query.bind(std::str::from_utf8(&bits.context)?)).await?;
                }
            }
            Outcome::Ok(())
        })
        .await??;
        Ok(harness::micros_each(start.elapsed(), sagas * STEPS))
    }

    /// Steps per second of so many tasks at once, whose rows two connections commit in groups: whatever queued up meanwhile.
    pub(crate) async fn throughput(&self, records: &Arc<[Bits]>, tasks: usize, each: usize) -> Outcome<f64> {
        let (queue, jobs) = mpsc::unbounded_channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        let mut lanes = Vec::new();
        for _ in 0..2 {
            lanes.push(tokio::spawn(lane(self.connect().await?, jobs.clone())));
        }
        let start = Instant::now();
        let task = || {
            let (bare, queue, records) = (self.clone(), queue.clone(), records.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    let saga = bare.next_saga();
                    for (sequence, bits) in (1_i64..).zip(&*records) {
                        let (done, committed) = oneshot::channel();
                        queue.send(((saga, sequence, bits.clone()), done))?;
                        committed.await?;
                    }
                }
                Outcome::Ok(())
            })
        };
        futures::future::try_join_all((0..tasks).map(|_| task())).await?.into_iter().collect::<Outcome>()?;
        let took = start.elapsed();
        drop(queue);
        for lane in lanes {
            lane.await??;
        }
        Ok(harness::per_second(took, tasks * each * STEPS))
    }

    /// A history of so many records of the saga 1, and as many others with a record each.
    pub(crate) async fn fill(&self, bits: &Bits, records: usize, others: usize) -> Outcome {
        let mut connection = self.connect().await?;
        let sql = "INSERT INTO bare SELECT 1, n, n * 1000, $1, $2 FROM generate_series(1, $3::int8) AS n
            UNION ALL SELECT 1 + n, 1, n * 1000, $1, $2 FROM generate_series(1, $4::int8) AS n";
        let query = sqlx::query(sql).bind(&bits.header[..]).bind(std::str::from_utf8(&bits.context)?);
        connection.execute(query.bind(i64::try_from(records)?).bind(i64::try_from(others)?)).await?;
        connection.execute("VACUUM ANALYZE bare").await?;
        Ok(())
    }

    pub(crate) async fn reader(&self) -> Outcome<Reader> {
        Ok(Reader(self.connect().await?))
    }
}

/// One connection that takes what is queued, again and again.
async fn lane(mut connection: PgConnection, jobs: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>) -> Outcome {
    loop {
        let mut group = Vec::new();
        if jobs.lock().await.recv_many(&mut group, 512).await == 0 {
            return Ok(());
        }
        let (rows, done): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let sagas: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let sequences: Vec<i64> = rows.iter().map(|row| row.1).collect();
        let instants: Vec<i64> = rows.iter().map(|row| row.1 * 1000).collect();
        let headers: Vec<&[u8]> = rows.iter().map(|row| &row.2.header[..]).collect();
        let contexts: Vec<&str> = rows.iter().map(|row| std::str::from_utf8(&row.2.context)).collect::<Result<_, _>>()?;
        let query = sqlx::query(INSERT_MANY).bind(&sagas[..]).bind(&sequences[..]).bind(&instants[..]).bind(&headers[..]);
        connection.execute(query.bind(&contexts[..])).await?;
        for done in done {
            // The task may have failed; then its own error is the one to be told.
            let _ = done.send(());
        }
    }
}

/// A connection that reads.
#[derive(Debug)]
pub(crate) struct Reader(PgConnection);

impl Reader {
    /// The row of a saga with this sequence.
    pub(crate) async fn at(&mut self, saga: i64, sequence: i64) -> Outcome<Bits> {
        let query = sqlx::query("SELECT header, context FROM bare WHERE saga_no = $1 AND sequence = $2").bind(saga).bind(sequence);
        bits(&query.fetch_one(&mut self.0).await?)
    }

    /// The whole history of a saga.
    pub(crate) async fn history(&mut self, saga: i64) -> Outcome<Vec<Bits>> {
        let query = sqlx::query("SELECT header, context FROM bare WHERE saga_no = $1 ORDER BY sequence").bind(saga);
        query.fetch_all(&mut self.0).await?.iter().map(bits).collect()
    }
}

fn bits(row: &sqlx::postgres::PgRow) -> Outcome<Bits> {
    let (header, context): (&[u8], &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Bits { header: Bytes::copy_from_slice(header), context: Bytes::copy_from_slice(context.as_bytes()) })
}
