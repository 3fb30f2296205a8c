//! The fault runs of the tests for as long as one likes: `cargo xtask soak [--minutes N] [--seed N]`.
//!
//! Rounds of simulation, random kills, quarrels and faults of networks and servers follow each other until the time is over. It ends
//! with 1 if anything did not hold. Twenty rounds are what the project counts as a soak run of the stores behind a network: 500 faulty
//! networks, 300 kills of the server and 2,000 random kills of the runner for each of them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that tells how it goes")]
#![allow(clippy::expect_used, reason = "this crate is test code")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use replay_e2e::{
    child,
    contend::{Contest, quarrel},
    crash::{kill_at, random_points},
    far,
    parent::Program,
    sim,
    stores::NetworkStore,
};
use replay_storage_memory::Memory;

const USAGE: &str = "cargo xtask soak [--minutes N] [--seed N]";
/// What comes before the job when this program starts itself as a child.
const CHILD: &str = "--child";

/// What was done so far.
#[derive(Debug, Default)]
struct Tally {
    seeds: u64,
    kills: usize,
    steps: u64,
    networks: u64,
    server_kills: u64,
    violations: Vec<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, job] = &args[..]
        && first == CHILD
    {
        return match child::main(job) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let Some((minutes, seed)) = options(&args) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    let tally = soak(Duration::from_mins(minutes), seed);
    println!("{} seeds simulated, {} processes killed, {} contested steps executed", tally.seeds, tally.kills, tally.steps);
    println!("{} networks faulty, {} times a server killed", tally.networks, tally.server_kills);
    for violation in &tally.violations {
        println!("violation: {violation}");
    }
    if tally.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Minutes (by default 10) and the first seed (by default another each time).
fn options(args: &[String]) -> Option<(u64, u64)> {
    let (mut minutes, mut seed) = (10, fastrand::u64(..1 << 40));
    for pair in args.chunks(2) {
        match pair {
            [name, value] if name == "--minutes" => minutes = value.parse().ok()?,
            [name, value] if name == "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((minutes, seed))
}

/// Goes on until the time is over or ten things did not hold; every kind of run has its turn at least once.
fn soak(time: Duration, seed: u64) -> Tally {
    const SEEDS_A_ROUND: u64 = 5_000;
    let program = Program { path: std::env::current_exe().expect("this program has a path"), args: vec![CHILD.to_owned()] };
    let (begun, mut tally) = (Instant::now(), Tally::default());
    println!("seed {seed}, for {} minutes", time.as_secs() / 60);
    for round in 0.. {
        let first = seed + round * SEEDS_A_ROUND;
        tally.violations.extend(sim::run_all(first..first + SEEDS_A_ROUND).err());
        tally.seeds += SEEDS_A_ROUND;
        for number in 0..50 {
            match random_kills(&program, first + number) {
                Ok(kills) => tally.kills += kills,
                Err(what) => tally.violations.push(format!("kills of seed {}: {what}", first + number)),
            }
        }
        match contest(first) {
            Ok(steps) => tally.steps += steps,
            Err(what) => tally.violations.push(format!("quarrel of seed {first}: {what}")),
        }
        for store in NetworkStore::ALL {
            let round = far::round(store, &program, first);
            tally.networks += round.networks;
            tally.server_kills += round.server_kills;
            tally.kills += round.kills;
            tally.steps += round.steps;
            tally.violations.extend(round.violations);
        }
        println!("{} s: {} seeds, {} kills, {} violations", begun.elapsed().as_secs(), tally.seeds, tally.kills, tally.violations.len());
        if begun.elapsed() >= time || tally.violations.len() >= 10 {
            break;
        }
    }
    tally
}

/// Kills the processes of one saga at random points until one comes to its end.
fn random_kills(program: &Program, seed: u64) -> Result<usize, String> {
    let (shape, points) = random_points(seed);
    kill_at(program, shape, &points)
}

fn contest(seed: u64) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().map_err(|error| error.to_string())?;
    let (memory, dir) = (Memory::new(), tempfile::tempdir().map_err(|error| error.to_string())?);
    let contest = Contest { runners: 16, sagas: 100, steps: 100, seed };
    runtime.block_on(async {
        let in_memory = quarrel(async || memory.clone().into_store(), contest).await?;
        let on_file = quarrel(async || child::store(dir.path()).await.expect("the store opens"), contest).await?;
        Ok(in_memory + on_file)
    })
}
