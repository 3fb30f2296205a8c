//! Redaction: values whose key or place says that they are secret are not shown.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::pointer::{self, Pointer};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Keys that look secret, as words: a key matches if it holds these words one after another.
const SECRET_KEYS: &[&[&str]] = &[
    &["password"],
    &["passwd"],
    &["pwd"],
    &["passphrase"],
    &["passcode"],
    &["secret"],
    &["token"],
    &["jwt"],
    &["api", "key"],
    &["apikey"],
    &["private", "key"],
    &["privatekey"],
    &["access", "key"],
    &["accesskey"],
    &["secret", "key"],
    &["secretkey"],
    &["encryption", "key"],
    &["signing", "key"],
    &["authorization"],
    &["credential"],
    &["cookie"],
    &["card"],
    &["creditcard"],
    &["cardnumber"],
    &["cvv"],
    &["cvc"],
    &["ssn"],
    &["social", "security"],
    &["iban"],
    &["pin"],
];

/// Words that are as telling at the end of a longer one: `dbpassword`, `accesstoken`.
const SECRET_ENDINGS: &[&str] = &["password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "accesskey", "creditcard"];

/// Replaces secrets by `"[redacted]"`, for logs, previews and reports.
///
/// The default knows secrets by their keys. A key is cut into words at punctuation and changes of case (`X-Api-Key`,
/// `apiKey` and `api_key` are all *api key*), without regard to case or a plural `s`, and matches if it holds one after
/// another the words of: `password`, `passwd`, `pwd`, `passphrase`, `passcode`, `secret`, `token`, `jwt`, `api key`, `private key`,
/// `access key`, `secret key`, `encryption key`, `signing key`, `authorization`, `credential`, `cookie`, `card`, `cvv`, `cvc`, `ssn`,
/// `social security`, `iban`, `pin`. A longer word that ends in `password`, `passwd`, `passphrase`, `secret`, `token`, `apikey`,
/// `privatekey`, `accesskey` or `creditcard` matches too.
///
/// Whatever is under such a key is replaced as a whole, but for `null`, which says nothing. It is a guess by name: name
/// other secrets with [`with_key`](Self::with_key) and [`with_pointer`](Self::with_pointer).
#[derive(Debug, Clone)]
pub struct Redactor {
    keys: Vec<Vec<String>>,
    endings: &'static [&'static str],
    pointers: BTreeSet<Vec<String>>,
}

impl Default for Redactor {
    fn default() -> Self {
        let keys = SECRET_KEYS.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect();
        Self { keys, endings: SECRET_ENDINGS, pointers: BTreeSet::new() }
    }
}

impl Redactor {
    /// A redactor that knows no secret until it is told.
    pub fn none() -> Self {
        Self { keys: Vec::new(), endings: &[], pointers: BTreeSet::new() }
    }

    /// Redacts what is at `pointer`, too.
    #[must_use]
    pub fn with_pointer(mut self, pointer: Pointer) -> Self {
        self.pointers.insert(pointer.into_tokens());
        self
    }

    /// Redacts what is under a key that holds the words of `key`, too, wherever that is. Case and punctuation make no
    /// difference.
    #[must_use]
    pub fn with_key(mut self, key: impl AsRef<str>) -> Self {
        let words = words_of(key.as_ref());
        if !words.is_empty() {
            self.keys.push(words);
        }
        self
    }

    /// Whether `key` looks like the key of a secret.
    pub fn is_secret_key(&self, key: &str) -> bool {
        let words = words_of(key);
        let holds = |secret: &Vec<String>| words.windows(secret.len()).any(|window| window == secret);
        words.iter().any(|word| self.endings.iter().any(|ending| word.ends_with(ending))) || self.keys.iter().any(holds)
    }

    /// A copy of `value` without its secrets.
    pub fn redact(&self, value: &Value) -> Value {
        self.redact_at(&Pointer::root(), value)
    }

    /// A copy of `value`, which stands or will stand at `place`, without its secrets. It is a secret as a whole if a key
    /// on the way to it looks secret.
    pub fn redact_at(&self, place: &Pointer, value: &Value) -> Value {
        let tokens = place.tokens();
        // What is inside a known place is as secret as the place.
        let known = (0..=tokens.len()).any(|count| self.pointers.contains(&tokens[..count]));
        if known || tokens.iter().any(|token| pointer::index(token).is_none() && self.is_secret_key(token)) {
            return redacted(value);
        }
        self.copy(value, &mut tokens.to_vec())
    }

    fn copy(&self, value: &Value, place: &mut Vec<String>) -> Value {
        match value {
            Value::Object(members) => self.copy_members(members, place),
            Value::Array(items) => self.copy_items(items, place),
            scalar => scalar.clone(),
        }
    }

    fn copy_members(&self, members: &Map<String, Value>, place: &mut Vec<String>) -> Value {
        let mut copy = Map::new();
        for (key, value) in members {
            place.push(key.clone());
            let hidden = self.is_secret_key(key) || self.is_secret_place(place);
            copy.insert(key.clone(), if hidden { redacted(value) } else { self.copy(value, place) });
            place.pop();
        }
        Value::Object(copy)
    }

    fn copy_items(&self, items: &[Value], place: &mut Vec<String>) -> Value {
        let mut copy = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            place.push(index.to_string());
            copy.push(if self.is_secret_place(place) { redacted(value) } else { self.copy(value, place) });
            place.pop();
        }
        Value::Array(copy)
    }

    fn is_secret_place(&self, place: &[String]) -> bool {
        !self.pointers.is_empty() && self.pointers.contains(place)
    }
}

fn redacted(value: &Value) -> Value {
    if value.is_null() { Value::Null } else { Value::from(REDACTED) }
}

/// The words of a key in lower case and singular: `X-Api-Keys`, `XApiKey` and `x_api_key` are all x, api, key.
fn words_of(key: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = key.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        let next_is_lower = chars.peek().is_some_and(|next| next.is_lowercase());
        let begins = c.is_uppercase() && before.is_some_and(|b: char| !b.is_uppercase() || next_is_lower);
        if begins || !c.is_alphabetic() {
            finish(&mut words, &mut word);
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        before = Some(c);
    }
    finish(&mut words, &mut word);
    words
}

fn finish(words: &mut Vec<String>, word: &mut String) {
    if word.len() > 2 && word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests;
