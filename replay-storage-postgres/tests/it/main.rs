//! What is PostgreSQL's own; the promises of every store are in `conformance.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests are not tests themselves")]

mod cancel;
mod migrations;
mod network;
mod pooler;
mod proxy;
mod refusals;
mod restart;
mod sql;
mod support;
