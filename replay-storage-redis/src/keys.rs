//! Names of keys, made so that what belongs together lies in one slot and nothing a user supplies chooses one.
//!
//! A key is `PREFIX{TAG/SHARD}KIND` or `PREFIX{TAG/SHARD}KIND:REST`. The braces are ours: the prefix may hold none, the tag is plain or
//! hashed, and whatever follows the closing brace has no say in the slot. A namespace has 64 shards; a saga, a log, a cell or a blob
//! is in the one that its name hashes to, with the indices that it is found by, so one script changes them together.

use replay_core::{Digest, Error, Namespace, Result};

/// How many shards a namespace has. Part of the layout: never to be changed.
pub(crate) const SHARDS: u8 = 64;

/// Namespaces that are written as they are have at most so many bytes.
const PLAIN: usize = 40;

/// One of the 64 parts of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard(u8);

impl Shard {
    /// The shard of what is named by `name`.
    pub(crate) fn of(name: &[u8]) -> Self {
        let hash = fnv(name);
        let [first, .., last] = hash.to_be_bytes();
        Self((first >> 2 ^ last) & (SHARDS - 1))
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A saga's head and records.
    Saga,
    /// A saga's positions.
    Positions,
    /// What the sagas of a shard are found by.
    Index,
    /// The definitions of a shard's sagas.
    Definitions,
    /// The entries of a log.
    Log,
    /// The names of a shard's logs.
    LogNames,
    /// A cell.
    Cell,
    /// The keys of a shard's cells.
    CellNames,
    /// When a shard's cells expire.
    CellExpiries,
    /// A blob.
    Blob,
    /// A blob that is being written.
    Partial,
    /// What is written before waiting for replicas.
    Mark,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Saga => "s:",
            Self::Positions => "p:",
            Self::Index => "x",
            Self::Definitions => "d",
            Self::Log => "l:",
            Self::LogNames => "ln",
            Self::Cell => "c:",
            Self::CellNames => "cn",
            Self::CellExpiries => "ce",
            Self::Blob => "b:",
            Self::Partial => "bp:",
            Self::Mark => "w",
        }
    }
}

/// The keys of one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// For each shard, everything up to and with the closing brace.
    stems: Vec<Vec<u8>>,
}

impl Keys {
    /// # Errors
    /// `Invalid` if the prefix is longer than 64 bytes or has a brace.
    pub(crate) fn new(prefix: &str, namespace: &Namespace) -> Result<Self> {
        if prefix.len() > 64 || prefix.contains(['{', '}']) {
            return Err(Error::invalid("open store", format!("`{prefix}` cannot be a key prefix"))
                .hint("a prefix has at most 64 bytes and no brace, since braces choose the slot of a key"));
        }
        let name = namespace.as_str();
        let is_plain = name.len() <= PLAIN && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let tag = if is_plain { format!("={name}") } else { format!("#{:.40}", Digest::of(name.as_bytes())) };
        let stem = |shard: Shard| format!("{prefix}{{{tag}/{:02x}}}", shard.0).into_bytes();
        Ok(Self { stems: Shard::all().map(stem).collect() })
    }

    /// The key of what a shard has one of.
    pub(crate) fn of_shard(&self, kind: Kind, shard: Shard) -> Vec<u8> {
        self.key(kind, shard, b"")
    }

    /// The key of what `name` names, in its own shard.
    pub(crate) fn named(&self, kind: Kind, name: &[u8]) -> Vec<u8> {
        self.key(kind, Shard::of(name), name)
    }

    /// The key of what `rest` names in `shard`.
    pub(crate) fn key(&self, kind: Kind, shard: Shard, rest: &[u8]) -> Vec<u8> {
        let stem = &self.stems[shard.index()];
        let word = kind.word().as_bytes();
        let mut key = Vec::with_capacity(stem.len() + word.len() + rest.len());
        key.extend_from_slice(stem);
        key.extend_from_slice(word);
        key.extend_from_slice(rest);
        key
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(namespace: &str) -> Keys {
        Keys::new("replay", &Namespace::new(namespace).unwrap()).unwrap()
    }

    /// What Redis hashes to find a key's slot.
    fn hash_tag(key: &[u8]) -> &[u8] {
        let open = key.iter().position(|byte| *byte == b'{').unwrap();
        let close = key[open..].iter().position(|byte| *byte == b'}').unwrap();
        &key[open + 1..open + close]
    }

    #[test]
    fn a_key_is_what_the_page_says() {
        let key = keys("eu").named(Kind::Saga, b"order_1");
        let shard = Shard::of(b"order_1").0;
        assert_eq!(key, format!("replay{{=eu/{shard:02x}}}s:order_1").into_bytes());
    }

    #[test]
    fn no_name_and_no_namespace_chooses_the_slot() {
        for id in ["{a}", "}{", "a{b}c", "}", "{", "x{}"] {
            let keys = keys(id);
            let tag = hash_tag(&keys.named(Kind::Saga, id.as_bytes())).to_vec();
            assert!(tag.starts_with(b"#") && tag.len() == 44, "{}", String::from_utf8_lossy(&tag));
            let index = keys.of_shard(Kind::Index, Shard::of(id.as_bytes()));
            assert_eq!(hash_tag(&index), tag, "a saga lies beside its index");
        }
        assert!(Keys::new("a{b}", &Namespace::default()).is_err());
    }

    #[test]
    fn no_two_namespaces_share_a_key() {
        let names = ["a", "a/00", "=a", "#a", "A", "a ", "a.b", "a:b", &"x".repeat(40), &"x".repeat(41)];
        let mut stems: Vec<_> = names.iter().flat_map(|name| keys(name).stems).collect();
        stems.sort();
        stems.dedup();
        assert_eq!(stems.len(), names.len() * usize::from(SHARDS));
    }

    #[test]
    fn names_spread_over_the_shards() {
        let mut counts = [0; SHARDS as usize];
        for n in 0..6400 {
            counts[Shard::of(format!("order_{n}").as_bytes()).index()] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
