//! Many runners and many sagas on every store behind a network, and runners that are killed there.

use replay_e2e::{
    child::Shape,
    contend::{Contest, quarrel},
    crash::{Point, kill_at_url},
    crowd::{queue_up, queue_up_for_nothing},
    fatal::Kill,
    stores::{self, NetworkStore},
};

use crate::program;

/// Two hundred sagas on two connections.
const SAGAS: usize = 200;

async fn wait_their_turn(store: NetworkStore) {
    if store.is_under_test() {
        queue_up(store, &store.shared_url(), SAGAS).await.unwrap();
    }
}

async fn stop_in_time(store: NetworkStore) {
    if store.is_under_test() {
        queue_up_for_nothing(store, &store.shared_url(), SAGAS).await.unwrap();
    }
}

async fn contend(store: NetworkStore) {
    if !store.is_under_test() {
        return;
    }
    let contest = Contest { runners: 16, sagas: 20, steps: 50, seed: 1 };
    let url = stores::in_own_namespace(&store.shared_url());
    let executed = quarrel(async || stores::open(&url).await.unwrap(), contest).await.unwrap();
    assert!(executed >= contest.sagas * contest.steps, "{executed}");
}

/// Each persist boundary of a chain once (CR-1), then a compensation (CR-2) and a wave (CR-3) whose every process is killed.
fn kill_runners(store: NetworkStore) {
    if !store.is_under_test() {
        return;
    }
    let kill = |shape, points: &[Point]| kill_at_url(&program(), &stores::in_own_namespace(&store.shared_url()), shape, points).unwrap();
    for number in 1..=11 {
        let kind = if number % 2 == 0 { Kill::Before(number) } else { Kill::After(number) };
        assert_eq!(kill(Shape::Chain, &[Point::Append(kind)]), 1);
    }
    // A resumed process appends its own record first, so the third append is one of progress.
    let points = vec![Point::Append(Kill::After(3)); 30];
    assert!(kill(Shape::Failing, &points) >= 6);
    assert!(kill(Shape::FailingWave, &points) >= 3);
}

macro_rules! on_every_store {
    ($($store:ident: $kind:expr;)*) => {
        $(mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn two_hundred_sagas_on_two_connections_wait_their_turn() {
                wait_their_turn($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn two_hundred_sagas_that_wait_for_nothing_stop_in_time_and_go_on() {
                stop_in_time($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sixteen_runners_leave_every_history_whole() {
                contend($kind).await;
            }

            #[test]
            fn a_saga_whose_runner_is_killed_at_any_append_is_completed_by_another() {
                kill_runners($kind);
            }
        })*
    };
}

on_every_store! {
    redis: NetworkStore::Redis;
    postgres: NetworkStore::Postgres;
    s3: NetworkStore::S3;
}
