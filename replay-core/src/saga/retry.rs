//! When and after what pause a failed attempt is repeated.

use std::time::Duration;

use super::StepError;

/// How often a step is tried, and how long to wait in between: exponential backoff with jitter.
///
/// The pause after attempt n is `initial × factor^(n-1)`, at most `max`, of which a random share of up to `jitter` is taken off.
/// # Sources
/// Exponential backoff and jitter as in the AWS Architecture Blog (2015), "equal jitter" for the default of 0.5.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often it is tried in all, from 1; by default 1 for actions and 3 for compensations.
    pub max_attempts: u32,
    /// The pause after the first attempt; by default 100 ms.
    pub initial: Duration,
    /// By what the pause grows; by default 2.
    pub factor: f64,
    /// The longest pause; by default 30 s.
    pub max: Duration,
    /// The share of the pause that is random, from 0 to 1; by default 0.5.
    pub jitter: f64,
    /// Codes of errors that are retried; empty = every error that is not permanent.
    pub on: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::attempts(1)
    }
}

impl RetryPolicy {
    /// Tries up to `max_attempts` times with the default pauses; 0 counts as 1.
    pub fn attempts(max_attempts: u32) -> Self {
        Self {
            max_attempts: max_attempts.max(1),
            initial: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.5,
            on: Vec::new(),
        }
    }

    /// Sets the first and the longest pause and by what it grows.
    #[must_use]
    pub fn with_backoff(mut self, initial: Duration, factor: f64, max: Duration) -> Self {
        (self.initial, self.factor, self.max) = (initial, factor, max);
        self
    }

    /// Sets the share of the pause that is random, from 0 to 1.
    #[must_use]
    pub fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Retries errors with this code only (and others that are added the same way).
    #[must_use]
    pub fn on(mut self, code: impl Into<String>) -> Self {
        self.on.push(code.into());
        self
    }

    /// Whether attempt number `attempt`, which ended in `error`, is followed by another.
    pub fn allows(&self, attempt: u32, error: &StepError) -> bool {
        attempt < self.max_attempts
            && !error.is_permanent()
            && (self.on.is_empty() || error.code().is_some_and(|c| self.on.iter().any(|on| on == c)))
    }

    /// The pause after attempt number `attempt`, from 1; `random` is from 0 up to but not including 1.
    pub fn pause(&self, attempt: u32, random: f64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let capped = full.min(self.max.as_secs_f64());
        Duration::try_from_secs_f64(capped * (1.0 - self.jitter.clamp(0.0, 1.0) * random)).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_cap_and_jitter_only_shortens_them() {
        let policy = RetryPolicy::attempts(9).with_backoff(Duration::from_millis(100), 2.0, Duration::from_secs(1));
        let pauses: Vec<_> = (1..=6).map(|n| policy.pause(n, 0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(policy.pause(1, 0.999_999).as_millis(), 50);
        assert_eq!(policy.pause(u32::MAX, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn permanent_errors_and_other_codes_are_not_retried() {
        let policy = RetryPolicy::attempts(3).on("timeout");
        assert!(policy.allows(1, &StepError::new("x").with_code("timeout")));
        assert!(!policy.allows(3, &StepError::new("x").with_code("timeout")));
        assert!(!policy.allows(1, &StepError::new("x").with_code("5xx")));
        assert!(!RetryPolicy::attempts(3).allows(1, &StepError::new("x").permanent()));
    }
}
