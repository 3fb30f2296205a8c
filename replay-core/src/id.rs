//! Ids: sagas, snapshots, replays, runners, and the digests that bind records together.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{Error, Result};

/// The longest [`SagaId`] and [`Namespace`], in bytes.
pub const MAX_ID_BYTES: usize = 255;

fn check_text(operation: &'static str, what: &str, text: &str) -> Result<()> {
    let wrong = if text.is_empty() {
        "is empty"
    } else if text.len() > MAX_ID_BYTES {
        "is longer than 255 bytes"
    } else if text.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(Error::invalid(operation, format!("{what} {wrong}")).hint("use 1 to 255 bytes of UTF-8 without control characters"))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes `text`.
            ///
            /// # Errors
            /// `Invalid` if it is empty, over 255 bytes, or has a control character.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                check_text("parse", $what, text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// The id of a saga: 1 to 255 bytes of UTF-8 without control characters, chosen by the caller or a new UUIDv7 in text.
    ///
    /// `order_123`, `patient-consent-789` and `a/b@c` are all legal; a store encodes ids and never uses one as a path.
    SagaId, "the saga id"
}

text_id! {
    /// An isolated world inside one store, such as a tenant or an environment. The default is `default`.
    Namespace, "the namespace"
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

impl SagaId {
    pub(crate) fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid.hyphenated().to_string().into())
    }
}

/// Names one snapshot: the saga and its sequence, written `order_123@17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The saga.
    pub saga_id: SagaId,
    /// The position in the saga's history, from 1.
    pub sequence: u64,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.saga_id, self.sequence)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    /// Splits at the last `@`, since saga ids may hold one.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("parse", format!("`{text}` is not a snapshot id")).hint("write SAGA@SEQUENCE, as in order_123@17");
        let (saga, sequence) = text.rsplit_once('@').ok_or_else(wrong)?;
        let sequence = sequence.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        Ok(Self { saga_id: SagaId::new(saga)?, sequence })
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub(crate) const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id's 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|e| Error::invalid("parse", format!("`{text}` is not a UUID")).caused_by(e))
            }
        }
    };
}

uuid_id! {
    /// The id of one replay, a UUIDv7.
    ReplayId
}

uuid_id! {
    /// The id of one runner, a UUIDv7: what a snapshot names as its writer and a lease names as its holder.
    RunnerId
}

uuid_id! {
    /// The id of one history, a UUIDv7: what tells two sagas apart of which the second was started under the id of the first, when that
    /// had been deleted.
    HistoryId
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of nothing: what the first snapshot of a saga without origin names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of `parts`, each preceded by its length, so that no two lists of parts share one.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Takes 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("parse", "a digest is 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where new ids and jitter come from: random in life, seeded in tests and simulations.
#[derive(Debug)]
pub struct IdSource(parking_lot::Mutex<fastrand::Rng>);

impl Default for IdSource {
    fn default() -> Self {
        Self(parking_lot::Mutex::new(fastrand::Rng::new()))
    }
}

impl IdSource {
    /// A source that gives the same ids and jitter for the same `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(parking_lot::Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// A UUIDv7 of the instant `now`.
    pub(crate) fn uuid(&self, now: chrono::DateTime<chrono::Utc>) -> Uuid {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        let random = self.0.lock().u128(..).to_be_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&random[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }

    /// A new saga id: a UUIDv7 of the instant `now`, in text.
    pub fn saga_id(&self, now: chrono::DateTime<chrono::Utc>) -> SagaId {
        SagaId::from_uuid(self.uuid(now))
    }

    /// A number from 0 up to but not including 1.
    pub(crate) fn unit(&self) -> f64 {
        self.0.lock().f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_id_splits_at_the_last_at_sign() {
        let id: SnapshotId = "a/b@c@17".parse().unwrap();
        assert_eq!((id.saga_id.as_str(), id.sequence), ("a/b@c", 17));
        assert_eq!(id.to_string(), "a/b@c@17");
        for wrong in ["", "a", "a@", "a@0", "@1", "a@-1"] {
            assert!(wrong.parse::<SnapshotId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn saga_ids_have_1_to_255_bytes_without_control_characters() {
        assert!(SagaId::new("🙂".repeat(63)).is_ok());
        for wrong in [String::new(), "a\n".into(), "x".repeat(256)] {
            assert!(SagaId::new(wrong).is_err());
        }
    }

    #[test]
    fn a_digest_is_written_and_read_as_hex() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }
}
