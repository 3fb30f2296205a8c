#![doc = include_str!("../README.md")]

mod append;
mod blobs;
mod builder;
mod cells;
mod connect;
mod error;
mod frames;
mod head;
mod history;
mod logs;
mod prune;
mod readers;
mod row;
mod sagas;
mod schema;
mod store;
mod writer;

pub use builder::{Durability, SqliteBuilder};
pub use store::Sqlite;
