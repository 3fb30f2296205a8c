//! What is kept per step, and how much memory many sagas take.

use replay::{OpenStore, Store, saga::Runner};

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
