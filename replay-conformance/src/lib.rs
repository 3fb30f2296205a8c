#![doc = include_str!("../README.md")]
#![expect(clippy::expect_used, reason = "a case fails by panicking")]

mod cases;
mod check;
mod env;
mod fixture;
mod mutants;
mod reference;
mod runner;

pub mod records;
pub mod stress;

pub use fixture::{Fixture, Offers};
pub use mutants::{Mutant, failing, promises};
pub use runner::{Suite, run};
