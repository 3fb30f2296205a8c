//! A card is refused, the order is rolled back; later the same order is replayed with a good token, as a new saga.
//!
//! ```sh
//! cargo run -p replay --example payment_outage
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use replay::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    sku: String,
    amount: u64,
    payment_token: String,
    reservation: Option<String>,
    payment_id: Option<String>,
}

fn order() -> replay::Result<Saga<Order>> {
    Saga::builder("order")
        .label("sku", "/sku")
        .step_with("reserve", |cx, mut order: Order| async move {
            order.reservation = Some(format!("{} for {}", order.sku, cx.saga_id()));
            Ok(order)
        })
        .compensate(|mut order: Order| async move {
            order.reservation = None;
            Ok(order)
        })
        .step_with("charge", |cx, mut order: Order| async move {
            // A real gateway gets the key as well: however often the step runs, the card is charged once.
            order.payment_id = Some(charge(&order, &cx.idempotency_key())?);
            Ok(order)
        })
        .compensate(|mut order: Order| async move {
            order.payment_id = None;
            Ok(order)
        })
        .step("ship", |order: Order| async move { Ok(order) })
        .pivot()
        .build()
}

fn charge(order: &Order, key: &str) -> StepResult<String> {
    match order.payment_token.as_str() {
        "tok_ok" => Ok(format!("pay_{}", &key[4..12])),
        token => Err(StepError::new(format!("card refused: {token}")).permanent()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&format!("sqlite:{}", folder.path().join("orders.db").display())).await?;
    let runner = Runner::new(store);
    let saga = order()?;

    let input = Order { sku: "bicycle".into(), amount: 120, payment_token: "tok_expired".into(), reservation: None, payment_id: None };
    let failed = runner.start(&saga, input).await?;
    println!("{} {}: {}", failed.saga_id, failed.status, failed.failure.as_ref().map(ToString::to_string).unwrap_or_default());
    assert_eq!(failed.status, SagaStatus::RolledBack);

    let replays = LocalReplay::new(runner, Registry::new().with(saga));
    let request = ReplayRequest::from_step(failed.saga_id.clone(), "charge")
        .with_override(Override::from_assignments(&["payment_token=tok_ok"])?)
        .with_initiated_by("support")
        .with_reason("customer gave a new card");

    let plan = replays.replay(request.clone().with_dry_run(true)).await?.plan.ok_or("a dry run gives its plan")?;
    for step in &plan.steps {
        println!("  would {} {}", step.action, step.name);
    }

    let replayed = replays.replay(request).await?;
    let new = replayed.new_saga.ok_or("a replay makes a new saga")?;
    println!("{new} {}, from {}", replayed.status, failed.saga_id);
    assert_eq!(replayed.status, ReplayStatus::Success);
    Ok(())
}
