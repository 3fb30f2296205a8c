//! Many runners that all want the same sagas, and a checker of what they leave behind.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use replay_core::{
    ErrorKind, Result, SagaId, SagaStatus, Store,
    saga::{ResumeOptions, RunReport, Runner, Saga, StartOptions},
};
use serde_json::{Value, json};

use crate::history;

/// How many runners, sagas and steps of each saga there are, and from which seed they quarrel.
#[derive(Debug, Clone, Copy)]
pub struct Contest {
    /// How many runners.
    pub runners: usize,
    /// How many sagas.
    pub sagas: u64,
    /// How many steps each saga has.
    pub steps: u64,
    /// The seed.
    pub seed: u64,
}

/// Each step counts in the context and in `executed`.
fn counting(contest: Contest, executed: &Arc<AtomicU64>) -> Saga<Value> {
    let mut builder = Saga::builder("counting");
    for step in 0..contest.steps {
        let executed = executed.clone();
        builder = builder.step(format!("s{step}"), move |mut context: Value| {
            executed.fetch_add(1, Ordering::Relaxed);
            async move {
                // Others get their turn in the middle of a step too.
                tokio::task::yield_now().await;
                context["n"] = json!(context["n"].as_u64().unwrap_or_default() + 1);
                Ok(context)
            }
        });
    }
    builder.build().expect("a saga")
}

/// Lets runners quarrel over sagas, each on a store of `open`, until every saga is completed; then checks each history. Gives how many
/// steps were executed.
///
/// # Errors
/// What broke, if anything did: a gap, two owners, a lost update, an error that no quarrel explains.
pub async fn quarrel<F: AsyncFn() -> Store>(open: F, contest: Contest) -> std::result::Result<u64, String> {
    let executed = Arc::new(AtomicU64::new(0));
    let saga = counting(contest, &executed);
    let mut runners = Vec::new();
    for number in 0..contest.runners {
        let rng = fastrand::Rng::with_seed(contest.seed.wrapping_add(number as u64));
        runners.push(tokio::spawn(run_all(Runner::new(open().await), saga.clone(), contest, rng)));
    }
    for runner in runners {
        runner.await.map_err(|panic| panic.to_string())??;
    }
    let store = open().await;
    // Every runner is gone, so what one of them left half-way belongs to nobody.
    let last = Runner::new(store.clone());
    for number in 0..contest.sagas {
        let options = StartOptions::default().with_id(id(number));
        let report = last.start_with(&saga, json!({}), options).await.map_err(|error| format!("{error:?}"))?;
        if report.status != SagaStatus::Completed || report.context["n"] != contest.steps {
            return Err(format!("saga {number} is {} with {}", report.status, report.context));
        }
        let records = history::load(&store, &id(number)).await?;
        history::check(&records, false)?;
    }
    Ok(executed.load(Ordering::Relaxed))
}

fn id(number: u64) -> SagaId {
    SagaId::new(format!("c{number}")).expect("an id")
}

/// One runner wants every saga once, in its own order, and takes some from whoever has them.
async fn run_all(runner: Runner, saga: Saga<Value>, contest: Contest, mut rng: fastrand::Rng) -> std::result::Result<(), String> {
    let mut numbers: Vec<u64> = (0..contest.sagas).collect();
    rng.shuffle(&mut numbers);
    for number in numbers {
        let started = runner.start_with(&saga, json!({}), StartOptions::default().with_id(id(number))).await;
        check(&started, contest)?;
        if started.is_err() && rng.u32(..20) == 0 {
            let taken = runner.resume_with(&saga, &id(number), ResumeOptions::default().with_force(true)).await;
            check(&taken, contest)?;
        }
    }
    Ok(())
}

fn check(ended: &Result<RunReport<Value>>, contest: Contest) -> std::result::Result<(), String> {
    let lost = [ErrorKind::Conflict, ErrorKind::Busy, ErrorKind::Refused];
    match ended {
        Ok(report) if report.is_completed() && report.context["n"] == contest.steps => Ok(()),
        Ok(report) => Err(format!("a run ended {} with {}", report.status, report.context)),
        Err(error) if lost.contains(&error.kind()) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    }
}
