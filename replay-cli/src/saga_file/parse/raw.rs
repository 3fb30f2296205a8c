//! A saga file as serde reads it. `schema.rs` says the same as JSON Schema; a test holds the two together.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use serde_saphyr::Spanned;

pub(super) type Text = Spanned<String>;
pub(super) type Map = BTreeMap<String, Text>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Text,
    pub(super) version: Option<Word>,
    /// For people; not part of the definition.
    #[serde(default, rename = "description")]
    pub(super) _description: Option<String>,
    #[serde(default)]
    pub(super) labels: Map,
    #[serde(default)]
    pub(super) secrets: Map,
    #[serde(default)]
    pub(super) allow_hosts: Vec<Text>,
    pub(super) strategy: Option<Text>,
    pub(super) retention: Option<Text>,
    pub(super) max_snapshots: Option<u64>,
    pub(super) max_concurrency: Option<u16>,
    pub(super) steps: Spanned<Vec<Step>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: Text,
    pub(super) command: Option<Spanned<Vec<Word>>>,
    pub(super) shell: Option<Text>,
    pub(super) http: Option<Http>,
    pub(super) save: Option<Spanned<Map>>,
    pub(super) compensate: Option<Compensate>,
    pub(super) retry: Option<Retry>,
    pub(super) timeout: Option<Text>,
    pub(super) needs: Option<Vec<Text>>,
    #[serde(default)]
    pub(super) pivot: bool,
    #[serde(default)]
    pub(super) env: BTreeMap<String, Spanned<Word>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compensate {
    pub(super) command: Option<Spanned<Vec<Word>>>,
    pub(super) shell: Option<Text>,
    pub(super) http: Option<Http>,
    pub(super) save: Option<Spanned<Map>>,
    pub(super) retry: Option<Retry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) method: Option<Text>,
    pub(super) url: Text,
    pub(super) json: Option<Spanned<Value>>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Spanned<Word>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) max_attempts: Spanned<u32>,
    pub(super) initial: Option<Text>,
    pub(super) factor: Option<Spanned<f64>>,
    pub(super) max: Option<Text>,
    pub(super) jitter: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) on: Vec<Spanned<Word>>,
}

/// Text, or a scalar that YAML takes for something else: `version: 1`, `on: [75]`, `command: [sleep, 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word(pub(super) String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Word, E> {
                Ok(Word(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Word, E> {
                Ok(Word(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Word, E> {
                Ok(Word(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Word, E> {
                Ok(Word(value.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
