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
        for (_, secret) in self.iter() {
            for form in forms(secret) {
                if scrubbed.contains(&form) {
                    scrubbed = scrubbed.replace(&form, REDACTED);
                }
            }
        }
        scrubbed
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
