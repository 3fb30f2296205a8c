//! kill -9 during a replay (RP-19).

use std::{path::Path, sync::Arc};

use replay_core::{
    SagaId,
    replay::{ReplayEntry, ReplayStatus, SagaReplay},
    saga::Runner,
};
use replay_e2e::{
    child::{self, Ended, Job, Shape, Work},
    crash::{self, Known},
    effects::{self, Effect},
    fatal::Kill,
    parent::Death,
};

use crate::program;

/// The one entry that the replay log has about the saga `k`.
fn entry(dir: &Path) -> ReplayEntry {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut entries = runtime.block_on(async {
        let job = Arc::new(Job::new(dir, Work::Recover).with_shape(Shape::Failing));
        let replays = child::replays(Runner::new(child::store(dir).await.unwrap()), &job);
        replays.replays(&SagaId::new("k").unwrap()).await.unwrap()
    });
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

fn of_the_replay(dir: &Path) -> Vec<Effect> {
    child::effects(dir).all().into_iter().filter(|effect| effect.saga == "r").collect()
}

fn ended(status: &str) -> Death {
    Death::Ended(vec![Ended { saga: "r".into(), how: status.into() }])
}

/// A failed saga, and its replay killed at `kill`. None if the replay came to its end first.
fn killed_replay(dir: &Path, kill: Kill) -> Option<Known> {
    let failing = |work| Job::new(dir, work).with_shape(Shape::Failing);
    assert!(matches!(program().run(&failing(Work::Start("k".into()))).unwrap(), Death::Ended(_)));
    let original = crash::stored(dir, "k").unwrap();
    match program().run(&failing(Work::Replay("k".into())).with_kill(kill)).unwrap() {
        Death::Killed => {}
        death @ Death::Ended(_) => {
            assert_eq!(death, ended("success"));
            return None;
        }
    }
    assert_eq!(crash::stored(dir, "k").unwrap(), original, "a replay never touches what it replays");
    Some(Known::of(&crash::stored(dir, "r").unwrap()))
}

#[test]
fn a_replay_killed_at_any_append_is_in_the_log_as_interrupted_and_reconciled_once_it_was_resumed() {
    for number in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let Some(known) = killed_replay(dir, Kill::After(number)) else {
            // Taking the fork over, nine steps that run again and the mended one, and the end.
            assert_eq!(number, 12);
            return;
        };
        let told = of_the_replay(dir).len();
        let open = entry(dir);
        if known.has_ended() {
            assert_eq!((open.status, open.interrupted), (ReplayStatus::Success, false), "the new saga says how it ended");
            continue;
        }
        assert_eq!((open.status, open.interrupted), (ReplayStatus::Running, true), "{open:?}");
        let resume = Job::new(dir, Work::ResumeReplay("r".into())).with_shape(Shape::Failing);
        assert_eq!(program().run(&resume).unwrap(), ended("completed"));
        let closed = entry(dir);
        assert_eq!((closed.status, closed.interrupted), (ReplayStatus::Success, false));
        assert!(closed.ended_at.is_some());
        known.check_calls(&of_the_replay(dir), told).unwrap();
    }
}

#[test]
fn a_replay_killed_before_any_append_goes_on_when_it_is_asked_for_again_under_its_key() {
    for number in 1..=11 {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let known = killed_replay(dir, Kill::Before(number)).expect("the replay has eleven appends or more");
        let told = of_the_replay(dir).len();
        let again = Job::new(dir, Work::Replay("k".into())).with_shape(Shape::Failing);
        assert_eq!(program().run(&again).unwrap(), ended("success"));
        assert_eq!(entry(dir).status, ReplayStatus::Success);
        let calls = of_the_replay(dir);
        known.check_calls(&calls, told).unwrap();
        assert!(effects::counts(&calls).values().sum::<u32>() <= 11, "one call is made again at most: {calls:?}");
    }
}
