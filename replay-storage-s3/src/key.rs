//! The keys of objects. Whatever a caller names is encoded: it never becomes a path, and a long name becomes a short one.

use std::fmt::Write as _;

use replay_core::{Digest, Namespace};

/// Sixteen bytes that no other write, or no other content, has.
pub(crate) type Token = [u8; 16];

/// The longest encoded name that stands in a key as it is.
const LONGEST: usize = 64;

/// So much of a longer one stands in front of its digest.
const KEPT: usize = 20;

/// How the objects of one namespace are named.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    root: String,
}

/// What kind of thing a head is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The history of a saga.
    Saga,
    /// A log.
    Log,
}

impl Kind {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Saga => 's',
            Self::Log => 'l',
        }
    }
}

impl Keys {
    /// `prefix` is empty or ends with a slash.
    pub(crate) fn new(prefix: &str, namespace: &Namespace) -> Self {
        Self { root: format!("{prefix}{}/", component(namespace.as_str(), 32, 6)) }
    }

    /// What every key of the namespace begins with.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) fn head(&self, kind: Kind, name: &str) -> String {
        format!("{}{}", self.heads(kind), component(name, LONGEST, KEPT))
    }

    /// What the keys of all heads of a kind begin with.
    pub(crate) fn heads(&self, kind: Kind) -> String {
        format!("{}{}/", self.root, kind.letter())
    }

    /// What the keys of all heads begin with whose name begins with `prefix`, and perhaps those of others.
    pub(crate) fn heads_like(&self, kind: Kind, prefix: &str) -> String {
        format!("{}{}", self.heads(kind), stem(prefix))
    }

    /// What the keys of everything begin with that one life of a saga or log has.
    pub(crate) fn life(&self, life: &Token) -> String {
        format!("{}b/{}/", self.root, hex(life))
    }

    pub(crate) fn bundle(&self, life: &Token, hash: &Token) -> String {
        format!("{}{}", self.life(life), hex(hash))
    }

    /// A definition that is too large to be in each head.
    pub(crate) fn part(&self, digest: &Digest) -> String {
        format!("{}o/{digest}", self.root)
    }

    /// What the keys of the packs of a kind begin with.
    pub(crate) fn packs(&self, kind: Kind) -> String {
        format!("{}p{}/", self.root, kind.letter())
    }

    pub(crate) fn pack(&self, kind: Kind, token: &Token) -> String {
        format!("{}{}", self.packs(kind), hex(token))
    }

    pub(crate) fn cell(&self, name: &str) -> String {
        format!("{}c/{}", self.root, component(name, LONGEST, KEPT))
    }

    pub(crate) fn cells_like(&self, prefix: &str) -> String {
        format!("{}c/{}", self.root, stem(prefix))
    }

    pub(crate) fn blob(&self, digest: &Digest) -> String {
        format!("{}x/{digest}", self.root)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name as one part of a key: letters, digits, `-` and `_` as they are, every other byte as `.xx`. Two names never give the same:
/// beyond `longest` characters the digest decides, which `.h` announces, for an `h` is no hexadecimal digit.
fn component(name: &str, longest: usize, kept: usize) -> String {
    // All of it: what is cut off before an escape may be short enough to look whole.
    let encoded = encode(name.as_bytes(), usize::MAX);
    if encoded.len() <= longest {
        return encoded;
    }
    let digest = Digest::of(name.as_bytes());
    format!("{}.h{}", encode(name.as_bytes(), kept), hex(&digest.as_bytes()[..20]))
}

/// What the components of all names begin with that begin with `prefix`, and perhaps those of others.
fn stem(prefix: &str) -> String {
    encode(prefix.as_bytes(), KEPT)
}

/// Encodes as many whole bytes as fit into `most` characters.
fn encode(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    for byte in bytes {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.len() + if is_plain { 1 } else { 3 } > most {
            break;
        }
        if is_plain {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, ".{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("p/", &Namespace::default())
    }

    #[test]
    fn a_name_is_encoded_and_never_a_path() {
        let key = |name: &str| keys().head(Kind::Saga, name);
        assert_eq!(key("order_1"), "p/default/s/order_1");
        assert_eq!(key("../a b"), "p/default/s/.2e.2e.2fa.20b");
        assert_eq!(key("🙂"), "p/default/s/.f0.9f.99.82");
    }

    #[test]
    fn no_two_names_share_a_key() {
        let long = "x".repeat(255);
        let names = ["a", "a.", ".61", "a.h", &long, &long[..254], &long[..65], &long[..64], &"/".repeat(255), &"/".repeat(254)];
        let mut keys: Vec<_> = names.iter().map(|name| keys().head(Kind::Saga, name)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
        assert!(keys.iter().all(|key| key.len() <= "p/default/s/".len() + LONGEST), "{keys:?}");
    }

    #[test]
    fn the_key_of_a_name_begins_like_that_of_each_of_its_prefixes() {
        for name in ["order_1", "ü🙂/..", &"é".repeat(100), &"x".repeat(1024), &"a/".repeat(60)] {
            for (end, _) in name.char_indices() {
                let (key, stem) = (keys().head(Kind::Log, name), keys().heads_like(Kind::Log, &name[..end]));
                assert!(key.starts_with(&stem), "{key} {stem}");
            }
        }
    }
}
