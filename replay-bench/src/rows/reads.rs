//! Reading back: a state, a history, where a saga goes on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use futures::TryStreamExt;
use replay::{
    OpenStore, Outline, Payload, SagaId, SnapshotRecord, Store,
    saga::{ResumeOptions, Runner, Saga, StopSignal},
    storage::{At, SnapshotQuery},
};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::url;
use crate::{
    Outcome,
    floor::sqlite::{Bare, Sync},
    harness::{self, Bench, Samples, micros_each},
    history,
    job::{self, Bits},
    report::Row,
};

/// At which of 10,000 steps the state is asked for; it must cost the same at each.
const PLACES: [(&str, usize); 4] =
    [("sqlite/state-at-10", 10), ("sqlite/state-at-1000", 1000), ("sqlite/state-at-5000", 5000), ("sqlite/state-at-10000", 10_000)];
const HISTORY: &str = "sqlite/history-1000";
const PARSED: &str = "sqlite/history-1000-parsed";
const RESUME: &str = "sqlite/resume-after-10000";
const ENDS: &str = "sqlite-normal/last-100-of-10000";

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    let states: Vec<&str> = PLACES.iter().map(|(name, _)| *name).collect();
    if bench.wants(&states) || bench.wants(&[HISTORY, PARSED]) {
        histories(bench)?;
    }
    if bench.wants(&[RESUME]) {
        resume(bench)?;
    }
    if bench.wants(&[ENDS]) {
        last_steps(bench)?;
    }
    Ok(())
}

/// A file of the store and a bare one with the same history.
struct Files {
    runtime: Runtime,
    store: Store,
    id: SagaId,
    bare: Bare,
    outline: Arc<Outline>,
}

impl Files {
    fn make(bench: &mut Bench, records: usize) -> Outcome<Self> {
        let runtime = harness::threads()?;
        let context = Bytes::from(serde_json::to_vec(&job::context(1024))?);
        let outline = job::saga::<Value>(records)?.outline().clone();
        let store = runtime.block_on(Store::open(&url(&bench.new_file(), Sync::Normal)))?;
        let id = SagaId::new("long")?;
        runtime.block_on(history::long_saga(&store, &id, &outline, &context, records))?;
        let mut bare = Bare::open(&bench.new_file(), Sync::Normal)?;
        bare.index_time()?;
        let newest = runtime.block_on(store.snapshots().load(&id, At::Latest))?.ok_or("the history is not there")?;
        bare.long(&Bits { header: newest.header().clone(), context: newest.context_text()? }, records)?;
        Ok(Self { runtime, store, id, bare, outline })
    }

    fn bare_state(&self, sequence: usize, times: usize) -> Outcome<f64> {
        let start = Instant::now();
        for _ in 0..times {
            let bits = self.bare.at_time(i64::try_from(sequence * 1000)?)?.ok_or("no row")?;
            self.decode(bits, true)?;
        }
        Ok(micros_each(start.elapsed(), times))
    }

    fn decode(&self, bits: Bits, parse: bool) -> Outcome {
        let record = SnapshotRecord::from_parts(self.outline.clone(), bits.header, Payload::json(bits.context))?;
        finish(record, parse)
    }

    fn bare_history(&self, parse: bool) -> Outcome<f64> {
        let start = Instant::now();
        self.bare.history()?.into_iter().try_for_each(|bits| self.decode(bits, parse))?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// Microseconds per state at the instant of record `sequence` of a saga, checked and parsed.
pub(super) async fn states(store: &Store, id: &SagaId, sequence: usize, times: usize) -> Outcome<f64> {
    let at = history::instant(sequence)?;
    let start = Instant::now();
    for _ in 0..times {
        let record = store.snapshots().load(id, At::Time(at)).await?.ok_or("no state")?;
        let snapshot = record.decode()?;
        if snapshot.sequence != sequence as u64 || !snapshot.context()?.is_object() {
            return Err("the wrong state".into());
        }
    }
    Ok(micros_each(start.elapsed(), times))
}

/// Milliseconds for the whole history of a saga, each record checked and, if asked for, its context parsed.
pub(super) async fn whole(store: &Store, id: &SagaId, parse: bool) -> Outcome<f64> {
    let start = Instant::now();
    let mut records = store.snapshots().list(SnapshotQuery::new(id.clone()));
    while let Some(record) = records.try_next().await? {
        finish(record, parse)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn histories(bench: &mut Bench) -> Outcome {
    let total = bench.count(10_000, 50);
    let files = Files::make(bench, total)?;
    let times = bench.count(2000, 3);
    for (name, at) in PLACES {
        let at = at.min(total);
        let row = Row::less(name, &format!("the state at an instant, at record {at} of {total}"), "µs");
        let row = row.must(1000.0).aim(50.0).ratio_must(1.3);
        if bench.wants(&[name]) {
            let measured =
                bench.rounds(|| files.runtime.block_on(states(&files.store, &files.id, at, times)), || files.bare_state(at, times))?;
            bench.push(row.measured(&measured, "a bare SELECT by an index of saga and time, then the same checks and the same parse"));
        }
    }
    drop(files);
    if bench.wants(&[HISTORY, PARSED]) {
        let files = Files::make(bench, bench.count(1000, 50))?;
        let rows = [
            (Row::less(HISTORY, "the history of 1,000 steps, each state checked", "ms").must(4.0).aim(2.0), false),
            // Parsing alone takes more than the must allows, so nothing is asked of it.
            (Row::less(PARSED, "the same, each state also parsed", "ms"), true),
        ];
        for (row, parse) in rows {
            let measured = bench.rounds(|| files.runtime.block_on(whole(&files.store, &files.id, parse)), || files.bare_history(parse))?;
            bench.push(row.measured(&measured, "a bare SELECT of the rows, then the same checks and, where asked for, the same parse"));
        }
    }
    Ok(())
}

pub(super) fn finish(record: SnapshotRecord, parse: bool) -> Outcome {
    let snapshot = record.decode()?;
    if parse {
        snapshot.context()?;
    }
    Ok(())
}

/// A saga that is asked to stop after each step, so that one saga can be resumed again and again.
fn stopping(steps: usize, stop: &Arc<Mutex<StopSignal>>) -> Outcome<Saga<Value>> {
    let builder = (0..steps).fold(Saga::builder("bench"), |builder, step| {
        let stop = stop.clone();
        builder.step(job::step_name(step), move |context: Value| {
            stop.lock().unwrap_or_else(PoisonError::into_inner).interrupt();
            async move { Ok(context) }
        })
    });
    Ok(builder.build()?)
}

fn resume(bench: &mut Bench) -> Outcome {
    let done = bench.count(10_000, 50);
    let runtime = harness::threads()?;
    let stop = Arc::new(Mutex::new(StopSignal::new()));
    // Each round executes one step.
    let saga = stopping(done + 100, &stop)?;
    let (path, id) = (bench.new_file(), SagaId::new("long")?);
    let context = Bytes::from(serde_json::to_vec(&job::context(1024))?);
    runtime.block_on(async {
        let store = Store::open(&url(&path, Sync::Full)).await?;
        history::long_saga(&store, &id, saga.outline(), &context, done + 1).await
    })?;
    let figure = || {
        let signal = StopSignal::new();
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = signal.clone();
        let start = Instant::now();
        runtime.block_on(async {
            let runner = Runner::new(Store::open(&url(&path, Sync::Full)).await?);
            let report = runner.resume_with(&saga, &id, ResumeOptions::default().with_stop(signal)).await?;
            if report.steps.len() == 1 { Outcome::Ok(()) } else { Err("not one step was executed".into()) }
        })?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let bits = Bits { header: Bytes::from_static(&[0; 300]), context };
    let bare_path = bench.new_file();
    let mut bare = Bare::open(&bare_path, Sync::Full)?;
    bare.long(&bits, done)?;
    drop(bare);
    let mut sequence = i64::try_from(done)?;
    let floor = || {
        let start = Instant::now();
        let bare = Bare::open(&bare_path, Sync::Full)?;
        bare.newest(1)?.ok_or("no row")?;
        sequence += 2;
        bare.insert(1, sequence - 1, &bits)?;
        bare.insert(1, sequence, &bits)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let measured = bench.rounds(figure, floor)?;
    let row = Row::less(RESUME, "a store is opened and a saga of 10,000 finished steps executes its next one", "ms").must(50.0);
    bench.push(row.measured(&measured, "a bare file is opened, one row read, two inserted"));
    Ok(())
}

/// Microseconds of the median step among the first 100 and among the last 100 steps of a saga; a mean of so few would tell of
/// whatever else the machine did at that moment.
pub(crate) async fn ends(store: &Store, steps: usize) -> Outcome<(f64, f64)> {
    const WINDOW: usize = 100;
    let marks = Arc::new(Mutex::new(Vec::with_capacity(steps)));
    let builder = (0..steps).fold(Saga::builder("ends"), |builder, step| {
        let marks = marks.clone();
        builder.step(job::step_name(step), move |mut context: Value| {
            marks.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            async move {
                job::Context::reach(&mut context, step);
                Ok(context)
            }
        })
    });
    let saga = builder.build()?;
    let runner = Runner::new(store.clone());
    // The first 100 are not to pay for what happens once in a process.
    job::one_by_one(runner.clone(), job::saga(job::STEPS)?, job::context(1024), 50).await?;
    tokio::spawn(job::one_by_one(runner, saga, job::context(1024), 1)).await??;
    let marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
    let each = |from: usize| {
        let window = &marks[from..=from + WINDOW];
        Samples(window.windows(2).map(|pair| micros_each(pair[1] - pair[0], 1)).collect()).median()
    };
    Ok((each(0), each(steps - WINDOW - 1)))
}

fn last_steps(bench: &mut Bench) -> Outcome {
    let runtime = harness::threads()?;
    let steps = bench.count(10_000, 200);
    let path = bench.new_file();
    let store = runtime.block_on(Store::open(&url(&path, Sync::Normal)))?;
    let first = std::cell::Cell::new(f64::NAN);
    let figure = || {
        let (start, end) = runtime.block_on(ends(&store, steps))?;
        first.set(start);
        Ok(end)
    };
    let measured = bench.rounds(figure, || Ok(first.get()))?;
    let row = Row::less(ENDS, "the median of the last 100 of 10,000 steps against that of the first 100", "µs").ratio_must(1.1);
    bench.push(row.measured(&measured, "the first 100 of the same saga"));
    Ok(())
}
