//! Steps on the SQLite store.

use replay::{OpenStore, Store};

use super::url;
use crate::{
    Outcome,
    floor::sqlite::{Bare, Sync},
    harness::{self, Bench},
    job::{self, STEPS},
    report::Row,
};

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    let step = |name, what| Row::less(name, what, "µs");
    let rate = |name, what| Row::more(name, what, "steps/s");
    let full = step("sqlite-full/step-alone", "a step alone, SQLite full").must(500.0).aim(300.0).ratio_must(1.5);
    alone(bench, full, Sync::Full)?;
    alone(bench, step("sqlite-normal/step-alone", "a step alone, SQLite normal").must(150.0).aim(40.0), Sync::Normal)?;
    let row = rate("sqlite-full/at-once-64", "64 sagas at once, SQLite full").must(20e3).aim(60e3).ratio_must(0.6);
    at_once(bench, row, Sync::Full, 64)?;
    let row = rate("sqlite-full/at-once-256", "256 sagas at once, SQLite full").aim(90e3).ratio_must(0.6);
    at_once(bench, row, Sync::Full, 256)?;
    let row = rate("sqlite-normal/at-once-64", "64 sagas at once, SQLite normal").must(25e3).aim(60e3);
    at_once(bench, row, Sync::Normal, 64)?;
    at_once(bench, rate("sqlite-normal/at-once-256", "256 sagas at once, SQLite normal").aim(80e3), Sync::Normal, 256)
}

fn alone(bench: &mut Bench, row: Row, sync: Sync) -> Outcome {
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let sagas = bench.count(if sync == Sync::Full { 100 } else { 500 }, 2);
    let (runtime, saga, context) = (harness::threads()?, job::saga(STEPS)?, job::context(1024));
    let store = runtime.block_on(Store::open(&url(&bench.new_file(), sync)))?;
    let records = runtime.block_on(job::records(&context))?;
    let mut bare = Bare::open(&bench.new_file(), sync)?;
    let measured = bench.rounds(|| runtime.block_on(job::alone(&store, &saga, &context, sagas)), || bare.alone(&records, sagas))?;
    bench.push(row.measured(&measured, "a bare prepared INSERT of each of the job's 11 records on the calling thread, same settings"));
    Ok(())
}

fn at_once(bench: &mut Bench, row: Row, sync: Sync, tasks: usize) -> Outcome {
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let each = bench.count(1536 / tasks, 1);
    let (runtime, saga, context) = (harness::threads()?, job::saga(STEPS)?, job::context(1024));
    let store = runtime.block_on(Store::open(&url(&bench.new_file(), sync)))?;
    let records = runtime.block_on(job::records(&context))?;
    let mut bare = Bare::open(&bench.new_file(), sync)?;
    let figure = || runtime.block_on(job::throughput(&store, &saga, &context, tasks, each));
    let measured = bench.rounds(figure, || bare.throughput(&records, tasks, each))?;
    let floor = format!("a bare loop that commits the same records in groups of {tasks}: arrival order, narrow unique index");
    bench.push(row.measured(&measured, &floor));
    Ok(())
}
