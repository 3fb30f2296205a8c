//! A payment gateway is down for a while, and 200 orders fail. When it is back, one call replays them all; run again, it replays none
//! twice.
//!
//! ```sh
//! cargo run -p replay --example batch_replay
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures::{StreamExt, TryStreamExt, stream};
use replay::{
    prelude::*,
    replay::{BatchItem, BatchOptions, replay_many},
    storage::SagaQuery,
};
use serde_json::{Value, json};

#[derive(Default)]
struct Gateway {
    is_up: AtomicBool,
    charged: AtomicU64,
}

fn order(gateway: &Arc<Gateway>) -> replay::Result<Saga<Value>> {
    let gateway = gateway.clone();
    Saga::builder("order")
        .step("reserve", |order: Value| async move { Ok(order) })
        .compensate(|order: Value| async move { Ok(order) })
        .step("charge", move |mut order: Value| {
            let gateway = gateway.clone();
            async move {
                if !gateway.is_up.load(Ordering::SeqCst) {
                    return Err(StepError::new("gateway does not answer").with_code("timeout"));
                }
                order["payment"] = json!(gateway.charged.fetch_add(1, Ordering::SeqCst));
                Ok(order)
            }
        })
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&format!("sqlite:{}", folder.path().join("orders.db").display())).await?;
    let gateway = Arc::new(Gateway::default());
    let saga = order(&gateway)?;
    let runner = Runner::new(store.clone());

    let started: Vec<_> = stream::iter(0..200)
        .map(|n| {
            let (runner, saga) = (runner.clone(), saga.clone());
            async move { runner.start(&saga, json!({"order": n})).await }
        })
        .buffer_unordered(64)
        .try_collect()
        .await?;
    println!("{} orders, {} of them failed", started.len(), started.iter().filter(|report| !report.is_completed()).count());

    gateway.is_up.store(true, Ordering::SeqCst);
    let replays: Arc<dyn SagaReplay> = Arc::new(LocalReplay::new(runner, Registry::new().with(saga)));
    for round in ["first", "second"] {
        let failed = SagaQuery::default().with_status(SagaStatus::RolledBack).with_step("charge");
        let options = BatchOptions::default().with_concurrency(32).with_replay_key("gateway-outage-2026-11");
        let request =
            |saga: &replay::storage::SagaSummary| ReplayRequest::from_step(saga.saga_id.clone(), "charge").with_reason("gateway is back");
        let results: Vec<_> = replay_many(replays.clone(), &**store.snapshots(), failed, options, request).try_collect().await?;
        let (mut succeeded, mut known) = (0, 0);
        for result in results.into_iter().filter_map(BatchItem::into_result) {
            let result = result?;
            succeeded += u32::from(result.status == ReplayStatus::Success);
            known += u32::from(result.existing);
        }
        println!("{round} run: {succeeded} succeeded, {known} of them before; charged {} in all", gateway.charged.load(Ordering::SeqCst));
    }
    assert_eq!(gateway.charged.load(Ordering::SeqCst), 200);
    Ok(())
}
