//! The kit is tested: a store that is right passes it, and each planted bug is caught by the case that exists for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use replay_conformance::{Mutant, failing, promises};

/// Runs `check` for every item, on as many threads as there are processors, and gives what each found wrong.
fn each<T: Sync>(items: &[T], check: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    found.lock().unwrap().extend(check(item));
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn a_store_without_a_bug_passes() {
    let wrong = each(&promises(), |promise| {
        let failing = failing(None, promise);
        (!failing.is_empty()).then(|| format!("{failing:?}"))
    });
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn each_planted_bug_is_caught_by_its_case() {
    let missed = each(Mutant::ALL, |bug| {
        let failing = failing(Some(*bug), bug.promise());
        (!failing.iter().any(|case| case == bug.case())).then(|| format!("{bug:?} passes {}; it fails {failing:?}", bug.case()))
    });
    assert_eq!(missed, [""; 0]);
}

#[test]
fn there_is_a_planted_bug_for_every_promise() {
    // Random histories are there for the bugs that nobody thought of.
    let bare: Vec<_> = promises().into_iter().filter(|promise| Mutant::ALL.iter().all(|bug| bug.promise() != *promise)).collect();
    assert_eq!(bare, ["histories"]);
    assert!(Mutant::ALL.len() >= 40);
}
