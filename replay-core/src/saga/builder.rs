//! A saga's definition: its steps with their code, put together by a builder.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

use super::{RetryPolicy, SnapshotPolicy, Step, StepContext, StepResult, step::Closure};
use crate::{Error, Labels, Outline, OutlineStep, Result, codec, json::Pointer};

/// A saga's definition over the context type `C`. Clones are cheap and share the definition.
///
/// ```
/// use replay_core::saga::Saga;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Order { paid: bool }
///
/// let order = Saga::builder("order")
///     .step("charge", |mut order: Order| async move { order.paid = true; Ok(order) })
///     .compensate(|mut order: Order| async move { order.paid = false; Ok(order) })
///     .step("ship", |order: Order| async move { Ok(order) })
///     .pivot()
///     .build()?;
/// assert_eq!(order.outline().steps().len(), 2);
/// # Ok::<(), replay_core::Error>(())
/// ```
pub struct Saga<C>(Arc<Definition<C>>);

pub(super) struct Definition<C> {
    pub(super) outline: Arc<Outline>,
    pub(super) steps: Vec<StepDefinition<C>>,
    /// For each step, the steps that need it.
    pub(super) dependents: Vec<Vec<u32>>,
    /// For each step, its wave: one more than the latest wave of what it needs.
    pub(super) waves: Vec<u32>,
    pub(super) labels: Vec<(String, Pointer)>,
    pub(super) policy: Arc<SnapshotPolicy>,
    pub(super) max_concurrency: usize,
}

impl<C: Serialize> Definition<C> {
    /// Sets the labels that the definition takes from the context.
    pub(super) fn label(&self, labels: &mut Labels, context: &C) -> Result<()> {
        if self.labels.is_empty() {
            return Ok(());
        }
        let value = codec::context::to_value(context)?;
        for (key, pointer) in &self.labels {
            if let Some(found) = pointer.get(&value) {
                labels.insert(key.clone(), found.as_str().map_or_else(|| found.to_string(), str::to_owned));
            }
        }
        Ok(())
    }
}

pub(super) struct StepDefinition<C> {
    pub(super) name: Arc<str>,
    pub(super) action: Arc<dyn Step<C>>,
    /// A closure given apart from the action; without it the action's own compensation counts.
    pub(super) compensation: Option<Arc<dyn Step<C>>>,
    pub(super) retry: RetryPolicy,
    pub(super) compensation_retry: RetryPolicy,
    pub(super) timeout: Option<Duration>,
}

impl<C: Send + 'static> StepDefinition<C> {
    pub(super) async fn compensate(&self, cx: &StepContext, context: C) -> StepResult<C> {
        match &self.compensation {
            Some(closure) => closure.execute(cx, context).await,
            None => self.action.compensate(cx, context).await,
        }
    }
}

impl<C> Clone for Saga<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Saga<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Saga").field(&self.0.outline).finish()
    }
}

impl<C: Send + 'static> Saga<C> {
    /// Begins the definition of the saga `name`.
    pub fn builder(name: impl Into<Arc<str>>) -> SagaBuilder<C> {
        SagaBuilder {
            name: name.into(),
            version: "1".into(),
            steps: Vec::new(),
            labels: Vec::new(),
            policy: SnapshotPolicy::default(),
            max_concurrency: 16,
            mistake: None,
        }
    }

    /// The definition's shape.
    pub fn outline(&self) -> &Arc<Outline> {
        &self.0.outline
    }

    /// What of a run is captured unless its start says otherwise.
    pub fn policy(&self) -> &Arc<SnapshotPolicy> {
        &self.0.policy
    }

    pub(super) fn definition(&self) -> &Definition<C> {
        &self.0
    }
}

/// Puts a [`Saga`] together. Methods that say something about a step are about the one that was added last.
#[must_use = "a builder does nothing until `build`"]
pub struct SagaBuilder<C> {
    name: Arc<str>,
    version: Arc<str>,
    steps: Vec<(StepDefinition<C>, Shape)>,
    labels: Vec<(String, Pointer)>,
    policy: SnapshotPolicy,
    max_concurrency: usize,
    mistake: Option<Error>,
}

#[derive(Default)]
struct Shape {
    needs: Option<Vec<String>>,
    pivot: bool,
}

impl<C> fmt::Debug for SagaBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.steps.iter().map(|(step, _)| &step.name).collect();
        f.debug_struct("SagaBuilder").field("name", &self.name).field("steps", &names).finish_non_exhaustive()
    }
}

impl<C: Send + 'static> SagaBuilder<C> {
    /// Sets the version; by default `1`.
    pub fn version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds a step whose action is a closure from context to context.
    pub fn step<F, Fut>(self, name: impl Into<Arc<str>>, action: F) -> Self
    where
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<C>> + Send + 'static,
    {
        self.step_with(name, move |_, context| action(context))
    }

    /// Adds a step whose closure is also told about its run, such as the idempotency key.
    pub fn step_with<F, Fut>(self, name: impl Into<Arc<str>>, action: F) -> Self
    where
        F: Fn(StepContext, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<C>> + Send + 'static,
    {
        self.add(name, Closure(action))
    }

    /// Adds a step that is a type.
    pub fn add(self, name: impl Into<Arc<str>>, step: impl Step<C>) -> Self {
        self.add_shared(name, Arc::new(step))
    }

    /// Adds a step that is shared.
    pub fn add_shared(mut self, name: impl Into<Arc<str>>, action: Arc<dyn Step<C>>) -> Self {
        let step = StepDefinition {
            name: name.into(),
            action,
            compensation: None,
            retry: RetryPolicy::default(),
            compensation_retry: RetryPolicy::attempts(3),
            timeout: None,
        };
        self.steps.push((step, Shape::default()));
        self
    }

    fn last(mut self, what: &'static str, change: impl FnOnce(&mut StepDefinition<C>, &mut Shape)) -> Self {
        match self.steps.last_mut() {
            Some((step, shape)) => change(step, shape),
            None => self.mistake = Some(Error::invalid("define saga", format!("`{what}` comes before any step")).hint("add a step first")),
        }
        self
    }

    /// Gives the step a compensation, from context to context.
    pub fn compensate<F, Fut>(self, compensation: F) -> Self
    where
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<C>> + Send + 'static,
    {
        self.compensate_with(move |_, context| compensation(context))
    }

    /// Gives the step a compensation that is also told about its run.
    pub fn compensate_with<F, Fut>(self, compensation: F) -> Self
    where
        F: Fn(StepContext, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<C>> + Send + 'static,
    {
        self.last("compensate", |step, _| step.compensation = Some(Arc::new(Closure(compensation))))
    }

    /// Sets which steps must be completed before this one; by default the step before it. None at all: it runs in the first wave.
    pub fn needs<S: Into<String>>(self, needs: impl IntoIterator<Item = S>) -> Self {
        let needs = needs.into_iter().map(Into::into).collect();
        self.last("needs", |_, shape| shape.needs = Some(needs))
    }

    /// Sets how often the action is tried; by default once.
    pub fn retry(self, retry: RetryPolicy) -> Self {
        self.last("retry", |step, _| step.retry = retry)
    }

    /// Sets how often the compensation is tried; by default three times.
    pub fn compensation_retry(self, retry: RetryPolicy) -> Self {
        self.last("compensation_retry", |step, _| step.compensation_retry = retry)
    }

    /// Sets how long an attempt of the action or of the compensation may take; by default as long as it likes.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.last("timeout", |step, _| step.timeout = Some(timeout))
    }

    /// Says that the step is irreversible: once it is completed, nothing is compensated any more, and a later failure parks the saga.
    pub fn pivot(self) -> Self {
        self.last("pivot", |_, shape| shape.pivot = true)
    }

    /// Makes the value at `pointer` of the first context searchable under `key`.
    pub fn label(mut self, key: impl Into<String>, pointer: &str) -> Self {
        match Pointer::parse(pointer) {
            Ok(pointer) => self.labels.push((key.into(), pointer)),
            Err(error) => self.mistake = Some(error),
        }
        self
    }

    /// Sets what of a run is captured, and for how long it is kept.
    pub fn policy(mut self, policy: SnapshotPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how many steps of a wave run at once; by default 16. 0 counts as 1.
    pub fn max_concurrency(mut self, max: usize) -> Self {
        self.max_concurrency = max.max(1);
        self
    }

    /// Checks the definition.
    ///
    /// # Errors
    /// `Invalid`, saying what is wrong: no step, a name used twice, a need that does not exist or forms a cycle, a setting before any
    /// step, a malformed pointer.
    pub fn build(self) -> Result<Saga<C>> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        if self.steps.is_empty() {
            return Err(Error::invalid("define saga", format!("saga `{}` has no step", self.name)).hint("add one with `step`"));
        }
        let mut shape = Vec::with_capacity(self.steps.len());
        let index: std::collections::HashMap<&str, u32> = self.steps.iter().map(|(step, _)| &*step.name).zip(0..).collect();
        for (at, (step, Shape { needs, pivot })) in (0_u32..).zip(&self.steps) {
            let needs = match needs {
                None => at.checked_sub(1).into_iter().collect(),
                Some(names) => names.iter().map(|name| need(&index, at, &step.name, name)).collect::<Result<_>>()?,
            };
            let mut described = OutlineStep::new(step.name.clone(), needs);
            described.pivot = *pivot;
            described.has_compensation = step.compensation.is_some() || step.action.has_compensation();
            shape.push(described);
        }
        let outline = Arc::new(Outline::new(self.name, self.version, shape)?);
        let (dependents, waves) = graph(&outline);
        let steps = self.steps.into_iter().map(|(step, _)| step).collect();
        let policy = Arc::new(self.policy);
        Ok(Saga(Arc::new(Definition {
            outline,
            steps,
            dependents,
            waves,
            labels: self.labels,
            policy,
            max_concurrency: self.max_concurrency,
        })))
    }
}

fn need(index: &std::collections::HashMap<&str, u32>, at: u32, step: &str, name: &str) -> Result<u32> {
    match index.get(name) {
        Some(need) if *need < at => Ok(*need),
        Some(_) => Err(Error::invalid("define saga", format!("step `{step}` needs `{name}`, which does not come before it"))
            .hint("put a step after everything that it needs")),
        None => Err(Error::invalid("define saga", format!("step `{step}` needs `{name}`, which is not a step"))),
    }
}

fn graph(outline: &Outline) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut dependents = vec![Vec::new(); outline.steps().len()];
    let mut waves: Vec<u32> = Vec::with_capacity(outline.steps().len());
    for (at, step) in (0_u32..).zip(outline.steps()) {
        for need in &step.needs {
            dependents[*need as usize].push(at);
        }
        waves.push(step.needs.iter().map(|need| waves[*need as usize] + 1).max().unwrap_or(0));
    }
    (dependents, waves)
}
