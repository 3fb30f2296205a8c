//! Places inside a value: JSON pointers, and the dotted keys that people type.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{MAX_DEPTH, tree};
use crate::{Error, ErrorKind, Result};

/// A place inside a JSON value.
///
/// Displayed, and serialised, as the JSON pointer of RFC 6901: `/items/0/price`, with `~0` for `~` and `~1` for `/` in
/// a key. The empty pointer is the whole value. At most [`MAX_DEPTH`] tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// The whole value.
    pub const fn root() -> Self {
        Self { tokens: Vec::new() }
    }

    /// Takes what begins with `/` as a JSON pointer and anything else as dotted keys: `/a/b~1c`, `items.0.price`. Empty
    /// text is the whole value.
    ///
    /// A key with a dot in it is only reached by a JSON pointer.
    ///
    /// # Errors
    /// `Invalid` for a `~` that is neither `~0` nor `~1` and for dotted keys of which one is empty; `LimitExceeded` beyond
    /// [`MAX_DEPTH`] tokens.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |message: &str, hint: &str| Err(Error::invalid("parse", message).hint(hint).with("pointer", text));
        let tokens: Vec<String> = if let Some(rest) = text.strip_prefix('/') {
            if has_stray_tilde(rest) {
                return wrong("a `~` in a JSON pointer is not followed by 0 or 1", "write ~0 for ~ and ~1 for / inside a key");
            }
            rest.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
        } else if text.is_empty() {
            Vec::new()
        } else {
            if text.split('.').any(str::is_empty) {
                return wrong("a dotted key has an empty part", "write a JSON pointer such as /a/b for keys that hold dots or are empty");
            }
            text.split('.').map(str::to_owned).collect()
        };
        if tokens.len() > MAX_DEPTH {
            return Err(Error::new(ErrorKind::LimitExceeded, "parse")
                .message(format!("the pointer has more than {MAX_DEPTH} tokens"))
                .with("tokens", tokens.len()));
        }
        Ok(Self { tokens })
    }

    /// As [`parse`](Self::parse), but takes JSON pointers only, as RFC 6902 wants them.
    pub(crate) fn parse_strict(text: &str) -> Result<Self> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(Error::invalid("parse", "a JSON pointer begins with `/`").with("pointer", text));
        }
        Self::parse(text)
    }

    /// The keys and indices on the way, unescaped.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    pub(super) fn into_tokens(self) -> Vec<String> {
        self.tokens
    }

    /// Whether it is the whole value.
    pub fn is_root(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The place `token` (a key or an index, unescaped) below this one.
    #[must_use]
    pub fn child(&self, token: impl Into<String>) -> Self {
        let mut tokens = self.tokens.clone();
        tokens.push(token.into());
        Self { tokens }
    }

    /// Whether `other` is this place or below it.
    pub fn contains(&self, other: &Self) -> bool {
        other.tokens.starts_with(&self.tokens)
    }

    /// The value at this place, if there is one. A missing place is `None`, a `null` is not.
    pub fn get<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.tokens.iter().try_fold(value, |value, token| match value {
            Value::Object(members) => members.get(token),
            Value::Array(items) => items.get(index(token)?),
            _ => None,
        })
    }

    /// The value at this place, if there is one, to be changed.
    pub fn get_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        get_mut(value, &self.tokens)
    }

    /// Puts `new` at this place, replacing what is there. On failure `value` is unchanged.
    ///
    /// Objects that are missing on the way are created, a `null` on the way counts as missing. In an array, the index of
    /// an element replaces it, and `-` or the array's length appends.
    ///
    /// # Errors
    /// `Invalid` if a scalar is in the way or an index is beyond the array (the fact `pointer` names the place),
    /// `LimitExceeded` if the value would nest deeper than [`MAX_DEPTH`].
    pub fn set(&self, value: &mut Value, new: Value) -> Result<()> {
        if tree::is_deeper_than(&new, MAX_DEPTH - self.tokens.len()) {
            return Err(Error::new(ErrorKind::LimitExceeded, "set")
                .message(format!("the value would nest deeper than {MAX_DEPTH} levels"))
                .with("pointer", self));
        }
        let mut place = value;
        for (depth, token) in self.tokens.iter().enumerate() {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            place = match place {
                Value::Object(members) => members.entry(token.as_str()).or_insert(Value::Null),
                Value::Array(items) => {
                    let at = if token == "-" { Some(items.len()) } else { index(token) };
                    let Some(at) = at.filter(|at| *at <= items.len()) else {
                        return Err(self.wrong_index(depth, items.len()));
                    };
                    if at == items.len() {
                        items.push(Value::Null);
                    }
                    &mut items[at]
                }
                scalar => return Err(self.scalar_in_the_way(depth, scalar)),
            };
        }
        *place = new;
        Ok(())
    }

    /// Takes the value at this place out and returns it, if there is one. Later elements of an array move up; the whole
    /// value becomes `null`.
    pub fn remove(&self, value: &mut Value) -> Option<Value> {
        let Some((last, parent)) = self.tokens.split_last() else {
            return Some(value.take());
        };
        match get_mut(value, parent)? {
            Value::Object(members) => members.remove(last),
            Value::Array(items) => index(last).filter(|at| *at < items.len()).map(|at| items.remove(at)),
            _ => None,
        }
    }

    /// The pointer to this place's first `count` tokens.
    fn ancestor(&self, count: usize) -> Self {
        Self { tokens: self.tokens[..count].to_vec() }
    }

    fn scalar_in_the_way(&self, depth: usize, scalar: &Value) -> Error {
        Error::invalid("set", format!("the place is {} and has nothing inside", kind_of(scalar)))
            .hint("set the place itself to an object first, or choose another key")
            .with("pointer", self.ancestor(depth))
            .with("wanted", self)
    }

    fn wrong_index(&self, depth: usize, len: usize) -> Error {
        Error::invalid("set", format!("`{}` is no index of an array of {len}", self.tokens[depth]))
            .hint(format!("use 0 to {len}, or - to append"))
            .with("pointer", self.ancestor(depth))
            .with("wanted", self)
    }
}

/// As [`Pointer::get_mut`], over some of a pointer's tokens.
pub(super) fn get_mut<'a>(value: &'a mut Value, tokens: &[String]) -> Option<&'a mut Value> {
    tokens.iter().try_fold(value, |value, token| match value {
        Value::Object(members) => members.get_mut(token),
        Value::Array(items) => items.get_mut(index(token)?),
        _ => None,
    })
}

/// The array index that `token` is, as RFC 6901 §4 writes it: digits without a leading zero.
pub(super) fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

/// Appends `token` to the text of a JSON pointer.
pub(super) fn push_token(text: &mut String, token: &str) {
    text.push('/');
    for c in token.chars() {
        match c {
            '~' => text.push_str("~0"),
            '/' => text.push_str("~1"),
            c => text.push(c),
        }
    }
}

/// What kind of value it is, in words.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn has_stray_tilde(text: &str) -> bool {
    text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']))
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for token in &self.tokens {
            push_token(&mut text, token);
        }
        f.pad(&text)
    }
}

impl FromStr for Pointer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
