use std::{collections::BTreeMap, fmt, sync::Arc};

use fastrand::Rng;
use parking_lot::Mutex;

use crate::{Error, ErrorKind, Retry};

/// A call of [`SnapshotStorage`](crate::storage::SnapshotStorage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `append`
    Append,
    /// `load`
    Load,
    /// `list`
    List,
    /// `sagas`
    Sagas,
    /// `prune`
    Prune,
}

impl Call {
    /// The name of the method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Load => "load",
            Self::List => "list",
            Self::Sagas => "sagas",
            Self::Prune => "prune",
        }
    }
}

/// How often calls fail at random, each from 0 (never) to 1 (always).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// How often a call fails before it is done.
    pub fail: f64,
    /// How often it is done and its answer lost.
    pub lose_answer: f64,
}

impl Rates {
    /// Sets how often a call fails before it is done.
    #[must_use]
    pub fn with_fail(mut self, rate: f64) -> Self {
        self.fail = rate;
        self
    }

    /// Sets how often a call is done and its answer lost.
    #[must_use]
    pub fn with_lose_answer(mut self, rate: f64) -> Self {
        self.lose_answer = rate;
        self
    }
}

pub(super) type Hook = Arc<dyn Fn() + Send + Sync>;

/// Which calls of a [`Faulting`](super::Faulting) store go wrong, and how. Clones share the plan, so that a test can change it while the
/// store is in use. Calls are counted from 1, each kind by itself, from when the plan was made.
#[derive(Clone, Default)]
pub struct FaultPlan(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    calls: BTreeMap<Call, u64>,
    faults: u64,
    at: BTreeMap<(Call, u64), Vec<Fault>>,
    from: BTreeMap<Call, u64>,
    random: Option<(Rng, Rates)>,
}

#[derive(Clone)]
enum Fault {
    Fail(ErrorKind),
    LoseAnswer,
    Before(Hook),
    After(Hook),
}

/// What is to happen around one call.
#[derive(Default)]
pub(super) struct Doings {
    pub(super) before: Vec<Hook>,
    pub(super) fail: Option<Error>,
    pub(super) after: Vec<Hook>,
    pub(super) lose_answer: Option<Error>,
}

impl FaultPlan {
    /// A plan without faults: it only counts.
    pub fn new() -> Self {
        Self::default()
    }

    fn plan(&self, call: Call, nth: u64, fault: Fault) {
        self.0.lock().at.entry((call, nth)).or_default().push(fault);
    }

    /// Lets the `nth` such call fail as `Unavailable` before anything is done.
    pub fn fail(&self, call: Call, nth: u64) {
        self.fail_with(call, nth, ErrorKind::Unavailable);
    }

    /// Lets the `nth` such call fail with another kind of error before anything is done.
    pub fn fail_with(&self, call: Call, nth: u64, kind: ErrorKind) {
        self.plan(call, nth, Fault::Fail(kind));
    }

    /// Lets every such call from the `nth` on fail as `Unavailable`, until [`heal`](Self::heal).
    pub fn fail_from(&self, call: Call, nth: u64) {
        self.0.lock().from.insert(call, nth);
    }

    /// Lets the `nth` such call be done and its answer get lost: `Unavailable`, and for appends [`Retry::Ambiguous`]. A stream breaks off
    /// after its last item.
    pub fn lose_answer(&self, call: Call, nth: u64) {
        self.plan(call, nth, Fault::LoseAnswer);
    }

    /// Calls `hook` before the `nth` such call is done.
    pub fn before(&self, call: Call, nth: u64, hook: impl Fn() + Send + Sync + 'static) {
        self.plan(call, nth, Fault::Before(Arc::new(hook)));
    }

    /// Calls `hook` when the `nth` such call is done and not answered yet. A kill test ends its process here.
    pub fn after(&self, call: Call, nth: u64, hook: impl Fn() + Send + Sync + 'static) {
        self.plan(call, nth, Fault::After(Arc::new(hook)));
    }

    /// Lets any call go wrong at these rates from now on; the same `seed` gives the same faults for the same calls.
    pub fn at_random(&self, seed: u64, rates: Rates) {
        self.0.lock().random = Some((Rng::with_seed(seed), rates));
    }

    /// Drops every fault that was planned; counts stay.
    pub fn heal(&self) {
        let mut plan = self.0.lock();
        (plan.at, plan.from, plan.random) = (BTreeMap::new(), BTreeMap::new(), None);
    }

    /// How many such calls were made so far, those that failed included.
    pub fn calls(&self, call: Call) -> u64 {
        self.0.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls failed or lost their answer by this plan.
    pub fn faults(&self) -> u64 {
        self.0.lock().faults
    }

    /// Counts a call and says what is to happen around it.
    pub(super) fn next(&self, call: Call) -> Doings {
        let mut plan = self.0.lock();
        let nth = plan.calls.entry(call).or_default();
        *nth += 1;
        let nth = *nth;
        let mut doings = Doings::default();
        for fault in plan.at.remove(&(call, nth)).unwrap_or_default() {
            match fault {
                Fault::Fail(kind) => doings.fail = Some(injected(call, nth, kind)),
                Fault::LoseAnswer => doings.lose_answer = Some(lost(call, nth)),
                Fault::Before(hook) => doings.before.push(hook),
                Fault::After(hook) => doings.after.push(hook),
            }
        }
        if plan.from.get(&call).is_some_and(|from| nth >= *from) {
            doings.fail = Some(injected(call, nth, ErrorKind::Unavailable));
        }
        if let Some((random, rates)) = &mut plan.random {
            // Both are drawn for each call, so that one rate does not change which calls the other hits.
            let (fail, lose) = (random.f64() < rates.fail, random.f64() < rates.lose_answer);
            if fail {
                doings.fail = Some(injected(call, nth, ErrorKind::Unavailable));
            } else if lose {
                doings.lose_answer = Some(lost(call, nth));
            }
        }
        plan.faults += u64::from(doings.fail.is_some() || doings.lose_answer.is_some());
        doings
    }
}

fn injected(call: Call, nth: u64, kind: ErrorKind) -> Error {
    Error::new(kind, call.as_str()).message("the fault plan says so").with("call", nth)
}

fn lost(call: Call, nth: u64) -> Error {
    let error = Error::new(ErrorKind::Unavailable, call.as_str()).message("the fault plan lost the answer").with("call", nth);
    if call == Call::Append { error.retry(Retry::Ambiguous) } else { error }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0.lock();
        let planned: Vec<_> = plan.at.keys().collect();
        f.debug_struct("FaultPlan")
            .field("calls", &plan.calls)
            .field("faults", &plan.faults)
            .field("planned", &planned)
            .finish_non_exhaustive()
    }
}
