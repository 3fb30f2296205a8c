//! What the conformance kit cannot see: requests, lost answers, wrong settings, what is stored and what is left behind.
#![allow(clippy::expect_used, clippy::panic, reason = "what the tests share is part of them")]

mod faults;
mod opening;
mod place;
mod proxy;
mod requests;
mod stored;
mod support;
