use replay_core::SagaStatus;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_saga_runs_to_its_end_and_leaves_a_chained_history() {
    let (store, journal) = (store().await, Journal::default());
    let report = runner(&store).start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::Completed);
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"]);
    assert_eq!(
        phases(&store, &id("o")).await,
        ["before_step:reserve executing", "before_step:charge executing", "before_step:ship executing", "completion:ship completed"]
    );
    let history = history(&store, &id("o")).await;
    assert!(history.windows(2).all(|pair| pair[1].prev_digest == pair[0].digest() && pair[1].created_at > pair[0].created_at));
}

#[tokio::test]
async fn a_failed_step_is_followed_by_compensation_in_reverse_order() {
    let (store, journal) = (store().await, Journal::default());
    let report = runner(&store).start_with(&order(&journal), json!({"fail": "ship"}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::RolledBack);
    assert_eq!(report.failure.as_ref().unwrap().to_string(), "ship: told to fail");
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship", "-charge", "-reserve"]);
    assert_eq!(
        phases(&store, &id("o")).await[3..],
        [
            "failure:ship compensating",
            "compensation:charge compensating",
            "compensation:reserve compensating",
            "completion:ship rolled_back"
        ]
    );
}
