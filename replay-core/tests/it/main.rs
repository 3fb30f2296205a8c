//! The engine on the memory store.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod support;

mod capture;
mod control;
mod resume;
mod run;
mod wave;
