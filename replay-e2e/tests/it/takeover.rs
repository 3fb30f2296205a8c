//! Several processes and one saga: one goes on, and a runner that was only slow stops at its next append (SC-9, SC-10).

use std::collections::BTreeSet;

use replay_e2e::{
    child::{self, Ended, Job, Work},
    crash, effects,
    fatal::Kill,
    parent::{Child, Death},
};
use rustix::process::Signal;

use crate::program;

fn resume(force: bool) -> Work {
    Work::Resume { id: "k".into(), force }
}

fn how(death: Death) -> String {
    match death {
        Death::Ended(ended) => ended.into_iter().map(|Ended { how, .. }| how).collect(),
        Death::Killed => panic!("the child was killed"),
    }
}

/// Lets two processes that have opened the store do the same at once. Gives how their sagas ended, in order.
fn race(job: &Job) -> BTreeSet<String> {
    let mut racers: Vec<Child> = (0..2).map(|_| program().start(&job.clone().with_wait_first())).collect();
    for racer in &racers {
        racer.expect("ready").unwrap();
    }
    racers.iter_mut().for_each(Child::go_on);
    racers.into_iter().map(|racer| how(racer.wait().unwrap())).collect()
}

/// Of two, one has completed the saga; the other was refused, or came late and was given the result.
fn check_race(ended: &BTreeSet<String>, refusals: &[&str]) {
    assert!(ended.contains("completed"), "{ended:?}");
    assert!(ended.iter().all(|how| how == "completed" || refusals.contains(&how.as_str())), "{ended:?}");
}

#[test]
fn of_two_processes_that_start_one_id_at_once_one_runs_it() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let ended = race(&Job::new(dir.path(), Work::Start("k".into())));
        check_race(&ended, &["Conflict", "Busy"]);
        let calls = child::effects(dir.path()).all();
        assert_eq!(calls.len(), 10, "each step is executed once: {calls:?}");
        assert_eq!(calls.iter().map(|call| call.pid).collect::<BTreeSet<_>>().len(), 1);
        assert_eq!(crash::stored(dir.path(), "k").unwrap().len(), 11);
    }
}

#[test]
fn of_two_processes_that_resume_one_saga_at_once_one_goes_on() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let start = Job::new(dir.path(), Work::Start("k".into())).with_kill(Kill::After(5));
        assert_eq!(program().run(&start).unwrap(), Death::Killed);
        let ended = race(&Job::new(dir.path(), resume(false)));
        check_race(&ended, &["Conflict", "Busy", "Refused"]);
        let calls = child::effects(dir.path()).all();
        assert_eq!(calls.len(), 10, "each step is executed once: {calls:?}");
        crash::stored(dir.path(), "k").unwrap();
    }
}

#[test]
fn a_runner_that_is_alive_is_left_alone_and_one_that_was_stopped_and_taken_over_does_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = program().start(&Job::new(dir.path(), Work::Start("k".into())).with_wait_in("+s3"));
    slow.expect("in +s3").unwrap();
    assert_eq!(how(program().run(&Job::new(dir.path(), resume(false))).unwrap()), "Busy");
    slow.signal(Signal::STOP);
    assert_eq!(how(program().run(&Job::new(dir.path(), resume(false))).unwrap()), "Busy");

    let other = program().start(&Job::new(dir.path(), resume(true)));
    let other_pid = other.pid();
    assert_eq!(how(other.wait().unwrap()), "completed");
    let (slow_pid, before) = (slow.pid(), crash::stored(dir.path(), "k").unwrap());
    slow.signal(Signal::CONT);
    slow.go_on();
    assert_eq!(how(slow.wait().unwrap()), "Conflict");

    assert_eq!(crash::stored(dir.path(), "k").unwrap(), before);
    let calls = child::effects(dir.path()).all();
    effects::check_keys(&calls).unwrap();
    let by = |pid| calls.iter().filter(|call| call.pid == pid).map(|call| call.what.as_str()).collect::<Vec<_>>();
    assert_eq!(by(slow_pid), ["+s0", "+s1", "+s2", "+s3"]);
    assert_eq!(by(other_pid), ["+s3", "+s4", "+s5", "+s6", "+s7", "+s8", "+s9"]);
}
