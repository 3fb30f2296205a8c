//! Which failures of a step are tried again.

use replay::saga::StepError;

/// What the retry policy of a step names. Without names, what is known to pass is tried again: exit code 75, timeouts, refused
/// connections, and the HTTP statuses 408, 429 and 5xx.
#[derive(Debug, Clone)]
pub(super) struct RetryRules {
    pub(super) on: Vec<String>,
    /// Compensations are tried again whatever the failure was, unless the policy names codes.
    pub(super) every_error: bool,
}

impl RetryRules {
    /// A failure with one of `codes`, the most special first. `passing` says whether it is known to pass.
    pub(super) fn failure(&self, message: String, codes: &[String], passing: bool) -> StepError {
        let named = codes.iter().find(|code| self.on.contains(code));
        let error = StepError::new(message);
        let error = match named.or(codes.first()) {
            Some(code) => error.with_code(code),
            None => error,
        };
        let again = if self.on.is_empty() { passing || self.every_error } else { named.is_some() };
        if again { error } else { error.permanent() }
    }
}

/// Whether `word` is something that a retry policy may name.
pub(super) fn is_retry_word(word: &str) -> bool {
    matches!(word, "timeout" | "connect" | "1xx" | "2xx" | "3xx" | "4xx" | "5xx") || word.parse::<u16>().is_ok_and(|code| code <= 599)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(on: &[&str], every_error: bool) -> RetryRules {
        RetryRules { on: on.iter().map(|word| (*word).to_owned()).collect(), every_error }
    }

    fn codes(codes: &[&str]) -> Vec<String> {
        codes.iter().map(|code| (*code).to_owned()).collect()
    }

    #[test]
    fn without_names_only_what_is_known_to_pass_is_tried_again() {
        assert!(!rules(&[], false).failure(String::new(), &codes(&["503", "5xx"]), true).is_permanent());
        assert!(rules(&[], false).failure(String::new(), &codes(&["402", "4xx"]), false).is_permanent());
        assert!(!rules(&[], true).failure(String::new(), &codes(&["1"]), false).is_permanent());
    }

    #[test]
    fn a_named_code_is_the_errors_code() {
        let error = rules(&["5xx"], false).failure(String::new(), &codes(&["503", "5xx"]), true);
        assert_eq!((error.code(), error.is_permanent()), (Some("5xx"), false));
        let error = rules(&["timeout"], false).failure(String::new(), &codes(&["503", "5xx"]), true);
        assert!(error.is_permanent());
    }

    #[test]
    fn words_are_checked() {
        assert!(["timeout", "5xx", "75", "503"].iter().all(|word| is_retry_word(word)));
        assert!(!["timeouts", "6xx", "-1", "600", ""].iter().any(|word| is_retry_word(word)));
    }
}
