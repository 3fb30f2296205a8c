//! Ten thousand seeds of the simulation, or the one that `REPLAY_SEED` names.

use replay_e2e::sim;

const SEEDS: u64 = 10_000;

fn hold(first: u64, end: u64) {
    let told = match std::env::var("REPLAY_SEED") {
        Ok(seed) => sim::run(seed.parse().expect("REPLAY_SEED is a number")),
        Err(_) => sim::run_all(first..end),
    };
    told.unwrap_or_else(|story| panic!("{story}"));
}

#[test]
fn the_first_half_of_the_seeds_hold() {
    hold(0, SEEDS / 2);
}

#[test]
fn the_second_half_of_the_seeds_hold() {
    hold(SEEDS / 2, SEEDS);
}
