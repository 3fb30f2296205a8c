//! Steps and reads on the S3 store, on a server of this run's own. It is on this machine, so a request costs what the driver and the
//! server take; with a bucket far away the ratios come closer to 1.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use replay::{OpenStore, Outline, Payload, SagaId, SnapshotRecord, Store, storage::At};
use replay_services::s3::{self, BUCKET, Server};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::reads;
use crate::{
    Outcome,
    floor::s3::{self as floor, Bare},
    harness::{self, Bench, micros_each},
    history,
    job::{self, Bits, STEPS},
    report::Row,
};

const ALONE: [(&str, usize); 2] = [("s3/step-alone", 1024), ("s3/step-alone-10k", 10 * 1024)];
const STATE: &str = "s3/state-at-instant";
const HISTORY: &str = "s3/history";

/// So many records are appended at a time where a history is made: fewer than fill a bundle.
const BATCH: usize = 25;

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    if !bench.wants(&[ALONE[0].0, ALONE[1].0, STATE, HISTORY]) {
        return Ok(());
    }
    let server = s3::start(s3::Options::default().durable(true))?;
    let rows = Rows { bare: Bare::connect(server.port()), server, runtime: harness::threads()? };
    for (name, bytes) in ALONE {
        rows.alone(bench, name, bytes)?;
    }
    rows.reads(bench)
}

/// What all rows share.
struct Rows {
    server: Server,
    runtime: Runtime,
    bare: Bare,
}

impl Rows {
    /// A new handle of the store under `prefix`.
    async fn open(&self, prefix: &str) -> Outcome<Store> {
        Ok(Store::open(&self.server.url().replace(&format!("@{BUCKET}?"), &format!("@{BUCKET}/{prefix}?"))).await?)
    }

    fn alone(&self, bench: &mut Bench, name: &str, bytes: usize) -> Outcome {
        if !bench.wants(&[name]) {
            return Ok(());
        }
        let (sagas, saga, context) = (bench.count(60, 2), job::saga(STEPS)?, job::context(bytes));
        let store = self.runtime.block_on(self.open(&format!("alone-{bytes}")))?;
        let objects = floor::objects(&self.runtime.block_on(job::records(&context))?)?;
        let figure = || self.runtime.block_on(job::alone(&store, &saga, &context, sagas));
        let measured = bench.rounds(figure, || self.runtime.block_on(self.bare.alone(&objects, sagas)))?;
        let row = Row::less(name, &format!("a step alone, {} KB, S3", bytes / 1024), "µs").ratio_must(1.2);
        bench.push(row.measured(&measured, "a bare PUT of each object that the job's 11 records take, through the same driver"));
        Ok(())
    }

    fn reads(&self, bench: &mut Bench) -> Outcome {
        if bench.wants(&[STATE]) {
            let total = bench.count(20_000, 200);
            let sides = self.sides("state", total)?;
            let (times, at) = (bench.count(100, 2), total / 4);
            let figure = || self.runtime.block_on(sides.states(at, times));
            let measured = bench.rounds(figure, || self.runtime.block_on(sides.bare_states(times)))?;
            let what = format!("the state at an instant, at record {at} of {total}, by a handle that has read none of it, S3");
            bench.push(
                Row::less(STATE, &what, "µs")
                    .ratio_must(1.3)
                    .measured(&measured, "three bare GETs of such objects one after the other, then the same checks and the same parse"),
            );
        }
        if bench.wants(&[HISTORY]) {
            let sides = self.sides("history", bench.count(1000, 200))?;
            let figure = || self.runtime.block_on(sides.history());
            let measured = bench.rounds(figure, || self.runtime.block_on(sides.bare_history()))?;
            let what = "the history of 1,000 steps, each state checked, by a handle that has read none of it, S3";
            bench.push(
                Row::less(HISTORY, what, "ms")
                    .measured(&measured, "bare GETs of the same objects one after the other, then the same checks"),
            );
        }
        Ok(())
    }

    /// A history of so many records under `prefix`.
    fn sides(&self, prefix: &'static str, records: usize) -> Outcome<Sides<'_>> {
        let context = Bytes::from(serde_json::to_vec(&job::context(1024))?);
        let outline = job::saga::<Value>(STEPS)?.outline().clone();
        let id = SagaId::new("long")?;
        self.runtime.block_on(async {
            let store = self.open(prefix).await?;
            history::in_batches(&store, &id, &outline, &context, (records, BATCH)).await?;
            let newest = store.snapshots().load(&id, At::Latest).await?.ok_or("the history is not there")?;
            let bits = Bits { header: newest.header().clone(), context: newest.payload()?.bytes.clone() };
            let keys = self.bare.keys(&format!("{prefix}/")).await?;
            Ok(Sides { rows: self, prefix, id, outline, bits, keys, records })
        })
    }
}

/// A history, and what of it is read without the store.
struct Sides<'a> {
    rows: &'a Rows,
    prefix: &'static str,
    id: SagaId,
    outline: Arc<Outline>,
    bits: Bits,
    /// The objects' keys, the head's first.
    keys: Vec<String>,
    records: usize,
}

impl Sides<'_> {
    fn decode(&self, parse: bool) -> Outcome {
        let payload = Payload::json(self.bits.context.clone());
        reads::finish(SnapshotRecord::from_parts(self.outline.clone(), self.bits.header.clone(), payload)?, parse)
    }

    /// Microseconds per state, each by another handle; opening it does not count.
    async fn states(&self, at: usize, times: usize) -> Outcome<f64> {
        let mut total = 0.0;
        for _ in 0..times {
            let store = self.rows.open(self.prefix).await?;
            total += reads::states(&store, &self.id, at, 1).await?;
        }
        Ok(total / harness::number(times))
    }

    async fn bare_states(&self, times: usize) -> Outcome<f64> {
        let keys: Vec<String> = self.keys.iter().take(3).cloned().collect();
        let start = Instant::now();
        for _ in 0..times {
            self.rows.bare.read(&keys).await?;
            self.decode(true)?;
        }
        Ok(micros_each(start.elapsed(), times))
    }

    async fn history(&self) -> Outcome<f64> {
        let store = self.rows.open(self.prefix).await?;
        reads::whole(&store, &self.id, false).await
    }

    async fn bare_history(&self) -> Outcome<f64> {
        let start = Instant::now();
        self.rows.bare.read(&self.keys).await?;
        (0..self.records).try_for_each(|_| self.decode(false))?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
