//! Does the way back work? A finished order is replayed with a failure forced at its last step: that step is not executed, and
//! everything before it is compensated for real, in a copy. The original stays as it is.
//!
//! ```sh
//! cargo run -p replay --example rehearse_compensation
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use replay::{prelude::*, replay::ForceFailure};
use serde_json::{Value, json};

/// The warehouse and the bank, reduced to a number each.
#[derive(Default)]
struct World {
    stock: AtomicI64,
    balance: AtomicI64,
}

fn order(world: &Arc<World>) -> replay::Result<Saga<Value>> {
    let change = |account: fn(&World) -> &AtomicI64, by: i64| {
        let world = world.clone();
        move |context: Value| {
            account(&world).fetch_add(by, Ordering::SeqCst);
            async move { Ok(context) }
        }
    };
    Saga::builder("order")
        .step("reserve", change(|w| &w.stock, -1))
        .compensate(change(|w| &w.stock, 1))
        .step("charge", change(|w| &w.balance, 120))
        .compensate(change(|w| &w.balance, -120))
        .step("ship", |context: Value| async move { Ok(context) })
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let world = Arc::new(World::default());
    let folder = tempfile::tempdir()?;
    let store = Store::open(&format!("sqlite:{}", folder.path().join("orders.db").display())).await?;
    let runner = Runner::new(store.clone());
    let saga = order(&world)?;

    let done = runner.start(&saga, json!({"order": 17, "test_mode": false})).await?;
    println!("{} {}: stock {:?}, balance {:?}", done.saga_id, done.status, world.stock, world.balance);

    let replays = LocalReplay::new(runner, Registry::new().with(saga));
    let rehearsal = ReplayRequest::from_step(done.saga_id.clone(), "ship")
        .with_override(Override::from_assignments(&["test_mode=true"])?)
        .with_force_failure(ForceFailure::Checkpoint)
        .with_reason("rehearsal");
    let result = replays.replay(rehearsal).await?;
    let report = result.report.ok_or("it ran")?;
    println!("{} {}: stock {:?}, balance {:?}", report.saga_id, report.status, world.stock, world.balance);
    for step in &report.steps {
        println!("  {:?} {}", step.disposition, step.name);
    }
    assert_eq!(report.status, SagaStatus::RolledBack);
    assert_eq!((world.stock.load(Ordering::SeqCst), world.balance.load(Ordering::SeqCst)), (0, 0));
    Ok(())
}
