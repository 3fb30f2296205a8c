use std::sync::Mutex;

use futures::StreamExt;
use replay_core::{
    SagaStatus,
    replay::{BatchItem, BatchOptions, LeftOut, ReplayRequest, ReplayStatus, SagaReplay, replay_many},
    saga::StepError,
    storage::SagaQuery,
};

use super::*;

const ORDERS: usize = 1_500;

/// Charges; every hundredth order is held up at the gate.
fn small_order(charged: &Arc<Mutex<Vec<String>>>, gate: &Gate) -> Saga<Value> {
    let (charged, gate) = (charged.clone(), gate.clone());
    Saga::builder("order")
        .step_with("charge", move |cx, context: Value| {
            let (charged, gate) = (charged.clone(), gate.clone());
            async move {
                if context["token"] == "bad" {
                    return Err(StepError::new("the token has expired"));
                }
                if context["n"].as_u64().is_some_and(|n| n % 100 == 99) {
                    gate.pass().await;
                }
                charged.lock().unwrap().push(cx.idempotency_key());
                Ok(context)
            }
        })
        .build()
        .unwrap()
}

fn status(item: &BatchItem) -> ReplayStatus {
    item.result().unwrap().as_ref().unwrap().status
}

fn failed_orders() -> SagaQuery {
    SagaQuery::default().with_name("order").with_status(SagaStatus::Failed).with_step("charge")
}

#[tokio::test]
async fn rp10_a_batch_that_is_killed_half_way_and_run_again_replays_each_order_once() {
    let store = store().await;
    let charged = Arc::default();
    let runner = runner(&store);
    let gate = Gate::default();
    let saga = small_order(&charged, &gate);
    for n in 0..ORDERS {
        runner.start_with(&saga, json!({"token": "bad", "n": n}), named(&format!("o{n:04}"))).await.unwrap();
    }
    let replay: Arc<dyn SagaReplay> = Arc::new(replays(&runner, saga));
    let batch = || {
        let options = BatchOptions::default().with_concurrency(16).with_replay_key("batch-7");
        replay_many(replay.clone(), &**store.snapshots(), failed_orders(), options, |saga| {
            let token = Override::from_assignments(&["token=tok_ok"]).unwrap();
            ReplayRequest::from_step(saga.saga_id.clone(), "charge").with_override(token).with_initiated_by("ops")
        })
    };
    let half: Vec<BatchItem> = batch().take(ORDERS / 2).map(Result::unwrap).collect().await;
    assert!(half.iter().all(|item| status(item) == ReplayStatus::Success));

    assert!(runner.interrupted(SagaQuery::default()).await.unwrap().len() >= 7, "some were in the middle of their step");
    gate.open();
    let again: Vec<BatchItem> = batch().map(Result::unwrap).collect().await;
    assert_eq!(again.len(), ORDERS);
    let results: Vec<_> = again.iter().map(|item| item.result().unwrap().as_ref().unwrap()).collect();
    assert!(results.iter().all(|result| result.status == ReplayStatus::Success));
    assert!(results.iter().filter(|result| result.existing).count() >= ORDERS / 2);
    assert!(results.iter().filter(|result| result.existing && result.report.is_some()).count() >= 7, "what was interrupted goes on");

    for n in 0..ORDERS {
        let entries = replay.replays(&id(&format!("o{n:04}"))).await.unwrap();
        assert_eq!((entries.len(), entries[0].status), (1, ReplayStatus::Success), "o{n:04}");
    }
    let mut keys = charged.lock().unwrap().clone();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), ORDERS, "an order that was interrupted is charged under the key that it had");
}

#[tokio::test]
async fn rp10_a_batch_leaves_out_what_it_has_made_itself() {
    let store = store().await;
    let charged = Arc::default();
    let runner = runner(&store);
    let saga = small_order(&charged, &Gate::default());
    for n in 0..3 {
        runner.start_with(&saga, json!({"token": "bad"}), named(&format!("o{n}"))).await.unwrap();
    }
    let replay: Arc<dyn SagaReplay> = Arc::new(replays(&runner, saga));
    for round in 0..2 {
        let options = BatchOptions::default().with_replay_key("hopeless");
        let batch = replay_many(replay.clone(), &**store.snapshots(), failed_orders(), options, |saga| {
            ReplayRequest::from_step(saga.saga_id.clone(), "charge")
        });
        let items: Vec<BatchItem> = batch.map(Result::unwrap).collect().await;
        let (replayed, left_out): (Vec<_>, Vec<_>) = items.iter().partition(|item| item.result().is_some());
        assert_eq!(replayed.len(), 3, "round {round}: the failed replays match too");
        assert!(replayed.into_iter().all(|item| status(item) == ReplayStatus::Failed));
        let is_reason = |item: &&BatchItem| matches!(item, BatchItem::LeftOut { reason: LeftOut::MadeByThisBatch, .. });
        assert!(left_out.iter().all(is_reason), "{left_out:?}");
        assert!(round == 0 || left_out.len() == 3, "what the first round made is named");
    }
}
