use std::{any::Any, cell::Cell, panic, process::ExitCode, sync::Once, time::Duration};

use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use replay_core::storage::Capabilities;

use crate::{Fixture, Offers, cases, env::Env};

/// Runs every case against the store of `F`, as the `main` of a test without harness.
///
/// It understands the options of `cargo test` and `cargo nextest`. The exit code is 0 if every case that ran passed.
pub fn run<F: Fixture>() -> ExitCode {
    Suite::new().with::<F>().run()
}

/// Several stores whose cases run in one test program, such as one store with different settings.
#[derive(Default)]
pub struct Suite(Vec<Trial>);

impl Suite {
    /// No store yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the cases for the store of `F`, listed as `NAME::promise::case`.
    #[must_use]
    pub fn with<F: Fixture>(mut self) -> Self {
        let (offers, capabilities) = (F::OFFERS, F::capabilities());
        let cases = cases::all().filter(|case| case.needs.met_by(offers, &capabilities));
        self.0.extend(cases.map(|case| {
            Trial::test(format!("{}::{}", F::NAME, case.name()), move || {
                outcome::<F>(case);
                Ok(())
            })
        }));
        self
    }

    /// Runs them, as the `main` of a test without harness.
    pub fn run(self) -> ExitCode {
        libtest_mimic::run(&Arguments::from_args(), self.0).exit_code()
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suite({} cases)", self.0.len())
    }
}

/// One behaviour that a store must have.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) promise: &'static str,
    pub(crate) title: &'static str,
    pub(crate) needs: Needs,
    /// Whether it takes long, so that the planted bugs are not each tried on it.
    pub(crate) large: bool,
    pub(crate) run: fn(Env) -> BoxFuture<'static, ()>,
}

impl Case {
    pub(crate) fn name(&self) -> String {
        format!("{}::{}", self.promise, self.title)
    }
}

/// What a store must offer for a case to apply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Snapshots,
    Logs,
    Cells,
    Blobs,
    Durable(&'static Needs),
}

impl Needs {
    fn met_by(self, offers: Offers, capabilities: &Capabilities) -> bool {
        match self {
            Self::Snapshots => true,
            Self::Logs => offers.logs,
            Self::Cells => offers.cells,
            Self::Blobs => offers.blobs,
            Self::Durable(needs) => capabilities.durable && needs.met_by(offers, capabilities),
        }
    }
}

/// How long a case may take before it counts as failed: a store that blocks must not block the whole run.
const CASE_LIMIT: Duration = Duration::from_mins(5);

/// The same on a store with a planted bug, which is in memory and may well be waited for in vain.
const PLANTED_LIMIT: Duration = Duration::from_secs(5);

async fn within(limit: Duration, case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(limit, case).await;
    assert!(ended.is_ok(), "it did not end within {limit:?}");
}

fn outcome<F: Fixture>(case: Case) {
    runtime(|| {}).block_on(within(CASE_LIMIT, async { (case.run)(Env::of::<F>().await).await }));
}

/// Several threads, so that what runs concurrently in a case runs in parallel too.
fn runtime(on_thread_start: fn()) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .on_thread_start(on_thread_start)
        .enable_all()
        .build()
        .expect("threads for the case")
}

thread_local! {
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

fn hush() {
    HUSHED.set(true);
}

/// Runs a case that is expected to fail: gives what it failed with, and keeps the panic off the screen.
pub(crate) fn failure(case: &Case, env: impl Future<Output = Env>) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !HUSHED.get() {
                usual(info);
            }
        }));
    });
    let runtime = runtime(hush);
    let run = panic::AssertUnwindSafe(|| runtime.block_on(within(PLANTED_LIMIT, async { (case.run)(env.await).await })));
    let was = HUSHED.replace(true);
    let result = panic::catch_unwind(run);
    HUSHED.set(was);
    result.err().map(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
