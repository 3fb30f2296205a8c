//! Going on after kill -9.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures::future::try_join_all;
use replay::{
    OpenStore, SagaId, Store,
    saga::Runner,
    storage::{At, SagaQuery},
};

use super::url;
use crate::{
    Outcome, child,
    floor::sqlite::{Bare, Sync},
    harness::{self, Bench, Samples, number},
    job::{self, Bits},
    report::Row,
};

const TIME: &str = "sqlite-full/recovery-64";
const AGAIN: &str = "sqlite-full/recovery-64-executed-again";
pub(super) const SAGAS: usize = 64;

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    if !bench.wants(&[TIME, AGAIN]) {
        return Ok(());
    }
    let mut repeated = Vec::new();
    let (mut figures, mut floors) = (Vec::new(), Vec::new());
    let records = harness::threads()?.block_on(job::records(&job::context(1024)))?;
    for _ in 0..bench.count(5, 1) {
        let url = url(&bench.new_file(), Sync::Full);
        child::kill_in_the_middle(&url, SAGAS)?;
        let (took, again, left) = recover(&url)?;
        figures.push(took);
        repeated.push(number(again));
        floors.push(floor(&bench.new_file(), &records, left)?);
    }
    let zero = Samples(vec![0.0; repeated.len()]);
    let row = Row::less(TIME, "64 sagas completed after kill -9, from opening the store", "ms").must(500.0).aim(100.0);
    bench.push(row.measured(&(Samples(figures), Samples(floors)), "a bare file is opened, 64 rows read, what is left inserted in groups"));
    let row = Row::less(AGAIN, "steps executed again though their completion was recorded", "steps").must(0.0).aim(0.0);
    bench.push(row.measured(&(Samples(repeated), zero), "none"));
    Ok(())
}

/// Milliseconds until all sagas are completed, how many recorded steps were executed again, and how many records were appended.
pub(super) fn recover(url: &str) -> Outcome<(f64, usize, usize)> {
    let runtime = harness::threads()?;
    let recorded = runtime.block_on(recorded(url))?;
    let finished: usize = recorded.len();
    let again = Arc::new(AtomicUsize::new(0));
    let saga = child::watched({
        let (again, recorded) = (again.clone(), Arc::new(recorded));
        move |id, step| {
            if recorded.contains(&(id.clone(), step)) {
                again.fetch_add(1, Ordering::Relaxed);
            }
            false
        }
    })?;
    let start = Instant::now();
    let completed = runtime.block_on(async {
        let runner = Runner::new(Store::open(url).await?);
        let resume = |id: SagaId| {
            let (runner, saga) = (runner.clone(), saga.clone());
            tokio::spawn(async move { runner.resume(&saga, &id).await })
        };
        let interrupted = runner.interrupted(SagaQuery::default()).await?;
        let mut completed = 0;
        for report in try_join_all(interrupted.into_iter().map(|head| resume(head.saga_id))).await? {
            completed += usize::from(report?.is_completed());
        }
        Outcome::Ok(completed)
    })?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    if completed != SAGAS {
        return Err(format!("{completed} of {SAGAS} sagas were recovered").into());
    }
    Ok((took, again.load(Ordering::Relaxed), SAGAS * (job::STEPS + 2) - finished))
}

/// Which steps of which sagas are recorded as completed.
async fn recorded(url: &str) -> Outcome<HashSet<(SagaId, usize)>> {
    let store = Store::open(url).await?;
    let mut recorded = HashSet::new();
    for number in 0..SAGAS {
        let id = child::stuck_id(number)?;
        let newest = store.snapshots().load(&id, At::Latest).await?.ok_or("a saga is not there")?;
        recorded.extend(newest.completed.iter().map(|step| (id.clone(), step as usize)));
    }
    Ok(recorded)
}

/// Milliseconds of a bare file with the rows of 64 sagas, and so many inserted in groups.
fn floor(path: &Path, records: &[Bits], left: usize) -> Outcome<f64> {
    Bare::open(path, Sync::Full)?.groups(records, SAGAS, 1)?;
    let start = Instant::now();
    let mut bare = Bare::open(path, Sync::Full)?;
    for saga in 1..=i64::try_from(SAGAS)? {
        bare.newest(saga)?.ok_or("no row")?;
    }
    bare.skip(SAGAS)?;
    bare.groups(&records[..(left / SAGAS).min(records.len())], SAGAS, 1)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
