//! The memory store.

use crate::{
    Outcome,
    floor::copy,
    harness::{self, Bench},
    job::{self, Context, Order, STEPS},
    report::Row,
};

const COPY: &str = "serde_json::to_vec before each step and at the end, its bytes copied into a map";

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    let context = job::context(1024);
    let step = Row::less("memory/step-1kb", "a step alone, 1 KB", "µs").must(10.0).aim(3.0);
    alone(bench, step, &context)?;
    let typed: Order = serde_json::from_value(context.clone())?;
    alone(bench, Row::less("memory/step-1kb-typed", "a step alone, 1 KB as a struct", "µs").must(10.0).aim(3.0), &typed)?;
    let large = Row::less("memory/step-10kb", "a step alone, 10 KB", "µs").ratio_must(3.0);
    alone(bench, large, &job::context(10 * 1024))?;
    let large = Row::less("memory/step-10kb-typed", "a step alone, 10 KB as a struct", "µs").ratio_must(3.0);
    let typed: Order = serde_json::from_value(job::context(10 * 1024))?;
    alone(bench, large, &typed)?;
    at_once(bench, Row::more("memory/at-once-64", "64 sagas at once", "steps/s").must(100e3).aim(200e3), 64, false)?;
    at_once(bench, Row::more("memory/at-once-256", "256 sagas at once", "steps/s").aim(200e3), 256, false)?;
    at_once(bench, Row::more("memory/one-core", "64 sagas at once on one core", "steps/s").aim(200e3), 64, true)?;
    last_steps(bench)
}

fn alone<C: Context>(bench: &mut Bench, row: Row, context: &C) -> Outcome {
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let sagas = bench.count(1000, 3);
    let (runtime, saga) = (harness::threads()?, job::saga(STEPS)?);
    let figure = || runtime.block_on(async { job::alone(&job::memory_store().await?, &saga, context, sagas).await });
    let measured = bench.rounds(figure, || copy::alone(context, sagas))?;
    bench.push(row.measured(&measured, COPY));
    Ok(())
}

fn at_once(bench: &mut Bench, row: Row, tasks: usize, one_core: bool) -> Outcome {
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let each = bench.count(4096 / tasks, 1);
    let context = job::context(1024);
    let runtime = if one_core { harness::one_core()? } else { harness::threads()? };
    let saga = job::saga(STEPS)?;
    let figure = || runtime.block_on(async { job::throughput(&job::memory_store().await?, &saga, &context, tasks, each).await });
    let measured = bench.rounds(figure, || runtime.block_on(copy::at_once(&context, tasks, each)))?;
    bench.push(row.measured(&measured, "the same in as many tasks, each with a map of its own"));
    Ok(())
}

fn last_steps(bench: &mut Bench) -> Outcome {
    let row = Row::less("memory/last-100-of-10000", "the median of the last 100 of 10,000 steps against that of the first 100", "µs")
        .ratio_must(1.1);
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let runtime = harness::threads()?;
    let steps = bench.count(10_000, 200);
    let first = std::cell::Cell::new(f64::NAN);
    let figure = || {
        let (start, end) = runtime.block_on(async { super::reads::ends(&job::memory_store().await?, steps).await })?;
        first.set(start);
        Ok(end)
    };
    let measured = bench.rounds(figure, || Ok(first.get()))?;
    bench.push(row.measured(&measured, "the first 100 of the same saga"));
    Ok(())
}
