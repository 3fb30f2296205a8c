//! Secrets of a saga file: taken from the environment, handed to steps, never recorded.

use std::{collections::BTreeMap, fmt, sync::Arc};

use replay::{Error, Result, json::REDACTED};
use serde_json::Value;

use super::template::percent_encode;

/// The names of a file's secrets, with the environment variable that each comes from.
pub(super) type SecretSources = BTreeMap<String, String>;

/// Secrets by name. `Debug` shows names only.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<BTreeMap<String, String>>);

impl Secrets {
    /// Takes each secret from its environment variable.
    ///
    /// # Errors
    /// `Invalid`, naming the variable, if it is not set, empty, or not text.
    pub(super) fn from_environment(sources: &SecretSources) -> Result<Self> {
        Self::from_lookup(sources, |variable| std::env::var(variable).ok())
    }

    pub(super) fn from_lookup(sources: &SecretSources, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let take = |(name, variable): (&String, &String)| match lookup(variable) {
            Some(value) if !value.is_empty() => Ok((name.clone(), value)),
            _ => Err(Error::invalid("take secrets", format!("the secret `{name}` is not set"))
                .hint(format!("set the environment variable {variable}; nothing has been run"))),
        };
        Ok(Self(Arc::new(sources.iter().map(take).collect::<Result<_>>()?)))
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `text` with every secret in it replaced, as it is and as it looks inside JSON or a URL.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut scrubbed = text.to_owned();
        for form in self.all_forms() {
            if scrubbed.contains(&form) {
                scrubbed = scrubbed.replace(&form, REDACTED);
            }
        }
        scrubbed
    }

    /// The length of the longest form of a secret, in bytes; 0 without secrets.
    pub(super) fn longest(&self) -> usize {
        self.all_forms().first().map_or(0, String::len)
    }

    /// The last `limit` bytes of `bytes` as text, scrubbed. A secret that reaches across the cut is left out as a whole.
    ///
    /// If `bytes` is itself the end of something, it holds at least [`longest`](Self::longest) bytes more than `limit`.
    pub(super) fn scrub_end(&self, bytes: &[u8], limit: usize) -> String {
        let forms = self.all_forms();
        let mut from = bytes.len().saturating_sub(limit);
        let across = |from: usize, form: &String| {
            let starts = from.saturating_sub(form.len() - 1)..from;
            starts.rev().find(|at| bytes[*at..].starts_with(form.as_bytes())).map(|at| at + form.len())
        };
        while let Some(end) = forms.iter().find_map(|form| across(from, form)) {
            from = end;
        }
        self.scrub(String::from_utf8_lossy(&bytes[from..]).trim())
    }

    /// `bytes` that were cut off somewhere, without the beginning of a secret that they may end with.
    pub(super) fn without_begun<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let begun = |form: &String| (1..form.len()).rev().find(|len| bytes.ends_with(&form.as_bytes()[..*len]));
        let held = self.all_forms().iter().filter_map(begun).max().unwrap_or(0);
        &bytes[..bytes.len() - held]
    }

    /// Every form of every secret, the longest first, so that one inside another leaves no rest of the longer.
    fn all_forms(&self) -> Vec<String> {
        let mut forms: Vec<String> = self.iter().flat_map(|(_, secret)| forms(secret)).collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms
    }

    /// The name of a secret that is in `value`, if there is one.
    pub(super) fn found_in(&self, value: &Value) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let text = value.to_string();
        self.iter().find(|(_, secret)| forms(secret).iter().any(|form| text.contains(form))).map(|(name, _)| name)
    }
}

/// How a secret may look in other text.
fn forms(secret: &str) -> Vec<String> {
    let json = Value::from(secret).to_string();
    let mut forms = vec![secret.to_owned(), json[1..json.len() - 1].to_owned(), percent_encode(secret)];
    forms.dedup();
    forms
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secrets() -> Secrets {
        let sources = [("KEY".to_owned(), "PAYMENT_KEY".to_owned())].into();
        Secrets::from_lookup(&sources, |name| (name == "PAYMENT_KEY").then(|| "hunter2 \"x\"".to_owned())).unwrap()
    }

    #[test]
    fn a_secret_is_scrubbed_in_every_form() {
        let text = secrets().scrub(r#"a hunter2 "x" b hunter2 \"x\" c hunter2%20%22x%22 d"#);
        assert_eq!(text, "a [redacted] b [redacted] c [redacted] d");
        assert!(!format!("{:?}", secrets()).contains("hunter2"));
    }

    #[test]
    fn a_secret_across_the_cut_leaves_no_part() {
        let text = br#"before hunter2 "x" after"#;
        for limit in 0..=text.len() {
            let end = secrets().scrub_end(text, limit);
            assert!(!end.contains("x\"") && !end.contains("ter2") && !end.contains("hunt"), "{limit}: {end}");
        }
        assert_eq!(secrets().scrub_end(text, text.len()), "before [redacted] after");
        assert_eq!(secrets().scrub_end(text, 3), "ter");
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_is_held_back() {
        let whole = br#"a hunter2 "x" b"#;
        for cut in 0..=whole.len() {
            let shown = secrets().scrub(&String::from_utf8_lossy(secrets().without_begun(&whole[..cut])));
            assert!(!shown.contains('h'), "{cut}: {shown}");
        }
        assert_eq!(secrets().without_begun(b"huh"), b"hu");
        assert_eq!(secrets().without_begun(whole), whole);
        assert_eq!(Secrets::default().without_begun(b"hunter"), b"hunter");
    }

    #[test]
    fn a_secret_in_a_value_is_found() {
        assert_eq!(secrets().found_in(&json!({"a": ["-hunter2 \"x\"-"]})), Some("KEY"));
        assert_eq!(secrets().found_in(&json!({"a": 1})), None);
    }

    #[test]
    fn a_secret_that_is_not_set_is_named() {
        let sources = [("KEY".to_owned(), "OTHER".to_owned())].into();
        let error = Secrets::from_lookup(&sources, |_| None).unwrap_err();
        assert!(error.detail().unwrap().contains("KEY") && error.advice().unwrap().contains("OTHER"));
    }
}
