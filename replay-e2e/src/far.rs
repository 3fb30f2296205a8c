//! A round of faults on one store behind a network, with a server of its own, for soak runs.

use futures::future::join_all;
use replay_services::Server;

use crate::{
    contend::{Contest, quarrel},
    crash::{kill_at_url, random_points},
    crowd::{queue_up, queue_up_for_nothing},
    network::Scenario,
    outage::kill_server,
    parent::Program,
    stores::{self, NetworkStore},
};

/// How often each thing was done, and what did not hold.
#[derive(Debug, Default)]
pub struct Round {
    /// Networks that were faulty.
    pub networks: u64,
    /// Times that a server was killed.
    pub server_kills: u64,
    /// Processes that were killed.
    pub kills: usize,
    /// Steps that several runners wanted.
    pub steps: u64,
    /// What did not hold.
    pub violations: Vec<String>,
}

/// How much is done in a round.
const NETWORKS: u64 = 25;
const SERVER_KILLS: u64 = 15;
const SAGAS_KILLED: u64 = 15;

/// One round on `store`, whose faults follow from `seed`. Blocks.
pub fn round(store: NetworkStore, program: &Program, seed: u64) -> Round {
    let mut round = Round::default();
    let server = store.start_durable();
    for number in 0..SAGAS_KILLED {
        let (shape, points) = random_points(seed + number);
        match kill_at_url(program, &stores::in_own_namespace(server.url()), shape, &points) {
            Ok(kills) => round.kills += kills,
            Err(what) => round.violations.push(format!("{store:?}, kills of seed {}: {what}", seed + number)),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    runtime.block_on(with_server(store, server, seed, &mut round));
    round
}

async fn with_server(store: NetworkStore, server: Server, seed: u64, round: &mut Round) {
    let url = server.url().to_owned();
    let scenarios: Vec<Scenario> = (seed..seed + NETWORKS).map(Scenario::of_seed).collect();
    let ran = join_all(scenarios.iter().map(|scenario| scenario.run(store, &url))).await;
    round.networks += NETWORKS;
    let mut violations: Vec<String> = ran.into_iter().filter_map(Result::err).collect();
    let contest = Contest { runners: 16, sagas: 50, steps: 50, seed };
    let namespace = stores::in_own_namespace(&url);
    match quarrel(async || stores::open(&namespace).await.expect("the store opens"), contest).await {
        Ok(steps) => round.steps += steps,
        Err(what) => violations.push(format!("quarrel: {what}")),
    }
    violations.extend(queue_up(store, &url, 200).await.err());
    violations.extend(queue_up_for_nothing(store, &url, 200).await.err());
    match kill_server(server, SERVER_KILLS, seed).await {
        Ok(outages) => round.server_kills += outages.kills,
        Err(what) => violations.push(format!("server kills: {what}")),
    }
    round.violations.extend(violations.into_iter().map(|what| format!("{store:?}, seed {seed}: {what}")));
}
