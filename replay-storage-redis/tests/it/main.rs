//! What the conformance kit cannot see: how the store meets servers that refuse, stop, forget or fill up.
#![allow(clippy::expect_used, reason = "helpers of tests are tests too")]

mod access;
mod costs;
mod expiry;
mod listing;
mod outages;
mod proxy;
mod replicas;
mod support;
mod topology;
mod unknown;
