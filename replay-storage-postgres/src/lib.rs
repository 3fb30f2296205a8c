#![doc = include_str!("../README.md")]

mod append;
mod blobs;
mod builder;
mod cells;
mod error;
mod history;
mod logs;
mod paging;
mod pool;
mod prune;
mod row;
mod sagas;
mod schema;
mod sql;
mod store;
mod text;
mod writer;

pub use builder::{Pooler, PostgresBuilder, Tls};
pub use store::Postgres;
