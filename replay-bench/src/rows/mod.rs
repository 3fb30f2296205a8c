//! The rows, by topic.

mod json;
mod listing;
mod memory;
mod postgres;
mod reads;
mod recovery;
mod redis;
mod s3;
mod space;
mod sqlite;
mod syncs;

use crate::{Outcome, harness::Bench};

/// Measures every row that is asked for.
pub(crate) fn all(bench: &mut Bench) -> Outcome {
    memory::measure(bench)?;
    sqlite::measure(bench)?;
    syncs::measure(bench)?;
    space::measure(bench)?;
    reads::measure(bench)?;
    listing::measure(bench)?;
    recovery::measure(bench)?;
    json::measure(bench)?;
    postgres::measure(bench)?;
    redis::measure(bench)?;
    s3::measure(bench)
}

/// The URL of the SQLite store in this file.
fn url(path: &std::path::Path, durability: crate::floor::sqlite::Sync) -> String {
    format!("sqlite:{}?durability={}", path.display(), durability.word())
}
