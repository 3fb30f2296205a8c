//! What is SQLite's own; the promises of every store are in `conformance.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests are not tests themselves")]

mod child;
mod damage;
mod frames;
mod full;
mod opening;
mod processes;
mod sequences;
mod sql;
mod support;
mod writer;
