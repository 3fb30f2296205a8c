//! The command as a black box: the built program, its output and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod support;

mod bad_input;
mod copying;
mod going_on;
mod order_story;
mod output;
mod prompt;
mod redirects;
mod refusals;
mod saga_files;
mod secrets;
mod store_commands;
mod stores;
mod tour;
