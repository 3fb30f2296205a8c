//! kill -9 at every persist boundary and in every call (CR-1, CR-2, CR-3), and the recovery of many sagas at once.

use std::collections::BTreeSet;

use replay_e2e::{
    child::{self, Job, Shape, Work},
    crash::{self, Known, Point, kill_at},
    fatal::Kill,
    parent::Death,
};

use crate::program;

/// Kills a saga before and after each of its appends, until one comes to its end first. Gives how many appends there were.
fn kill_at_each_append(shape: Shape) -> u64 {
    for number in 1.. {
        let before = kill_at(&program(), shape, &[Point::Append(Kill::Before(number))]).unwrap();
        let after = kill_at(&program(), shape, &[Point::Append(Kill::After(number))]).unwrap();
        assert_eq!(before, after);
        if before == 0 {
            return number - 1;
        }
    }
    unreachable!("a saga ends")
}

#[test]
fn a_chain_killed_at_any_append_is_completed_by_another_process() {
    // Before each of ten steps, and at the end.
    assert_eq!(kill_at_each_append(Shape::Chain), 11);
}

#[test]
fn a_compensation_killed_at_any_append_is_finished_by_another_process() {
    // Before each of ten steps, the failure, nine compensations, and the end.
    assert_eq!(kill_at_each_append(Shape::Failing), 21);
}

#[test]
fn a_wave_killed_at_any_append_keeps_the_siblings_that_are_completed() {
    // Before the first step, the wave and the last step, after all but one of four branches, and the end.
    assert_eq!(kill_at_each_append(Shape::Wave), 7);
}

#[test]
fn the_compensation_of_a_wave_killed_at_any_append_is_finished_by_another_process() {
    // Three steps or waves, two branches, the failure, four compensations, and the end.
    assert_eq!(kill_at_each_append(Shape::FailingWave), 11);
}

#[test]
fn a_process_killed_in_a_call_makes_that_call_again_with_the_same_key() {
    let calls = |shape, sign, steps: std::ops::Range<usize>| steps.map(move |step| (shape, format!("{sign}s{step}")));
    let all = calls(Shape::Chain, '+', 0..10).chain(calls(Shape::Failing, '-', 0..9)).chain(calls(Shape::Wave, '+', 0..6));
    for (shape, call) in all {
        assert_eq!(kill_at(&program(), shape, &[Point::Call(call)]).unwrap(), 1);
    }
}

#[test]
fn a_saga_whose_every_process_is_killed_comes_to_its_end_all_the_same() {
    for shape in [Shape::Chain, Shape::Failing, Shape::FailingWave] {
        // A resumed process appends its own record first, so the third append is one of progress.
        let points = vec![Point::Append(Kill::After(3)); 30];
        assert!(kill_at(&program(), shape, &points).unwrap() >= 3);
    }
}

#[test]
fn sixty_four_sagas_of_a_killed_process_are_recovered_and_no_recorded_step_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let many = Job::new(dir.path(), Work::StartMany(64)).with_kill(Kill::After(350));
    assert_eq!(program().run(&many).unwrap(), Death::Killed);
    let ids: Vec<String> = (0..64).map(|number| format!("m{number}")).collect();
    let known: Vec<Known> = ids.iter().map(|id| Known::of(&crash::stored(dir.path(), id).unwrap())).collect();
    let told = child::effects(dir.path()).all().len();

    let Death::Ended(ended) = program().run(&Job::new(dir.path(), Work::Recover)).unwrap() else { panic!("killed") };
    assert!(ended.iter().all(|ended| ended.how == "completed"), "{ended:?}");
    let recovered: BTreeSet<&str> = ended.iter().map(|ended| ended.saga.as_str()).collect();
    let interrupted: BTreeSet<&str> = ids.iter().zip(&known).filter(|(_, known)| !known.has_ended()).map(|(id, _)| id.as_str()).collect();
    assert_eq!(recovered, interrupted);
    assert!(interrupted.len() > 32, "too few were interrupted: {}", interrupted.len());
    let all = child::effects(dir.path()).all();
    for (id, known) in ids.iter().zip(known) {
        let (before, after) = all.split_at(told);
        let before: Vec<_> = before.iter().filter(|effect| effect.saga == *id).cloned().collect();
        let after = after.iter().filter(|effect| effect.saga == *id).cloned();
        known.check_calls(&before.iter().cloned().chain(after).collect::<Vec<_>>(), before.len()).unwrap();
        assert_eq!(crash::stored(dir.path(), id).unwrap().last().unwrap().completed.len(), 10);
    }
}
