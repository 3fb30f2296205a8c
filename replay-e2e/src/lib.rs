//! Cross-process and whole-system tests of replay: what they share.
//!
//! A test that could only be seen to fail on some machines, or now and then, is of no use here: time is virtual or judged by what the
//! other process says, and whatever is random has a seed that its failure names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this crate is test code")]

pub mod child;
pub mod clock;
pub mod contend;
pub mod crash;
pub mod crowd;
pub mod effects;
pub mod far;
pub mod fatal;
pub mod history;
pub mod ledger;
pub mod network;
pub mod outage;
pub mod parent;
pub mod proxy;
pub mod sim;
pub mod stores;
