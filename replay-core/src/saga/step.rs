//! What a step is: an action, perhaps a compensation, and what they are told when they run.

use std::{fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;

use super::StopSignal;
use crate::{Digest, Namespace, SagaId};

/// What a step gives back: the context as it is after the step, or why it failed.
pub type StepResult<C> = Result<C, StepError>;

/// Why an attempt of a step failed. Every error type turns into one by `?`.
///
/// An error is retried as the step's [`RetryPolicy`](super::RetryPolicy) says, unless it is [permanent](StepError::permanent).
#[derive(Debug)]
pub struct StepError {
    message: String,
    code: Option<String>,
    permanent: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StepError {
    /// An error with a message for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, permanent: false, source: None }
    }

    /// Gives it a code that a retry policy can name, such as `timeout` or `5xx`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Says that trying again is of no use.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code that a retry policy can name.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether trying again is of no use.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// The error that it was made from.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { message, code: None, permanent: false, source: Some(Box::new(error)) }
    }
}

/// A step with an action and perhaps a compensation, as a type. Closures do the same job where no type is wanted.
///
/// An action is executed *at least once*: a crash while it runs repeats it, with the same
/// [idempotency key](StepContext::idempotency_key). Pass that key on, and the effect is exactly-once where the receiver honours it.
#[async_trait]
pub trait Step<C: Send + 'static>: Send + Sync + 'static {
    /// Does the step and gives the context as it is afterwards.
    async fn execute(&self, cx: &StepContext, context: C) -> StepResult<C>;

    /// Takes the step's effect back, given the context as it then stands. Called only if
    /// [`has_compensation`](Step::has_compensation) says so.
    async fn compensate(&self, _cx: &StepContext, context: C) -> StepResult<C> {
        Ok(context)
    }

    /// Whether [`compensate`](Step::compensate) does anything.
    fn has_compensation(&self) -> bool {
        false
    }
}

/// What an attempt of a step is told about its run.
#[derive(Debug, Clone)]
pub struct StepContext(Arc<Told>);

#[derive(Debug)]
struct Told {
    saga_id: SagaId,
    step: Arc<str>,
    attempt: u32,
    key: KeySource,
    stop: StopSignal,
    wants_snapshot: std::sync::atomic::AtomicBool,
}

impl StepContext {
    pub(crate) fn new(saga_id: SagaId, step: Arc<str>, attempt: u32, key: KeySource, stop: StopSignal) -> Self {
        Self(Arc::new(Told { saga_id, step, attempt, key, stop, wants_snapshot: false.into() }))
    }

    /// The saga that runs.
    pub fn saga_id(&self) -> &SagaId {
        &self.0.saga_id
    }

    /// The step's name.
    pub fn step(&self) -> &str {
        &self.0.step
    }

    /// Which attempt this is, from 1. A resumed saga counts anew.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The key to pass on to the receiver of the effect: the same for every attempt of this step, also after a crash, and in a
    /// replay that inherits keys. An action and its compensation have different keys.
    pub fn idempotency_key(&self) -> String {
        self.0.key.key(&self.0.step)
    }

    /// Tells whether the saga was asked to stop; a long step may end early with an error.
    pub fn stop_signal(&self) -> &StopSignal {
        &self.0.stop
    }

    /// Asks for a snapshot once this step is completed, also under the strategy `manual`.
    pub fn request_snapshot(&self) {
        self.0.wants_snapshot.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn wants_snapshot(&self) -> bool {
        self.0.wants_snapshot.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// From what idempotency keys are made.
#[derive(Debug, Clone)]
pub(crate) struct KeySource {
    pub(crate) namespace: Namespace,
    pub(crate) base: SagaId,
    pub(crate) compensation: bool,
}

impl KeySource {
    /// `rk1_` and 32 hexadecimal digits of SHA-256 over namespace, base saga, step and direction.
    pub(crate) fn key(&self, step: &str) -> String {
        let direction: &[u8] = if self.compensation { b"compensate" } else { b"execute" };
        let parts =
            [b"replay-key/v1".as_slice(), self.namespace.as_str().as_bytes(), self.base.as_str().as_bytes(), step.as_bytes(), direction];
        format!("rk1_{:.32}", Digest::of_parts(parts))
    }
}

/// A closure as a step's action, or as its compensation.
pub(super) struct Closure<F>(pub(super) F);

impl<C, F, Fut> Step<C> for Closure<F>
where
    C: Send + 'static,
    F: Fn(StepContext, C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = StepResult<C>> + Send + 'static,
{
    fn execute<'s, 'x, 'a>(&'s self, cx: &'x StepContext, context: C) -> Pin<Box<dyn Future<Output = StepResult<C>> + Send + 'a>>
    where
        's: 'a,
        'x: 'a,
        Self: 'a,
    {
        Box::pin((self.0)(cx.clone(), context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_namespace_saga_step_and_direction_and_by_nothing_else() {
        let key = |namespace: &str, base: &str, step: &str, compensation| {
            let source = KeySource { namespace: Namespace::new(namespace).unwrap(), base: SagaId::new(base).unwrap(), compensation };
            source.key(step)
        };
        let base = key("n", "saga", "step", false);
        assert_eq!(base, key("n", "saga", "step", false));
        assert_eq!((base.len(), &base[..4]), (36, "rk1_"));
        for other in [key("m", "saga", "step", false), key("n", "sagas", "tep", false), key("n", "saga", "step", true)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn any_error_becomes_a_step_error_with_its_causes() {
        let fail = || -> StepResult<()> { Err(crate::Error::invalid("charge", "card expired"))? };
        assert_eq!(fail().unwrap_err().message(), "charge failed: invalid input: card expired");
    }
}
