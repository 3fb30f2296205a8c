//! Sagas whose way to the store is faulty: what the network may do to an append, and what must hold after.

use std::{sync::Arc, time::Duration};

use replay_core::{
    Error, ErrorKind, Retry, SagaId, SagaStatus, Store,
    layer::{Call, FaultPlan, Faulting},
    saga::{RetryPolicy, RunReport, Runner, Saga, StartOptions},
};
use serde_json::{Value, json};

use crate::{
    ledger::Ledger,
    proxy::{Fault, Proxy},
    stores::{self, NetworkStore},
};

/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_mins(1);
/// How many steps each saga has; one append more.
pub const STEPS: u64 = 6;

/// What happens to the network, and when.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// Before which append, from 1, the fault is set.
    pub at: u64,
    /// The fault.
    pub fault: Fault,
    /// Whether the run is to stop, to be continued once the network is healed; else it goes on by itself.
    pub stops: bool,
}

impl Scenario {
    fn new(name: &'static str, at: u64, fault: Fault) -> Self {
        Self { name, at, fault, stops: false }
    }

    fn stopping(mut self) -> Self {
        self.stops = true;
        self
    }

    /// The scenarios that every store goes through.
    pub fn all() -> Vec<Self> {
        vec![
            Self::new("every connection is reset", 3, Fault::Cut),
            Self::new("the server refuses some connections", 4, Fault::Refuse(3)),
            Self::new("the server refuses every connection", 2, Fault::Refuse(u32::MAX)).stopping(),
            Self::new("connections are half open", 5, Fault::HalfOpen),
            Self::new("nothing arrives any more", 3, Fault::BlackHole).stopping(),
            Self::new("answers are lost", 4, Fault::LoseAnswers),
            Self::new("a request is reset at its first byte", 1, Fault::ResetRequest(1)),
            Self::new("a request is reset in its middle", 6, Fault::ResetRequest(400)),
            Self::new("the first append is reset when its answer comes", 1, Fault::ResetAnswer(0)),
            Self::new("the last append is reset in its answer", STEPS + 1, Fault::ResetAnswer(3)),
            Self::new("everything takes 50 ms longer", 2, Fault::Delay(Duration::from_millis(50))),
            Self::new("an answer comes after the deadline", 5, Fault::LateAnswer(Duration::from_secs(2))),
        ]
    }

    /// Another scenario for each seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let at = rng.u64(1..=STEPS + 1);
        let fault = match rng.u32(..9) {
            0 => Fault::Cut,
            1 => Fault::Refuse(rng.u32(1..5)),
            2 => Fault::HalfOpen,
            3 => Fault::LoseAnswers,
            4 | 5 => Fault::ResetRequest(rng.u64(1..2_000)),
            6 => Fault::ResetAnswer(rng.u64(..60)),
            7 => Fault::Delay(Duration::from_millis(rng.u64(50..500))),
            _ => Fault::LateAnswer(Duration::from_millis(rng.u64(100..3_000))),
        };
        Self::new("of a seed", at, fault)
    }

    /// Runs a saga on `store`, whose server is at `url`, through this.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn run(&self, store: NetworkStore, url: &str) -> Result<(), String> {
        let ran = self.try_run(store, url).await;
        ran.map_err(|what| format!("{store:?}, {self:?}: {what}"))
    }

    async fn try_run(&self, kind: NetworkStore, url: &str) -> Result<(), String> {
        let url = stores::in_own_namespace(url);
        let direct = stores::open(&url).await.map_err(|error| said(&error))?;
        let proxy = Proxy::start(stores::address(&url)).await.map_err(|error| error.to_string())?;
        let far = stores::with(&stores::at(&url, proxy.address()), kind.impatient());
        let ledger = Ledger::default();
        let plan = FaultPlan::new();
        let (switch, fault) = (proxy.switch(), self.fault);
        plan.before(Call::Append, self.at, move || switch.set(fault));
        let runner = runner(faulting(ledger.watch(stores::open_soon(&far).await.map_err(|error| said(&error))?), plan));
        let (saga, id) = (chain(&ledger, STEPS), SagaId::new("n").map_err(|error| said(&error))?);
        let mut runs = 1;
        let mut report = start(&runner, &saga, &id).await?;
        if self.stops {
            check_stopped(report)?;
            proxy.heal();
            report = start(&runner, &saga, &id).await?;
            runs += 1;
        }
        // A fault that lasts as long as all attempts do may stop a run as well; then it is continued as an operator would.
        while let Err(error) = &report
            && may_be_continued(error)
            && !self.stops
            && runs < 4
        {
            report = start(&runner, &saga, &id).await?;
            runs += 1;
        }
        check_completed(report)?;
        if proxy.fired() == 0 {
            return Err("the fault hit nothing".to_owned());
        }
        if ledger.most_calls(&id) > runs {
            return Err(format!("a step was executed {} times in {runs} runs", ledger.most_calls(&id)));
        }
        ledger.check(&direct).await
    }
}

/// A runner that soon repeats an append, and soon gives up.
pub fn runner(store: Store) -> Runner {
    let retry = RetryPolicy::attempts(5).with_backoff(Duration::from_millis(5), 2.0, Duration::from_millis(50));
    Runner::builder(store).capture_retry(retry).build()
}

fn faulting(store: Store, plan: FaultPlan) -> Store {
    let snapshots = Faulting::new(store.snapshots().clone(), plan);
    store.with_snapshots(Arc::new(snapshots))
}

/// A saga of so many steps that tells `ledger` what it does, with a context that does not compress to nothing.
///
/// # Panics
/// Never: the steps have different names.
pub fn chain(ledger: &Ledger, steps: u64) -> Saga<Value> {
    let mut builder = Saga::builder("chain");
    for number in 0..steps {
        let (name, ledger) = (format!("s{number}"), ledger.clone());
        builder = builder.step_with(name.clone(), move |cx, mut context: Value| {
            ledger.call(cx.saga_id(), &name, &cx.idempotency_key());
            context["n"] = json!(context["n"].as_u64().unwrap_or_default() + 1);
            context[&name] = json!(noise(number));
            async move { Ok(context) }
        });
    }
    builder.build().expect("a definition")
}

fn noise(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.alphanumeric()).take(500).collect()
}

/// Starts a saga, or continues it if it was started before.
///
/// # Errors
/// If it takes longer than it may.
pub async fn start(runner: &Runner, saga: &Saga<Value>, id: &SagaId) -> Result<replay_core::Result<RunReport<Value>>, String> {
    let options = StartOptions::default().with_id(id.clone());
    let run = runner.start_with(saga, json!({ "id": id.as_str(), "noise": noise(99) }), options);
    tokio::time::timeout(DEADLINE, run).await.map_err(|_| format!("{id} did not end within {DEADLINE:?}"))
}

/// Whether a run that ended so is to be started again, once the store is there.
pub fn may_be_continued(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) && error.retry_advice() != Retry::Never
}

fn check_stopped(report: replay_core::Result<RunReport<Value>>) -> Result<(), String> {
    match report {
        Ok(report) => Err(format!("the run ended {} without the store", report.status)),
        Err(error) if may_be_continued(&error) && error.advice().is_some() => Ok(()),
        Err(error) => Err(format!("the run stopped otherwise than it must: {error:?}")),
    }
}

fn check_completed(report: replay_core::Result<RunReport<Value>>) -> Result<(), String> {
    match report {
        Ok(report) if report.status == SagaStatus::Completed && report.context["n"] == STEPS => Ok(()),
        Ok(report) => Err(format!("the run ended {} with {}", report.status, report.context)),
        Err(error) => Err(format!("the run stopped: {error:?}")),
    }
}

fn said(error: &Error) -> String {
    format!("{error:?}")
}
