//! Steps, reads and recovery on the Redis store, on servers of this run's own that keep an append-only file.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use replay::{OpenStore, Outline, Payload, SagaId, SnapshotRecord, Store, storage::At};
use replay_services::redis::{self, Fsync, Server};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{reads, recovery};
use crate::{
    Outcome, child,
    floor::redis::{self as floor, Bare},
    harness::{self, Bench, Samples, micros_each, number},
    history,
    job::{self, STEPS},
    report::Row,
};

/// How a row's server makes what it acknowledged safe, and what is asked of the rows.
struct Kind {
    fsync: Fsync,
    word: &'static str,
    sagas: usize,
    alone: (f64, f64),
    at_once: (f64, f64, f64),
}

const KINDS: [Kind; 2] = [
    Kind { fsync: Fsync::EverySec, word: "everysec", sagas: 300, alone: (150.0, 80.0), at_once: (40e3, 100e3, 100e3) },
    Kind { fsync: Fsync::Always, word: "always", sagas: 150, alone: (450.0, 300.0), at_once: (15e3, 28e3, 35e3) },
];

const STATE: &str = "redis-everysec/state-of-10000";
const HISTORY: &str = "redis-everysec/history-1000";
const RECOVERY: &str = "redis-always/recovery-64";
const AGAIN: &str = "redis-always/recovery-64-executed-again";

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    KINDS.iter().try_for_each(|kind| Rows::measure(bench, kind))
}

/// What the rows of one server share.
struct Rows<'a> {
    kind: &'a Kind,
    server: Server,
    runtime: Runtime,
    bare: Bare,
}

impl Kind {
    fn name(&self, row: &str) -> String {
        format!("redis-{}/{row}", self.word)
    }

    fn is_wanted(&self, bench: &Bench) -> bool {
        let rows = ["step-alone", "step-alone-10k", "at-once-64", "at-once-256"].map(|row| self.name(row));
        let own = if self.fsync == Fsync::Always { [RECOVERY, AGAIN] } else { [STATE, HISTORY] };
        bench.wants(&rows.iter().map(String::as_str).chain(own).collect::<Vec<_>>())
    }
}

impl<'a> Rows<'a> {
    fn measure(bench: &mut Bench, kind: &'a Kind) -> Outcome {
        if !kind.is_wanted(bench) {
            return Ok(());
        }
        // A rewrite of the file would slow down whichever side is running then.
        let settings = [("auto-aof-rewrite-percentage", "0")];
        let server = redis::start(redis::Options::default().append_fsync(kind.fsync).settings(&settings))?;
        let runtime = harness::threads()?;
        let bare = runtime.block_on(Bare::connect(server.url()))?;
        let rows = Self { kind, server, runtime, bare };
        rows.alone(bench, "step-alone", 1024)?;
        rows.alone(bench, "step-alone-10k", 10 * 1024)?;
        rows.at_once(bench, "at-once-64", 64)?;
        rows.at_once(bench, "at-once-256", 256)?;
        match kind.fsync {
            Fsync::Always => rows.recovery(bench),
            _ => rows.reads(bench),
        }
    }

    fn open(&self) -> Outcome<Store> {
        self.runtime.block_on(async {
            self.bare.clear().await?;
            Ok(Store::open(self.server.url()).await?)
        })
    }

    fn alone(&self, bench: &mut Bench, row: &str, bytes: usize) -> Outcome {
        let (name, kind) = (self.kind.name(row), self.kind);
        if !bench.wants(&[&name]) {
            return Ok(());
        }
        let (sagas, saga, context) = (bench.count(kind.sagas, 2), job::saga(STEPS)?, job::context(bytes));
        let store = self.open()?;
        let values = floor::values(&self.runtime.block_on(job::records(&context))?);
        let figure = || self.runtime.block_on(job::alone(&store, &saga, &context, sagas));
        let measured = bench.rounds(figure, || self.runtime.block_on(self.bare.alone(&values, sagas)))?;
        let row = Row::less(&name, &format!("a step alone, {} KB, Redis {}", bytes / 1024, kind.word), "µs").ratio_must(1.25);
        let row = if bytes > 1024 { row } else { row.must(kind.alone.0).aim(kind.alone.1) };
        bench.push(row.measured(&measured, "a bare SET of each of the job's 11 records, through the same driver"));
        Ok(())
    }

    fn at_once(&self, bench: &mut Bench, row: &str, tasks: usize) -> Outcome {
        let (name, kind) = (self.kind.name(row), self.kind);
        if !bench.wants(&[&name]) {
            return Ok(());
        }
        let (each, saga, context) = (bench.count(10 * kind.sagas / tasks, 1), job::saga(STEPS)?, job::context(1024));
        let store = self.open()?;
        let values = floor::values(&self.runtime.block_on(job::records(&context))?);
        let figure = || self.runtime.block_on(job::throughput(&store, &saga, &context, tasks, each));
        let measured = bench.rounds(figure, || self.runtime.block_on(self.bare.throughput(&values, tasks, each)))?;
        let row = Row::more(&name, &format!("{tasks} sagas at once, Redis {}", kind.word), "steps/s").ratio_must(0.6);
        let (must, aim, aim_256) = kind.at_once;
        let row = if tasks == 64 { row.must(must).aim(aim) } else { row.aim(aim_256) };
        bench.push(row.measured(&measured, "a bare script that compares and appends, over one connection of the same driver"));
        Ok(())
    }

    fn reads(&self, bench: &mut Bench) -> Outcome {
        if bench.wants(&[STATE]) {
            let total = bench.count(10_000, 50);
            let sides = self.sides(total)?;
            let (times, at) = (bench.count(2000, 3), total / 2);
            let figure = || self.runtime.block_on(reads::states(&sides.store, &sides.id, at, times));
            let measured = bench.rounds(figure, || self.runtime.block_on(sides.bare_states(at, times)))?;
            let row = Row::less(STATE, "the state at an instant, in the middle of 10,000 records, Redis", "µs").must(1000.0).aim(300.0);
            bench.push(row.measured(&measured, "a bare HGET of the record, then the same checks and the same parse"));
        }
        if bench.wants(&[HISTORY]) {
            let total = bench.count(1000, 50);
            let sides = self.sides(total)?;
            let figure = || self.runtime.block_on(reads::whole(&sides.store, &sides.id, false));
            let measured = bench.rounds(figure, || self.runtime.block_on(sides.bare_history(total)))?;
            let row = Row::less(HISTORY, "the history of 1,000 steps, each state checked, Redis", "ms").must(4.0).aim(2.0);
            bench.push(row.measured(&measured, "one bare HMGET of the records, then the same checks"));
        }
        Ok(())
    }

    /// A history of so many records in the store, and the same bytes beside it.
    fn sides(&self, records: usize) -> Outcome<Sides<'_>> {
        let store = self.open()?;
        let context = Bytes::from(serde_json::to_vec(&job::context(1024))?);
        let outline = job::saga::<Value>(records)?.outline().clone();
        let id = SagaId::new("long")?;
        self.runtime.block_on(async {
            history::long_saga(&store, &id, &outline, &context, records).await?;
            let newest = store.snapshots().load(&id, At::Latest).await?.ok_or("the history is not there")?;
            let bits = job::Bits { header: newest.header().clone(), context: newest.context_text()? };
            let header = bits.header.len();
            self.bare.long(BARE, &floor::Value::of(&bits), records).await?;
            Ok(Sides { store, id, outline, bare: &self.bare, header })
        })
    }

    fn recovery(&self, bench: &mut Bench) -> Outcome {
        if !bench.wants(&[RECOVERY, AGAIN]) {
            return Ok(());
        }
        let values = floor::values(&self.runtime.block_on(job::records(&job::context(1024)))?);
        let (mut figures, mut floors, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.count(5, 1) {
            self.runtime.block_on(self.bare.clear())?;
            child::kill_in_the_middle(self.server.url(), recovery::SAGAS)?;
            let (took, again, left) = recovery::recover(self.server.url())?;
            figures.push(took);
            repeated.push(number(again));
            floors.push(self.runtime.block_on(self.bare_recovery(&values, left))?);
        }
        let zero = Samples(vec![0.0; repeated.len()]);
        let row =
            Row::less(RECOVERY, "64 sagas completed after kill -9, from opening the store, Redis always", "ms").must(500.0).aim(100.0);
        bench.push(row.measured(&(Samples(figures), Samples(floors)), "a bare connection, 64 records read, what is left appended at once"));
        let row = Row::less(AGAIN, "steps executed again though their completion was recorded, Redis", "steps").must(0.0).aim(0.0);
        bench.push(row.measured(&(Samples(repeated), zero), "none"));
        Ok(())
    }

    async fn bare_recovery(&self, values: &Arc<[floor::Value]>, left: usize) -> Outcome<f64> {
        self.bare.clear().await?;
        Bare::connect(self.server.url()).await?.throughput(values, recovery::SAGAS, 1).await?;
        let start = Instant::now();
        Bare::connect(self.server.url()).await?.go_on(values, recovery::SAGAS, left / recovery::SAGAS).await?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

const BARE: &str = "bare-long";

/// The store and the bare bytes with the same history.
struct Sides<'a> {
    store: Store,
    id: SagaId,
    outline: Arc<Outline>,
    bare: &'a Bare,
    /// How many bytes of a bare value are the header.
    header: usize,
}

impl Sides<'_> {
    fn decode(&self, mut value: Bytes) -> Outcome<SnapshotRecord> {
        let header = value.split_to(self.header);
        Ok(SnapshotRecord::from_parts(self.outline.clone(), header, Payload::json(value))?)
    }

    async fn bare_states(&self, sequence: usize, times: usize) -> Outcome<f64> {
        let start = Instant::now();
        for _ in 0..times {
            reads::finish(self.decode(self.bare.get(BARE, sequence).await?)?, true)?;
        }
        Ok(micros_each(start.elapsed(), times))
    }

    async fn bare_history(&self, records: usize) -> Outcome<f64> {
        let start = Instant::now();
        for value in self.bare.history(BARE, records).await? {
            reads::finish(self.decode(value)?, false)?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
