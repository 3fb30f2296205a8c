//! The engine's own tests, on SQLite.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod store;
#[path = "../../../replay-core/tests/it/support.rs"]
mod support;

#[path = "../../../replay-core/tests/it/capture.rs"]
mod capture;
#[path = "../../../replay-core/tests/it/chain.rs"]
mod chain;
#[path = "../../../replay-core/tests/it/control.rs"]
mod control;
#[path = "../../../replay-core/tests/it/replay/mod.rs"]
mod replay;
#[path = "../../../replay-core/tests/it/resume.rs"]
mod resume;
#[path = "../../../replay-core/tests/it/run.rs"]
mod run;
#[path = "../../../replay-core/tests/it/time_travel.rs"]
mod time_travel;
#[path = "../../../replay-core/tests/it/wave.rs"]
mod wave;
