//! Steps and reads on the PostgreSQL store, on a server of this run's own whose commits are synchronised to disk.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use replay::{
    OpenStore, Outline, Payload, SagaId, SnapshotRecord, Store,
    storage::{At, SnapshotQuery},
};
use replay_services::postgres;
use serde_json::Value;
use tokio::{runtime::Runtime, sync::Mutex};

use crate::{
    Outcome,
    floor::postgres::{Bare, Reader},
    harness::{self, Bench, micros_each},
    history,
    job::{self, Bits, STEPS},
    report::Row,
};

const ALONE: [(&str, usize); 2] = [("postgres/step-alone", 1024), ("postgres/step-alone-10k", 10 * 1024)];
const AT_ONCE: [(&str, usize, usize); 4] = [
    ("postgres/at-once-64", 64, 1024),
    ("postgres/at-once-256", 256, 1024),
    ("postgres/at-once-64-10k", 64, 10 * 1024),
    ("postgres/at-once-256-10k", 256, 10 * 1024),
];
const STATE: &str = "postgres/state-among-1000000";
const HISTORY: &str = "postgres/history-1000";

/// How many of the store's snapshots are those of the saga whose state is asked for.
const OF_ONE: usize = 10_000;

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    let names: Vec<&str> = ALONE.iter().map(|row| row.0).chain(AT_ONCE.iter().map(|row| row.0)).chain([STATE, HISTORY]).collect();
    if !bench.wants(&names) {
        return Ok(());
    }
    let server = postgres::start(postgres::Options::default().durable(true))?;
    // On one machine nothing is encrypted, on either side.
    let url = format!("{}?sslmode=disable", server.url());
    let runtime = harness::threads()?;
    for (name, bytes) in ALONE {
        if bench.wants(&[name]) {
            alone(bench, &runtime, &url, name, bytes)?;
        }
    }
    for (name, tasks, bytes) in AT_ONCE {
        if bench.wants(&[name]) {
            at_once(bench, &runtime, &url, name, (tasks, bytes))?;
        }
    }
    if bench.wants(&[STATE, HISTORY]) {
        reads(bench, &runtime, &url)?;
    }
    Ok(())
}

fn size(bytes: usize) -> &'static str {
    if bytes > 1024 { "10 KB" } else { "1 KB" }
}

fn alone(bench: &mut Bench, runtime: &Runtime, url: &str, name: &str, bytes: usize) -> Outcome {
    let (sagas, saga, context) = (bench.count(100, 2), job::saga(STEPS)?, job::context(bytes));
    let store = runtime.block_on(Store::open(url))?;
    let records = runtime.block_on(job::records(&context))?;
    let bare = runtime.block_on(Bare::make(url))?;
    let figure = || runtime.block_on(job::alone(&store, &saga, &context, sagas));
    let measured = bench.rounds(figure, || runtime.block_on(bare.alone(&records, sagas)))?;
    let row = Row::less(name, &format!("a step alone, {}, PostgreSQL with synchronous_commit = on", size(bytes)), "µs").ratio_must(1.3);
    let row = if bytes > 1024 { row } else { row.must(600.0).aim(350.0) };
    bench.push(row.measured(&measured, "a bare INSERT of each of the job's 11 records, committed one by one, through the same driver"));
    Ok(())
}

fn at_once(bench: &mut Bench, runtime: &Runtime, url: &str, name: &str, (tasks, bytes): (usize, usize)) -> Outcome {
    let (each, saga, context) = (bench.count(1536 / tasks, 1), job::saga(STEPS)?, job::context(bytes));
    let store = runtime.block_on(Store::open(url))?;
    let records = runtime.block_on(job::records(&context))?;
    let bare = runtime.block_on(Bare::make(url))?;
    let figure = || runtime.block_on(job::throughput(&store, &saga, &context, tasks, each));
    let measured = bench.rounds(figure, || runtime.block_on(bare.throughput(&records, tasks, each)))?;
    let row = Row::more(name, &format!("{tasks} sagas at once, {}, PostgreSQL", size(bytes)), "steps/s").ratio_must(0.6);
    let row = match (tasks, bytes) {
        (64, 1024) => row.must(15e3).aim(50e3),
        (_, 1024) => row.aim(100e3),
        _ => row,
    };
    bench.push(row.measured(&measured, "the same records, whatever queued up in one UNNEST insert, on two connections of the same driver"));
    Ok(())
}

/// What a store and a bare table with the same history are read through.
struct Sides<'a> {
    runtime: &'a Runtime,
    store: Store,
    reader: Mutex<Reader>,
    id: SagaId,
    outline: Arc<Outline>,
}

impl Sides<'_> {
    fn state(&self, sequence: usize, times: usize) -> Outcome<f64> {
        let at = history::instant(sequence)?;
        let start = Instant::now();
        self.runtime.block_on(async {
            for _ in 0..times {
                let record = self.store.snapshots().load(&self.id, At::Time(at)).await?.ok_or("no state")?;
                if record.sequence != sequence as u64 || !record.decode()?.context()?.is_object() {
                    return Err("the wrong state".into());
                }
            }
            Outcome::Ok(())
        })?;
        Ok(micros_each(start.elapsed(), times))
    }

    fn bare_state(&self, sequence: usize, times: usize) -> Outcome<f64> {
        let start = Instant::now();
        self.runtime.block_on(async {
            let mut reader = self.reader.lock().await;
            for _ in 0..times {
                self.decode(reader.at(1, i64::try_from(sequence)?).await?)?.decode()?.context()?;
            }
            Outcome::Ok(())
        })?;
        Ok(micros_each(start.elapsed(), times))
    }

    fn decode(&self, bits: Bits) -> Outcome<SnapshotRecord> {
        Ok(SnapshotRecord::from_parts(self.outline.clone(), bits.header, Payload::json(bits.context))?)
    }

    fn history(&self) -> Outcome<f64> {
        let start = Instant::now();
        self.runtime.block_on(async {
            let mut records = self.store.snapshots().list(SnapshotQuery::new(self.id.clone()).with_sequences(1, 1000));
            while let Some(record) = records.try_next().await? {
                record.decode()?;
            }
            Outcome::Ok(())
        })?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn bare_history(&self) -> Outcome<f64> {
        let start = Instant::now();
        self.runtime.block_on(async {
            for bits in self.reader.lock().await.history(1).await?.into_iter().take(1000) {
                self.decode(bits)?.decode()?;
            }
            Outcome::Ok(())
        })?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

fn reads(bench: &mut Bench, runtime: &Runtime, url: &str) -> Outcome {
    let (of_one, others) = (bench.count(OF_ONE, 50), bench.count(1_000_000 - OF_ONE, 50));
    let context = Bytes::from(serde_json::to_vec(&job::context(1024))?);
    let outline = job::saga::<Value>(of_one)?.outline().clone();
    let (store, bare) = runtime.block_on(async { Outcome::Ok((Store::open(url).await?, Bare::make(url).await?)) })?;
    let id = SagaId::new("long")?;
    let newest = runtime.block_on(async {
        history::long_saga(&store, &id, &outline, &context, of_one).await?;
        Outcome::Ok(store.snapshots().load(&id, At::Latest).await?.ok_or("the history is not there")?)
    })?;
    let bits = Bits { header: newest.header().clone(), context: newest.context_text()? };
    let sides = |store, reader| Sides { runtime, store, reader: Mutex::new(reader), id: id.clone(), outline: outline.clone() };
    if bench.wants(&[HISTORY]) {
        runtime.block_on(bare.fill(&bits, 1000.min(of_one), 0))?;
        let sides = sides(store.clone(), runtime.block_on(bare.reader())?);
        let measured = bench.rounds(|| sides.history(), || sides.bare_history())?;
        let row = Row::less(HISTORY, "the history of 1,000 steps, each state checked, PostgreSQL", "ms").must(4.0).aim(2.0);
        bench.push(row.measured(&measured, "a bare SELECT of the rows, then the same checks"));
    }
    if bench.wants(&[STATE]) {
        let bare = runtime.block_on(Bare::make(url))?;
        runtime.block_on(async {
            history::heads(&store, &outline, &context, others).await?;
            bare.fill(&bits, of_one, others).await
        })?;
        let sides = sides(store, runtime.block_on(bare.reader())?);
        let (times, at) = (bench.count(1000, 3), of_one / 2);
        let measured = bench.rounds(|| sides.state(at, times), || sides.bare_state(at, times))?;
        let row = Row::less(STATE, "the state at an instant, among 1,000,000 snapshots, PostgreSQL", "µs").must(1000.0).aim(300.0);
        bench.push(row.ratio_must(1.3).measured(&measured, "a bare SELECT by a unique index, then the same checks and the same parse"));
    }
    Ok(())
}
