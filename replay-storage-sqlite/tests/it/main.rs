//! What is SQLite's own; the promises of every store are the conformance kit's.
#![allow(clippy::expect_used, reason = "helpers of tests are not tests themselves")]

mod sql;
mod support;
