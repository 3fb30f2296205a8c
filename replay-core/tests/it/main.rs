//! The engine on the memory store. `replay-e2e` runs the same files on SQLite.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod store;
mod support;

mod cached;
mod capture;
mod chain;
mod control;
mod copy;
mod layer;
mod replay;
mod resume;
mod run;
mod tiered;
mod tiered_races;
mod time_travel;
mod unstored;
mod wave;
