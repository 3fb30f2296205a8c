//! The head of a saga or log: the one object that changes, from which everything else is reached.

use std::sync::Arc;

use bytes::Bytes;
use replay_core::{Digest, Result};
use uuid::Uuid;

use crate::{
    bundle::{self, Bundle},
    item::{Entry, Item, Parts, Stats, read_entries, read_items, read_parts, write_entries, write_items, write_parts},
    key::{Kind, Token},
    wire::{Reader, Writer, damaged, newer},
};

const MAGIC: &[u8; 3] = b"RPH";
const VERSION: u8 = 1;
const CHECKSUM: usize = 8;

/// The head holds the newest items itself, up to so many bytes and so many; an append that finds it full moves them to a bundle.
const TAIL_BYTES: u64 = 64 << 10;
const TAIL_ITEMS: usize = 128;

/// The newest item stays in the head, so that it is read with it, unless it is larger.
const NEWEST_BYTES: u64 = 32 << 10;

/// One bundle gets at most so much, unless a single item is larger.
const BUNDLE_BYTES: u64 = 8 << 20;

/// When so many bundles stand in the head, the next one takes over the references to them.
pub(crate) const LEAVES: usize = 256;

/// An outline up to this size is in each head; a larger one is an object of its own.
pub(crate) const INLINE_BYTES: usize = 4 << 10;

/// A token that nothing else has.
pub(crate) fn token() -> Token {
    *Uuid::now_v7().as_bytes()
}

/// The newest item, as far as it is known without the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
    pub(crate) part: Option<Digest>,
    pub(crate) header: Bytes,
}

/// A saga or log as its head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    /// From creation to deletion; what is made anew under the same name has another.
    pub(crate) life: Token,
    /// Of this very write, so that its writer knows it again.
    pub(crate) write: Token,
    /// When the first item was made, in µs.
    pub(crate) started_at: i64,
    /// None if it was deleted.
    pub(crate) newest: Option<Newest>,
    /// The outlines that items refer to and that are small.
    pub(crate) parts: Parts,
    /// The digests of all outlines that any item ever referred to.
    pub(crate) outlines: Vec<Digest>,
    /// Bundles that nothing refers to any more and that are to be removed.
    pub(crate) garbage: Vec<Token>,
    /// Bundles of older items, the oldest first.
    pub(crate) entries: Vec<Entry>,
    /// The newest items.
    pub(crate) tail: Vec<Item>,
}

impl Head {
    pub(crate) fn new(kind: Kind, name: impl Into<Arc<str>>, started_at: i64) -> Self {
        Self {
            kind,
            name: name.into(),
            life: token(),
            write: token(),
            started_at,
            newest: None,
            parts: Parts::new(),
            outlines: Vec::new(),
            garbage: Vec::new(),
            entries: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// What stays of a deleted one until its bundles are gone.
    pub(crate) fn tombstone(&self) -> Self {
        let mut head = Self::new(self.kind, self.name.clone(), self.started_at);
        head.life = self.life;
        head
    }

    /// Of everything that it has.
    pub(crate) fn stats(&self) -> Option<Stats> {
        Stats::all(self.entries.iter().map(|entry| entry.stats).chain(Stats::of_items(&self.tail)))
    }

    /// Whether adding these items makes bundles.
    pub(crate) fn overflows(&self, new: &[Item]) -> bool {
        let bytes: u64 = self.tail.iter().chain(new).map(Item::bytes).sum();
        bytes > TAIL_BYTES || self.tail.len() + new.len() > TAIL_ITEMS
    }

    /// Adds items, and gives the bundles that must be written before the head is. `part` gives the bytes of an outline.
    pub(crate) fn push(&mut self, new: Vec<Item>, part: impl Fn(&Digest) -> Option<Bytes>) -> Vec<(Token, Bytes)> {
        let is_full = self.overflows(&new);
        self.tail.extend(new);
        if !is_full {
            return Vec::new();
        }
        let stays = usize::from(self.tail.last().is_some_and(|newest| newest.bytes() <= NEWEST_BYTES));
        let newest = self.tail.split_off(self.tail.len() - stays);
        let mut moved = std::mem::replace(&mut self.tail, newest).into_iter().peekable();
        let mut objects = Vec::new();
        while moved.peek().is_some() {
            let (mut items, mut bytes) = (Vec::new(), 0);
            while let Some(item) = moved.next_if(|item| items.is_empty() || bytes + item.bytes() <= BUNDLE_BYTES) {
                bytes += item.bytes();
                items.push(item);
            }
            objects.extend(self.add_bundle(items, &part));
        }
        objects
    }

    /// Refers to a new bundle of `items`, and gives its name and content.
    fn add_bundle(&mut self, items: Vec<Item>, part: &impl Fn(&Digest) -> Option<Bytes>) -> Option<(Token, Bytes)> {
        let leaves = self.entries.iter().rposition(|entry| entry.is_node).map_or(0, |last| last + 1);
        let entries = if self.entries.len() - leaves >= LEAVES { self.entries.split_off(leaves) } else { Vec::new() };
        let bundle = bundle_of(entries, items, part);
        let stats = bundle.stats()?;
        let object = bundle.encode();
        let hash = bundle::name(&object);
        self.entries.push(Entry { hash, is_node: !bundle.entries.is_empty(), stats });
        Some((hash, object))
    }

    /// Moves a long run of references into a bundle that holds nothing else, and gives its name and content; none if no run is long.
    pub(crate) fn fold(&mut self) -> Option<(Token, Bytes)> {
        let is_leaf = |entry: &Entry| !entry.is_node;
        let runs = self.entries.chunk_by(|a, b| is_leaf(a) && is_leaf(b));
        let ends = runs.scan(0, |end, run| {
            *end += run.len();
            Some((*end, run.len()))
        });
        let (end, len) = ends.max_by_key(|(_, len)| *len).filter(|(_, len)| *len > 2 * LEAVES)?;
        let entries: Vec<Entry> = self.entries.splice(end - len..end, []).collect();
        let bundle = bundle_of(entries, Vec::new(), |_| None);
        let (object, stats) = (bundle.encode(), bundle.stats()?);
        let hash = bundle::name(&object);
        self.entries.insert(end - len, Entry { hash, is_node: true, stats });
        Some((hash, object))
    }

    pub(crate) fn encode(&self) -> Bytes {
        let len: u64 = self.tail.iter().map(Item::bytes).sum();
        let mut out = Writer::with_capacity(usize::try_from(len).unwrap_or(0) + 64 * self.tail.len() + 96 * self.entries.len() + 1024);
        out.raw(MAGIC);
        out.u8(VERSION);
        out.u8(match self.kind {
            Kind::Saga => 1,
            Kind::Log => 2,
        });
        out.bytes(self.name.as_bytes());
        out.raw(&self.life);
        out.raw(&self.write);
        out.signed(self.started_at);
        out.u8(u8::from(self.newest.is_some()));
        if let Some(newest) = &self.newest {
            out.varint(newest.seq);
            out.raw(newest.digest.as_bytes());
            // Mostly it is the header of the last item, which follows anyway.
            let is_apart = self.tail.last().is_none_or(|last| last.seq != newest.seq);
            out.u8(u8::from(is_apart) | u8::from(newest.part.is_some()) << 1);
            if is_apart {
                out.bytes(&newest.header);
            }
            if let Some(part) = &newest.part {
                out.raw(part.as_bytes());
            }
        }
        write_parts(&self.parts, &mut out);
        out.len(self.outlines.len());
        self.outlines.iter().for_each(|digest| out.raw(digest.as_bytes()));
        out.len(self.garbage.len());
        self.garbage.iter().for_each(|token| out.raw(token));
        write_entries(&self.entries, &mut out);
        write_items(&self.tail, &mut out);
        let checksum = Digest::of(out.as_slice());
        out.raw(&checksum.as_bytes()[..CHECKSUM]);
        out.into_bytes()
    }

    /// # Errors
    /// `Integrity` for what is no head or damaged, `NewerVersion` if a later version wrote it.
    pub(crate) fn decode(object: &Bytes) -> Result<Self> {
        let Some(len) = object.len().checked_sub(CHECKSUM) else { return Err(damaged("ends too early")) };
        if !object.starts_with(MAGIC) {
            return Err(damaged("is no head"));
        }
        if Digest::of(&object[..len]).as_bytes()[..CHECKSUM] != object[len..] {
            return Err(damaged("fails its checksum"));
        }
        let mut from = Reader::new(object.slice(MAGIC.len()..len));
        match from.u8()? {
            VERSION => {}
            version => return Err(newer("head", version)),
        }
        let kind = match from.u8()? {
            1 => Kind::Saga,
            2 => Kind::Log,
            other => return Err(newer("kind of head", other)),
        };
        let name: Arc<str> = from.text()?.into();
        let (life, write, started_at) = (from.fixed()?, from.fixed()?, from.signed()?);
        let (newest, is_apart) = if from.u8()? == 0 { (None, true) } else { read_newest(&mut from)? };
        let parts = read_parts(&mut from)?;
        let count = from.count()?;
        let outlines = (0..count).map(|_| from.digest()).collect::<Result<_>>()?;
        let count = from.count()?;
        let garbage = (0..count).map(|_| from.fixed()).collect::<Result<_>>()?;
        let (entries, tail) = (read_entries(&mut from)?, read_items(&mut from)?);
        from.end()?;
        let mut head = Self { kind, name, life, write, started_at, newest, parts, outlines, garbage, entries, tail };
        if let (Some(newest), false) = (&mut head.newest, is_apart) {
            newest.header = head.tail.last().ok_or_else(|| damaged("lacks its newest item"))?.header.clone();
        }
        Ok(head)
    }
}

fn read_newest(from: &mut Reader) -> Result<(Option<Newest>, bool)> {
    let (seq, digest, flags) = (from.varint()?, from.digest()?, from.u8()?);
    let is_apart = flags & 1 != 0;
    let header = if is_apart { from.bytes()? } else { Bytes::new() };
    let part = if flags & 2 == 0 { None } else { Some(from.digest()?) };
    Ok((Some(Newest { seq, digest, part, header }), is_apart))
}

/// A bundle of items with the outlines that they refer to.
pub(crate) fn bundle_of(entries: Vec<Entry>, items: Vec<Item>, part: impl Fn(&Digest) -> Option<Bytes>) -> Bundle {
    let parts = items.iter().filter_map(|item| item.part).filter_map(|digest| Some((digest, part(&digest)?))).collect();
    Bundle { entries, parts, items }
}

#[cfg(test)]
mod tests;
