//! Killing the server again and again under sagas that run, and checking that it kept what it acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::try_join_all;
use replay_core::{Clock, SagaId, SagaStatus, SystemClock, saga::Runner};
use replay_services::Server;

use crate::{
    ledger::Ledger,
    network::{chain, may_be_continued, runner, start},
    stores,
};

/// How many sagas run at once.
const WORKERS: usize = 6;
const STEPS: u64 = 10;
/// A server that is away for longer does not come back.
const MOST_CONTINUED: usize = 2_000;
/// A server under load that acknowledges nothing for so long hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an outage run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outages {
    /// How often the server was killed.
    pub kills: u64,
    /// How many sagas ran to their end.
    pub sagas: usize,
    /// How many appends were acknowledged.
    pub acknowledged: u64,
    /// How often a run stopped and was continued.
    pub continued: usize,
}

/// Kills `server` so many times with sagas running on it, each time after some more appends, and restarts it.
///
/// # Errors
/// What was lost, or does not hold.
pub async fn kill_server(server: Server, kills: u64, seed: u64) -> Result<Outages, String> {
    let url = stores::in_own_namespace(server.url());
    let ledger = Ledger::default();
    let over = Arc::new(AtomicBool::new(false));
    let store = ledger.watch(stores::open(&url).await.map_err(|error| format!("{error:?}"))?);
    let runner = runner(store);
    let workers = (0..WORKERS).map(|worker| tokio::spawn(work(runner.clone(), ledger.clone(), over.clone(), worker)));
    let workers: Vec<_> = workers.collect();
    let killed = kill_often(server, &ledger, kills, seed).await;
    over.store(true, Ordering::Relaxed);
    let mut outages = Outages { kills, acknowledged: *ledger.acknowledged().borrow(), ..Outages::default() };
    // What stopped the sagas explains best why nothing was acknowledged any more.
    for worker in try_join_all(workers).await.map_err(|panic| panic.to_string())? {
        let (sagas, continued) = worker?;
        outages.sagas += sagas;
        outages.continued += continued;
    }
    let server = killed?;
    let other = stores::open(&url).await.map_err(|error| format!("{error:?}"))?;
    ledger.check(&other).await?;
    drop(server);
    Ok(outages)
}

async fn kill_often(server: Server, ledger: &Ledger, kills: u64, seed: u64) -> Result<Server, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut acknowledged = ledger.acknowledged();
    let mut server = server;
    for kill in 0..kills {
        let enough = *acknowledged.borrow() + rng.u64(1..40);
        let waited = tokio::time::timeout(PATIENCE, acknowledged.wait_for(|count| *count >= enough)).await;
        waited.map_err(|_| format!("nothing is acknowledged any more after kill {kill}"))?.map_err(|error| error.to_string())?;
        server = tokio::task::spawn_blocking(move || {
            server.kill()?;
            server.restart().map(|()| server)
        })
        .await
        .map_err(|panic| panic.to_string())?
        .map_err(|error| format!("restart {kill}: {error}"))?;
    }
    Ok(server)
}

/// Runs one saga after the other until it is over; one that stopped is continued.
async fn work(runner: Runner, ledger: Ledger, over: Arc<AtomicBool>, worker: usize) -> Result<(usize, usize), String> {
    let saga = chain(&ledger, STEPS);
    let (mut sagas, mut continued) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let id = SagaId::new(format!("w{worker}-{sagas}")).map_err(|error| error.to_string())?;
        loop {
            match start(&runner, &saga, &id).await? {
                Ok(report) if report.status == SagaStatus::Completed && report.context["n"] == STEPS => break,
                Ok(report) => return Err(format!("{id} ended {} with {}", report.status, report.context)),
                Err(error) if may_be_continued(&error) && continued < MOST_CONTINUED => {
                    continued += 1;
                    SystemClock.sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(format!("{id}: {error:?}")),
            }
        }
        sagas += 1;
    }
    Ok((sagas, continued))
}
