#![doc = include_str!("../README.md")]

mod address;
mod append;
mod blobs;
mod builder;
mod cells;
mod error;
mod head;
mod history;
mod index;
mod keys;
mod link;
mod logs;
mod page;
mod plan;
mod positions;
mod prune;
mod replicas;
mod row;
mod sagas;
mod script;
mod store;
mod value;

pub use builder::RedisBuilder;
pub use store::Redis;
