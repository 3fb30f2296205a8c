//! Many sagas at once on few connections.

use futures::future::join_all;
use replay_core::{SagaId, SagaStatus, Store};

use crate::{
    ledger::Ledger,
    network::{STEPS, chain, may_be_continued, runner, start},
    proxy::{Fault, Proxy},
    stores::{self, NetworkStore},
};

/// How often a saga that stopped is continued before that counts as a failure.
const RUNS: usize = 10;

fn said(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// Runs so many sagas at once on `kind` at `url`, with a pool of two connections where there is a pool, and no failure at all.
///
/// # Errors
/// What does not hold.
pub async fn queue_up(kind: NetworkStore, url: &str, sagas: usize) -> Result<(), String> {
    let url = stores::in_own_namespace(url);
    let ledger = Ledger::default();
    let store = ledger.watch(stores::open(&narrow(kind, &url)).await.map_err(said)?);
    let stopped = run_all(&store, &ledger, sagas).await?;
    if !stopped.is_empty() {
        return Err(format!("{} of {sagas} sagas stopped: {}", stopped.len(), stopped[0]));
    }
    ledger.check(&stores::open(&url).await.map_err(said)?).await
}

/// The same, but the network becomes a black hole in the middle: every saga is completed or stops in time, none waits for ever, and once
/// the network is healed all go on.
///
/// # Errors
/// What does not hold.
pub async fn queue_up_for_nothing(kind: NetworkStore, url: &str, sagas: usize) -> Result<(), String> {
    let url = stores::in_own_namespace(url);
    let proxy = Proxy::start(stores::address(&url)).await.map_err(said)?;
    let far = stores::with(&narrow(kind, &stores::at(&url, proxy.address())), kind.impatient());
    let ledger = Ledger::default();
    let store = ledger.watch(stores::open_soon(&far).await.map_err(said)?);
    let mut acknowledged = ledger.acknowledged();
    let swallow = async {
        acknowledged.wait_for(|count| *count > sagas as u64).await.map_err(said)?;
        proxy.set(Fault::BlackHole);
        Ok::<_, String>(())
    };
    let (stopped, swallowed) = tokio::join!(run_all(&store, &ledger, sagas), swallow);
    swallowed?;
    if stopped?.is_empty() || proxy.fired() == 0 {
        return Err("the black hole swallowed nothing".to_owned());
    }
    proxy.heal();
    for _ in 0..RUNS {
        if run_all(&store, &ledger, sagas).await?.is_empty() {
            return ledger.check(&stores::open(&url).await.map_err(said)?).await;
        }
    }
    Err("sagas stop although the network is healed".to_owned())
}

fn narrow(kind: NetworkStore, url: &str) -> String {
    match kind {
        NetworkStore::Postgres => stores::with(url, "max_connections=2"),
        NetworkStore::Redis | NetworkStore::S3 => url.to_owned(),
    }
}

/// Starts all, or continues them. Gives the errors of those that stopped and may be continued.
async fn run_all(store: &Store, ledger: &Ledger, sagas: usize) -> Result<Vec<String>, String> {
    let (runner, saga) = (runner(store.clone()), chain(ledger, STEPS));
    let ids: Vec<SagaId> = (0..sagas).map(|number| SagaId::new(format!("q{number}")).map_err(said)).collect::<Result<_, _>>()?;
    let mut stopped = Vec::new();
    for ended in join_all(ids.iter().map(|id| start(&runner, &saga, id))).await {
        match ended? {
            Ok(report) if report.status == SagaStatus::Completed => {}
            Ok(report) => return Err(format!("{} ended {}", report.saga_id, report.status)),
            Err(error) if may_be_continued(&error) => stopped.push(said(error)),
            Err(error) => return Err(said(error)),
        }
    }
    Ok(stopped)
}
