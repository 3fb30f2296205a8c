use std::{collections::BTreeMap, fmt};

use crate::{Compression, Error, Namespace, Result};

/// A store URL, taken apart: `sqlite:path/to/file.db?durability=normal&namespace=eu`.
///
/// Every backend takes the options that it knows with [`take`](StoreUrl::take) and then calls
/// [`finish`](StoreUrl::finish), which refuses what is left. `Debug` and `Display` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    scheme: String,
    rest: String,
    options: BTreeMap<String, String>,
    /// Whether the options may be part of a password in which `?` was not written as `%3F`; they are then never shown.
    may_be_secret: bool,
    must_exist: bool,
    known: Vec<&'static str>,
}

impl StoreUrl {
    /// Splits `text` into scheme, rest and options. `%XX` in option values is decoded; the rest is left as it is.
    ///
    /// # Errors
    /// `Invalid` without a scheme, for an option without `=` or one given twice, and for a `?` before the `@` of a login.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |message: &str| {
            Error::invalid("parse store URL", message).hint("write scheme:rest?option=value, as in sqlite:orders.db or memory:")
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("it has no scheme"))?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if scheme.is_empty() || !scheme.chars().all(legal) {
            return Err(wrong("its scheme is not a word"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let may_be_secret = rest.starts_with("//") && query.contains('@');
        if may_be_secret && !rest.contains('@') {
            return Err(Error::invalid("parse store URL", "it has a `?` before an `@`")
                .hint("write `?` as %3F in a user or a password, and `@` as %40 in an option"));
        }
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            // Pairs are never quoted: they may be the rest of a password.
            let (key, value) = pair.split_once('=').ok_or_else(|| wrong("an option has no value"))?;
            let value = percent_decode(value).ok_or_else(|| wrong("an option is not UTF-8"))?;
            if options.insert(key.to_owned(), value).is_some() {
                return Err(wrong("an option is given twice"));
            }
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            rest: rest.to_owned(),
            options,
            may_be_secret,
            must_exist: false,
            known: Vec::new(),
        })
    }

    /// The scheme in lower case, as in `sqlite`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between the scheme's colon and the options; it may hold a password.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The same URL for somebody who only wants a store that is there already, such as a command that reads.
    #[must_use]
    pub fn of_existing(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Whether opening must not make a store where there is none. For backends that would: a mistyped path is then an error.
    pub fn must_exist(&self) -> bool {
        self.must_exist
    }

    /// Takes the option `key` out, if it is given.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        self.options.remove(key)
    }

    /// Takes the option `namespace` out; the default is `default`.
    ///
    /// # Errors
    /// `Invalid` if it is not a namespace.
    pub fn take_namespace(&mut self) -> Result<Namespace> {
        self.take("namespace").map_or_else(|| Ok(Namespace::default()), Namespace::new)
    }

    /// Takes the option `compression` out: `off`, `zstd`, or a level as in `zstd:3`.
    ///
    /// # Errors
    /// `Invalid` if it is none of these.
    pub fn take_compression(&mut self) -> Result<Option<Compression>> {
        self.take("compression").map(|word| word.parse()).transpose()
    }

    /// Refuses what no [`take`](StoreUrl::take) asked for.
    ///
    /// # Errors
    /// `Invalid`, naming the option and those that exist.
    pub fn finish(mut self) -> Result<()> {
        let Some((key, _)) = self.options.pop_first() else { return Ok(()) };
        self.known.sort_unstable();
        if self.may_be_secret {
            return Err(Error::invalid("open store", format!("an option is none of {} stores", self.scheme))
                .hint(format!("write `?` as %3F in a user or a password; options: {}", self.known.join(", "))));
        }
        let hint = match self.known.iter().max_by(|a, b| strsim::jaro(a, &key).total_cmp(&strsim::jaro(b, &key))) {
            Some(near) if strsim::jaro(near, &key) > 0.8 => format!("did you mean `{near}`? options: {}", self.known.join(", ")),
            _ => format!("options: {}", self.known.join(", ")),
        };
        Err(Error::invalid("open store", format!("`{key}` is not an option of {} stores", self.scheme)).hint(hint))
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let (b'%', [high, low, after @ ..]) = (first, tail) {
            let pair = [*high, *low];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rest.rsplit_once('@') {
            Some(_) if self.may_be_secret => write!(f, "{}://…", self.scheme),
            Some((_, host)) => write!(f, "{}://…@{host}", self.scheme),
            None => write!(f, "{}:{}", self.scheme, self.rest),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.may_be_secret {
            return write!(f, "StoreUrl({self}, options: …)");
        }
        write!(f, "StoreUrl({self}, options: {:?})", self.options.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_what_is_not_known_is_named() {
        let mut url = StoreUrl::parse("sqlite:a/b.db?durability=normal&namespace=a%26b").unwrap();
        assert_eq!((url.scheme(), url.rest()), ("sqlite", "a/b.db"));
        assert_eq!(url.take_namespace().unwrap().as_str(), "a&b");
        assert_eq!(url.take("durability").as_deref(), Some("normal"));
        url.finish().unwrap();

        let mut url = StoreUrl::parse("sqlite:x?durabilty=full").unwrap();
        url.take("durability");
        let error = url.finish().unwrap_err();
        assert!(error.advice().unwrap().contains("did you mean `durability`"), "{error:?}");
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = StoreUrl::parse("redis://user:hunter2@host:6379/0").unwrap();
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }

    #[test]
    fn no_part_of_a_password_with_a_question_mark_is_shown() {
        let schemes = ["postgres", "postgresql", "redis", "rediss", "redis+sentinel", "redis+cluster", "s3", "sqlite", "memory", "other"];
        let passwords =
            ["ab?canary", "ab?canary=x", "ab?x=canary", "ab?canary&canary=1&canary=2", "?canary", "canary?canary?canary=canary"];
        for scheme in schemes {
            for (user, password) in ["", "user", "user@corp"].into_iter().flat_map(|user| passwords.map(|password| (user, password))) {
                let text = format!("{scheme}://{user}:{password}@host:1/db");
                let mut shown = Vec::new();
                match StoreUrl::parse(&text) {
                    Err(error) => shown.push(error),
                    Ok(url) => {
                        assert!(!format!("{url} {url:?}").contains("canary"), "{text} shows {url} {url:?}");
                        shown.extend(url.finish().err());
                    }
                }
                assert_eq!(shown.len(), 1, "{text} is taken");
                let error = format!("{} {:?} {:?}", shown[0], shown[0], shown[0].advice());
                assert!(!error.contains("canary"), "{text} shows {error}");
                assert!(user.contains('@') || error.contains("%3F"), "{text} does not say what to write: {error}");
            }
        }
    }

    #[test]
    fn an_at_sign_may_stand_in_an_option() {
        for text in ["sqlite:a.db?namespace=a@b", "memory:?namespace=a@b", "postgres://u:p@h/d?namespace=a@b", "redis://h?namespace=a%40b"]
        {
            let mut url = StoreUrl::parse(text).unwrap();
            assert_eq!(url.take_namespace().unwrap().as_str(), "a@b", "{text}");
            url.finish().unwrap();
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in ["", "orders.db", ":x", "a b:c", "memory:?x", "memory:?a=1&a=2"] {
            assert!(StoreUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
