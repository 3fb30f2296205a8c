#![doc = include_str!("../README.md")]

mod open;

pub use open::{Backends, OpenStore};
pub use replay_core::*;

/// The store in memory: `memory:`.
#[cfg(feature = "memory")]
pub use replay_storage_memory as memory;

/// The PostgreSQL store: `postgres://user:password@host:5432/database`.
#[cfg(feature = "postgres")]
pub use replay_storage_postgres as postgres;

/// The store on a Redis or Valkey server: `redis://127.0.0.1:6379`.
#[cfg(feature = "redis")]
pub use replay_storage_redis as redis;

/// The store in an S3 bucket: `s3://bucket/prefix`.
#[cfg(feature = "s3")]
pub use replay_storage_s3 as s3;

/// The embedded store: `sqlite:path/to/file.db`.
#[cfg(feature = "sqlite")]
pub use replay_storage_sqlite as sqlite;

/// What most programs need, to be imported as a whole.
pub mod prelude {
    pub use crate::{
        ErrorKind, OpenStore, SagaId, SagaStatus, Store,
        json::Override,
        replay::{LocalReplay, ReplayRequest, ReplayStatus, SagaReplay},
        saga::{
            Registry, ResumeOptions, RetryPolicy, Runner, Saga, SnapshotPolicy, SnapshotStrategy, StartOptions, Step, StepContext,
            StepError, StepResult, StopSignal,
        },
        time_travel::TimeTravel,
    };
}

/// The README of the repository, whose code is compiled like this crate's own.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../README.md")]
struct RootReadme;

/// The guide to layers, whose code is compiled too.
#[cfg(all(doctest, feature = "sqlite", feature = "cache"))]
#[doc = include_str!("../../docs/guide/layers.md")]
struct LayersGuide;

#[cfg(test)]
mod tests;
