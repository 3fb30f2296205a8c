//! What is kept per step, and how much memory many sagas take.

use replay::{
    OpenStore, Store,
    saga::{Runner, Saga},
};
use serde_json::{Value, json};

use super::url;
use crate::{
    Outcome, child,
    floor::sqlite::{self, Bare, Sync},
    harness::{self, Bench, Samples, number},
    job::{self, STEPS},
    report::Row,
};

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    kept(bench)?;
    workloads(bench)?;
    peak(bench)
}

/// The growth of the file by further sagas, once the log was moved into it.
fn kept(bench: &mut Bench) -> Outcome {
    let row = Row::less("sqlite/kept-per-step", "kept per step when one field of 1 KB changes", "bytes").must(600.0).aim(200.0);
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let sagas = bench.count(500, 20);
    let (runtime, saga, context) = (harness::threads()?, job::saga(STEPS)?, job::context(1024));
    let (path, bare_path) = (bench.new_file(), bench.new_file());
    let grow = || {
        runtime.block_on(async {
            let runner = Runner::new(Store::open(&url(&path, Sync::Normal)).await?);
            job::at_once(&runner, &saga, &context, 10, sagas / 10).await
        })
    };
    let records = runtime.block_on(job::records(&context))?;
    let bare = || Bare::open(&bare_path, Sync::Normal)?.groups(&records, sagas, 1);
    let per_step = |bytes: u64| -> Outcome<f64> { Ok(number(usize::try_from(bytes)?) / number(sagas * STEPS)) };
    grow()?;
    let before = sqlite::size_of(&path)?;
    grow()?;
    let figure = per_step(sqlite::size_of(&path)? - before)?;
    let empty = {
        drop(Bare::open(&bare_path, Sync::Normal)?);
        sqlite::size_of(&bare_path)?
    };
    bare()?;
    let floor = per_step(sqlite::size_of(&bare_path)? - empty)?;
    let measured = (Samples(vec![figure]), Samples(vec![floor]));
    bench.push(row.measured(&measured, "the same headers and contexts in bare rows with a narrow unique index"));
    Ok(())
}

/// A saga whose steps change a context of 10 KB, or let it grow, as a row of how much that keeps.
struct Workload {
    name: &'static str,
    what: &'static str,
    start: Value,
    change: fn(&mut Value, usize),
    /// How much of the JSON text may be kept.
    part: f64,
}

/// How many steps the saga of a workload has.
const SNAPSHOTS: usize = 59;

fn workloads(bench: &mut Bench) -> Outcome {
    let all = [
        Workload {
            name: "sqlite/bytes-one-field",
            what: "kept per snapshot when one field of 10 KB changes",
            start: job::context(10 * 1024),
            change: |context, step| context["step"] = json!(step % 10),
            part: 0.03,
        },
        Workload {
            name: "sqlite/bytes-growing",
            what: "kept per snapshot when a context grows by 1 KB a step, 60 snapshots",
            start: job::context(1024),
            change: grow,
            part: 0.02,
        },
        Workload {
            name: "sqlite/bytes-random",
            what: "kept per snapshot of 10 KB of random text",
            start: json!({"noise": noise(0)}),
            change: |context, step| context["noise"] = noise(step + 1),
            part: 1.02,
        },
    ];
    all.into_iter().try_for_each(|workload| workload.measure(bench))
}

/// A dozen lines of an order, about 1 KB.
fn grow(context: &mut Value, step: usize) {
    let line =
        |at: usize| json!({"sku": format!("SKU-{at:05}"), "name": "a thing that people order", "quantity": at % 7, "cents": at * 37});
    if let Some(lines) = context["lines"].as_array_mut() {
        lines.extend((step * 12..step * 12 + 12).map(line));
    }
}

/// 10 KB of letters and digits.
fn noise(seed: usize) -> Value {
    let mut state = seed as u64 + 1;
    let mut digit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 40) as u32 % 36, 36).unwrap_or('0')
    };
    (0..10 * 1024).map(|_| digit()).collect::<String>().into()
}

impl Workload {
    fn measure(self, bench: &mut Bench) -> Outcome {
        if !bench.wants(&[self.name]) {
            return Ok(());
        }
        let raw = self.raw();
        let row = Row::less(self.name, self.what, "bytes").must((raw * self.part).round());
        let sagas = bench.count(40, 2);
        let change = self.change;
        let saga = (0..SNAPSHOTS)
            .fold(Saga::builder("bench"), |builder, step| {
                builder.step(job::step_name(step), move |mut context: Value| async move {
                    change(&mut context, step);
                    Ok(context)
                })
            })
            .build()?;
        let (runtime, path) = (harness::threads()?, bench.new_file());
        let grow = || {
            runtime.block_on(async {
                let runner = Runner::new(Store::open(&url(&path, Sync::Normal)).await?);
                job::at_once(&runner, &saga, &self.start, 2, sagas / 2).await
            })
        };
        grow()?;
        let before = sqlite::size_of(&path)?;
        grow()?;
        let kept = number(usize::try_from(sqlite::size_of(&path)? - before)?) / number(sagas * (SNAPSHOTS + 1));
        let measured = (Samples(vec![kept]), Samples(vec![raw]));
        bench.push(row.measured(&measured, "the JSON text of the context"));
        Ok(())
    }

    /// The mean length of the contexts' JSON text.
    fn raw(&self) -> f64 {
        let mut context = self.start.clone();
        // The last step's outcome is captured as the end of the saga.
        let mut len = context.to_string().len();
        for step in 0..SNAPSHOTS {
            (self.change)(&mut context, step);
            len += context.to_string().len();
        }
        number(len) / number(SNAPSHOTS + 1)
    }
}

fn peak(bench: &mut Bench) -> Outcome {
    let row = Row::less("sqlite-full/peak-memory-64", "peak memory of a process with 64 sagas at once", "MB").must(20.0).aim(12.0);
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    let each = bench.count(20, 1).to_string();
    let rounds = bench.count(3, 1);
    let (mut figures, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        figures.push(child::peak_memory(["load", &url(&bench.new_file(), Sync::Full), "64", &each])?);
        floors.push(child::peak_memory(["bare-load", &bench.new_file().to_string_lossy(), "64", &each])?);
    }
    let measured = (Samples(figures), Samples(floors));
    bench.push(row.measured(&measured, "this program when it inserts the same rows without replay"));
    Ok(())
}
