//! The promises of every store, held by this one on two servers.
#![allow(clippy::expect_used, clippy::panic, reason = "a fixture is part of the tests")]

use std::{process::ExitCode, sync::Arc};

use replay_conformance::{Fixture, Suite};
use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};
use replay_storage_s3::S3Builder;

#[path = "it/place.rs"]
mod place;

use place::Place;

/// A bucket of its own on the server that a variable of the environment names.
struct Bucket {
    place: Place,
    clock: ManualClock,
}

impl Bucket {
    async fn create(variable: &str, clock: ManualClock) -> Self {
        Self { place: Place::create(variable).await, clock }
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let builder: S3Builder = self.place.builder().namespace(namespace).clock(Arc::new(self.clock.clone()));
        Ok(builder.open().await?.into_store())
    }
}

fn capabilities() -> Capabilities {
    Capabilities::default().with_durable(true).with_shared(true)
}

/// s3s-fs.
struct First(Bucket);

impl Fixture for First {
    const NAME: &'static str = "s3";
    const SMALLER_BY: usize = 10;

    fn capabilities() -> Capabilities {
        capabilities()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self(Bucket::create("REPLAY_TEST_S3_URL", clock).await))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        self.0.open(namespace).await
    }
}

/// moto.
struct Second(Bucket);

impl Fixture for Second {
    const NAME: &'static str = "s3_moto";
    const SMALLER_BY: usize = 10;

    fn capabilities() -> Capabilities {
        capabilities()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self(Bucket::create("REPLAY_TEST_S3_MOTO_URL", clock).await))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        self.0.open(namespace).await
    }
}

fn main() -> ExitCode {
    Suite::new().with::<First>().with::<Second>().run()
}
