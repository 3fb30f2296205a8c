//! The job that is measured: sequential steps that do nothing but change one field of a JSON context.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{TryStreamExt, future::try_join_all};
use replay::{
    SagaId, Store,
    saga::{Runner, Saga},
    storage::SnapshotQuery,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Outcome, harness};

/// How many steps the saga of the job has.
pub(crate) const STEPS: usize = 10;

/// An order whose JSON text has exactly `bytes` bytes, but at least some 400.
pub(crate) fn context(bytes: usize) -> Value {
    let line =
        |number: usize| json!({"sku": format!("SKU-{number:05}"), "name": "a thing that people order", "quantity": 3, "cents": 1999});
    let lines = (bytes / 256).max(1);
    let mut order = json!({
        "order_id": "ord_0192f3c4",
        "customer": {"id": "c-1742", "name": "A. Customer", "email": "customer@example.org", "vip": false},
        "address": {"street": "1 Long Street", "city": "Somewhere", "zip": "12345", "country": "NL"},
        "lines": (0..lines).map(line).collect::<Vec<_>>(),
        "payment": {"token": "tok_visa", "cents": 1999, "currency": "EUR"},
        "note": "",
        "step": 0,
    });
    let missing = bytes.saturating_sub(order.to_string().len());
    order["note"] = Value::String("n".repeat(missing));
    order
}

/// The same order as a type of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    #[serde(rename = "order_id")]
    id: String,
    customer: Customer,
    address: Address,
    lines: Vec<Line>,
    payment: Payment,
    note: String,
    step: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Customer {
    id: String,
    name: String,
    email: String,
    vip: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Address {
    street: String,
    city: String,
    zip: String,
    country: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    sku: String,
    name: String,
    quantity: u32,
    cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payment {
    token: String,
    cents: u64,
    currency: String,
}

/// A context that a step can change.
pub(crate) trait Context: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    fn reach(&mut self, step: usize);
}

impl Context for Value {
    fn reach(&mut self, step: usize) {
        self["step"] = json!(step % 10);
    }
}

impl Context for Order {
    fn reach(&mut self, step: usize) {
        self.step = u32::try_from(step % 10).unwrap_or_default();
    }
}

pub(crate) fn step_name(step: usize) -> String {
    format!("step_{step:05}")
}

/// A saga of so many steps.
pub(crate) fn saga<C: Context>(steps: usize) -> Outcome<Saga<C>> {
    let builder = (0..steps).fold(Saga::builder("bench"), |builder, step| {
        builder.step(step_name(step), move |mut context: C| async move {
            context.reach(step);
            Ok(context)
        })
    });
    Ok(builder.build()?)
}

/// Runs `sagas` sagas one after the other.
pub(crate) async fn one_by_one<C: Context>(runner: Runner, saga: Saga<C>, context: C, sagas: usize) -> Outcome {
    for _ in 0..sagas {
        let report = runner.start(&saga, context.clone()).await?;
        if !report.is_completed() {
            return Err(format!("a saga ended as {}", report.status).into());
        }
    }
    Ok(())
}

/// Runs `at_once` tasks with `sagas_each` sagas one after the other in each.
pub(crate) async fn at_once<C: Context>(runner: &Runner, saga: &Saga<C>, context: &C, at_once: usize, sagas_each: usize) -> Outcome {
    let task = || tokio::spawn(one_by_one(runner.clone(), saga.clone(), context.clone(), sagas_each));
    try_join_all((0..at_once).map(|_| task())).await?.into_iter().collect()
}

/// Microseconds per step of one saga after the other, in a task of its own.
pub(crate) async fn alone<C: Context>(store: &Store, saga: &Saga<C>, context: &C, sagas: usize) -> Outcome<f64> {
    let runner = Runner::new(store.clone());
    // The first saga also takes the runner's lease.
    one_by_one(runner.clone(), saga.clone(), context.clone(), 1).await?;
    let start = Instant::now();
    tokio::spawn(one_by_one(runner, saga.clone(), context.clone(), sagas)).await??;
    Ok(harness::micros_each(start.elapsed(), sagas * STEPS))
}

/// Steps per second of many sagas at once.
pub(crate) async fn throughput<C: Context>(store: &Store, saga: &Saga<C>, context: &C, tasks: usize, each: usize) -> Outcome<f64> {
    let runner = Runner::new(store.clone());
    at_once(&runner, saga, context, tasks, 1).await?;
    let start = Instant::now();
    at_once(&runner, saga, context, tasks, each).await?;
    Ok(harness::per_second(start.elapsed(), tasks * each * STEPS))
}

/// What a store keeps of one record.
#[derive(Debug, Clone)]
pub(crate) struct Bits {
    pub(crate) header: Bytes,
    pub(crate) context: Bytes,
}

/// The records of one saga of the job, as a floor is to write them.
pub(crate) async fn records(context: &Value) -> Outcome<Arc<[Bits]>> {
    let store = memory_store().await?;
    let id = SagaId::new("0192f3c4-6a1b-7c3d-8e4f-5a6b7c8d9e0f")?;
    let options = replay::saga::StartOptions::default().with_id(id.clone());
    Runner::new(store.clone()).start_with(&saga(STEPS)?, context.clone(), options).await?;
    let records: Vec<_> = store.snapshots().list(SnapshotQuery::new(id)).try_collect().await?;
    records.iter().map(|record| Ok(Bits { header: record.header().clone(), context: record.payload()?.bytes.clone() })).collect()
}

pub(crate) async fn memory_store() -> Outcome<Store> {
    Ok(<Store as replay::OpenStore>::open("memory:").await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_the_size_that_is_asked_for_and_fits_the_type() {
        for bytes in [1024, 10 * 1024] {
            let context = context(bytes);
            assert_eq!(context.to_string().len(), bytes);
            let order: Order = serde_json::from_value(context).unwrap();
            assert_eq!(order.step, 0);
        }
    }

    #[tokio::test]
    async fn the_job_captures_every_step_and_its_end() {
        assert_eq!(records(&context(1024)).await.unwrap().len(), STEPS + 1);
    }
}
