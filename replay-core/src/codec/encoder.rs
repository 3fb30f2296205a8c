//! Choosing how the context of a record is stored.

use std::{collections::HashMap, fmt, mem, str::FromStr, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{frame::Frame, limits, splice, zstd};
use crate::{Encoding, Error, Payload, Result, SagaId, SnapshotRecord};

/// Whether contexts are compressed, and how hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Contexts are stored as their JSON text.
    Off,
    /// Contexts are compressed with zstd, as changes of a frame where the store keeps frames.
    Zstd {
        /// -7 (fastest) to 22 (smallest).
        level: i32,
    },
}

impl Compression {
    /// The level that pays best on the workloads of the benchmarks.
    pub const DEFAULT_LEVEL: i32 = 1;

    /// zstd at the default level.
    pub const ZSTD: Self = Self::Zstd { level: Self::DEFAULT_LEVEL };

    /// zstd at a level from -7 (fastest) to 22 (smallest).
    ///
    /// # Errors
    /// `Invalid` for another level.
    pub fn zstd(level: i32) -> Result<Self> {
        if (-7..=22).contains(&level) {
            Ok(Self::Zstd { level })
        } else {
            Err(Error::invalid("open store", format!("{level} is not a compression level")).hint("give one from -7 to 22"))
        }
    }
}

/// `off`, `zstd`, or `zstd:` and a level.
impl FromStr for Compression {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("open store", format!("`{word}` is not a compression"))
                .hint("write compression=off, compression=zstd or, with a level, compression=zstd:3")
        };
        match word.split_once(':') {
            None if word == "off" => Ok(Self::Off),
            None if word == "zstd" => Ok(Self::ZSTD),
            Some(("zstd", level)) => level.parse().map_err(|_| wrong()).and_then(Self::zstd),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
        }
    }
}

/// Encodes the contexts that one handle of a store appends, and remembers the newest frame of each saga that is under way.
///
/// What it remembers is a guess: another process may have removed the frame, or the append that was to store it may have failed.
/// So a store that keeps frames makes sure of it in the same atomic act as the append: it puts [`Base::frame`] unless it has that
/// frame for that saga. It never has to read one.
///
/// It does no I/O and waits for nothing but other encodings' bookkeeping; call it before taking any lock of the store.
pub struct Encoder {
    compression: Compression,
    recent: Mutex<Recent>,
}

/// A context as it is to be stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Encoded {
    /// The payload.
    pub payload: Payload,
    /// What a delta is a change of; none for any other payload.
    pub base: Option<Base>,
}

/// What a delta is a change of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Base {
    /// The frame.
    pub frame: Arc<Frame>,
    /// The sequence of the record that the frame was made from. Only records from there on, and fewer than
    /// [`Encoder::SPAN`] sequences later, are changes of this frame.
    pub since: u64,
}

/// A text that is shorter is stored as it is.
const TINY: usize = 64;

/// A text that is shorter makes no frame.
const FRAME_MIN: usize = 256;

/// How much memory the frames of sagas under way may take.
const MEMORY: usize = 64 << 20;

impl Encoder {
    /// No record is a change of a frame that was made so many sequences before it, or earlier.
    pub const SPAN: u64 = 128;

    /// An encoder that remembers nothing yet.
    pub fn new(compression: Compression) -> Self {
        Self { compression, recent: Mutex::default() }
    }

    /// Encodes the context of a record that is about to be appended, as a change of its saga's frame where that pays. A context of more
    /// than 8 MiB stands alone.
    ///
    /// # Errors
    /// Those of [`SnapshotRecord::decode`], if the record has no payload or one that is encoded and damaged.
    pub fn encode(&self, record: &SnapshotRecord) -> Result<Encoded> {
        let text = record.context_text()?;
        let Compression::Zstd { level } = self.compression else { return Ok(Encoded::alone(Payload::json(text))) };
        if text.len() < TINY || text.len() as u64 > limits::MAX_LEN {
            return Ok(Encoded::alone(Payload::json(text)));
        }
        if text.len() > limits::MAX_FRAME_LEN {
            return Ok(Encoded::alone(compress_alone(text, level)?));
        }
        let known = self.recent.lock().take(&record.saga_id);
        let changed = known.and_then(|mut known| known.change(record, &text, level).map(|change| (known, change)));
        if let Some((known, change)) = changed {
            let base = known.base.clone();
            if known.pays() && !record.status.is_terminal() {
                self.recent.lock().put(record.saga_id.clone(), known);
            }
            return Ok(Encoded { payload: Payload { encoding: Encoding::Delta, bytes: change }, base: Some(base) });
        }
        let alone = compress_alone(text.clone(), level)?;
        if text.len() < FRAME_MIN || record.status.is_terminal() || !zstd::may_be_prefix(&text) {
            return Ok(Encoded::alone(alone));
        }
        let base = Base { frame: Arc::new(Frame::new(record.content_digest(), alone)?), since: record.sequence };
        self.recent.lock().put(record.saga_id.clone(), Known::new(base.clone(), text));
        Ok(Encoded { payload: Payload { encoding: Encoding::Delta, bytes: Bytes::new() }, base: Some(base) })
    }

    /// Encodes the context of a record by itself, for a store that keeps no frames.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_alone(&self, record: &SnapshotRecord) -> Result<Payload> {
        let text = record.context_text()?;
        match self.compression {
            Compression::Zstd { level } if text.len() >= TINY && text.len() as u64 <= limits::MAX_LEN => compress_alone(text, level),
            _ => Ok(Payload::json(text)),
        }
    }

    /// Forgets the frame of a saga.
    pub fn forget(&self, saga: &SagaId) {
        self.recent.lock().take(saga);
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Encoded {
    fn alone(payload: Payload) -> Self {
        Self { payload, base: None }
    }
}

/// The text compressed, or as it is if that is as small or could not be read back.
fn compress_alone(text: Bytes, level: i32) -> Result<Payload> {
    let bytes = zstd::compress(&text, level)?;
    if bytes.len() < text.len() && limits::allow(text.len() as u64, bytes.len(), 0) {
        return Ok(Payload { encoding: Encoding::Zstd, bytes });
    }
    Ok(Payload::json(text))
}

/// A saga's frame with its text, and whether it is still worth it.
#[derive(Debug)]
struct Known {
    base: Base,
    text: Bytes,
    /// The size of the smallest change so far.
    least: usize,
    /// What a newer frame would have saved so far: the bytes by which changes were larger than the smallest.
    spent: usize,
}

impl Known {
    fn new(base: Base, text: Bytes) -> Self {
        Self { base, text, least: usize::MAX, spent: 0 }
    }

    /// The text as a change of the frame, if it may be one and that pays.
    fn change(&mut self, record: &SnapshotRecord, text: &[u8], level: i32) -> Option<Bytes> {
        let since = self.base.since;
        if record.sequence < since || record.sequence - since >= Encoder::SPAN {
            return None;
        }
        if record.content_digest() == self.base.frame.digest() {
            return Some(Bytes::new());
        }
        let splice = splice::encode(&self.text, text);
        let change = splice.map_or_else(|| zstd::compress_after(&self.text, text, level), Ok).ok()?;
        let frame = self.base.frame.payload().bytes.len();
        let pays = change.len() < text.len() && change.len() < frame - frame / 4;
        if !pays || !limits::allow(text.len() as u64, change.len(), self.text.len()) {
            return None;
        }
        self.least = self.least.min(change.len());
        self.spent += change.len() - self.least;
        Some(change)
    }

    /// Whether the next text is to be a change of this frame, too: once changes have cost a frame, a new one is due.
    fn pays(&self) -> bool {
        self.spent < self.base.frame.payload().bytes.len()
    }

    fn size(&self) -> usize {
        self.text.len() + self.base.frame.payload().bytes.len()
    }
}

/// Frames by saga, in two generations: when the younger one is full, the older one is dropped.
#[derive(Debug, Default)]
struct Recent {
    young: HashMap<SagaId, Known>,
    old: HashMap<SagaId, Known>,
    young_size: usize,
}

impl Recent {
    fn take(&mut self, saga: &SagaId) -> Option<Known> {
        let known = self.young.remove(saga).inspect(|known| self.young_size -= known.size());
        known.or_else(|| self.old.remove(saga))
    }

    fn put(&mut self, saga: SagaId, known: Known) {
        let size = known.size();
        if self.young_size + size > MEMORY / 2 {
            self.old = mem::take(&mut self.young);
            self.young_size = 0;
        }
        self.young_size += size;
        if let Some(former) = self.young.insert(saga, known) {
            self.young_size -= former.size();
        }
    }
}
