//! Whole-system tests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod clocks;
mod contention;
mod copying;
mod crash;
mod crowds;
mod network;
mod outage;
mod poison;
mod replay;
mod s3_server;
mod simulation;
mod takeover;

use replay_e2e::parent::Program;

/// The program whose processes run sagas and are killed.
fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_runner"))
}
