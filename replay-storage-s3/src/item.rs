//! What a history is made of: items, and references to bundles of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use replay_core::{Digest, Result};

use crate::{
    key::Token,
    wire::{Reader, Writer, damaged},
};

/// Bytes that many items share, by their digest: the outlines of definitions.
pub(crate) type Parts = BTreeMap<Digest, Bytes>;

/// One entry of a history: a snapshot's record, or an entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The position, from 1.
    pub(crate) seq: u64,
    /// When it was made, in µs.
    pub(crate) at: i64,
    /// Until when it must be kept, in µs; none = for ever.
    pub(crate) retain: Option<i64>,
    /// The smallest and the largest index of the steps that run next; none = it is no checkpoint.
    pub(crate) next: Option<(u32, u32)>,
    /// The digest of the definition's outline.
    pub(crate) part: Option<Digest>,
    /// The code of the body's encoding.
    pub(crate) encoding: u8,
    pub(crate) header: Bytes,
    pub(crate) body: Bytes,
}

impl Item {
    /// How many bytes it takes without what the store adds.
    pub(crate) fn bytes(&self) -> u64 {
        (self.header.len() + self.body.len()) as u64
    }
}

/// What is known of several items without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) min_at: i64,
    pub(crate) max_at: i64,
    /// The sequence of the last checkpoint; 0 = there is none.
    pub(crate) checkpoint: u64,
    /// The smallest and the largest index of any step that runs next.
    pub(crate) next: Option<(u32, u32)>,
    /// The earliest instant at which one of them expires.
    pub(crate) retain: Option<i64>,
}

impl Stats {
    fn of(item: &Item) -> Self {
        Self {
            first: item.seq,
            last: item.seq,
            count: 1,
            bytes: item.bytes(),
            min_at: item.at,
            max_at: item.at,
            checkpoint: if item.next.is_some() { item.seq } else { 0 },
            next: item.next,
            retain: item.retain,
        }
    }

    fn and(self, other: Self) -> Self {
        let next = match (self.next, other.next) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (one, other) => one.or(other),
        };
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            count: self.count + other.count,
            bytes: self.bytes + other.bytes,
            min_at: self.min_at.min(other.min_at),
            max_at: self.max_at.max(other.max_at),
            checkpoint: self.checkpoint.max(other.checkpoint),
            next,
            retain: earliest(self.retain, other.retain),
        }
    }

    /// Of all of them together; none if there are none.
    pub(crate) fn all(several: impl IntoIterator<Item = Self>) -> Option<Self> {
        several.into_iter().reduce(Self::and)
    }

    pub(crate) fn of_items(items: &[Item]) -> Option<Self> {
        Self::all(items.iter().map(Self::of))
    }

    fn write(&self, out: &mut Writer) {
        out.varint(self.first);
        out.varint(self.last - self.first);
        out.varint(self.count);
        out.varint(self.bytes);
        out.signed(self.min_at);
        out.signed(self.max_at.wrapping_sub(self.min_at));
        out.varint(self.checkpoint);
        out.u8(u8::from(self.next.is_some()) | u8::from(self.retain.is_some()) << 1);
        if let Some((min, max)) = self.next {
            out.varint(min.into());
            out.varint(max.into());
        }
        if let Some(retain) = self.retain {
            out.signed(retain);
        }
    }

    fn read(from: &mut Reader) -> Result<Self> {
        let first = from.varint()?;
        let last = first.checked_add(from.varint()?).ok_or_else(|| damaged("has a number that is too large"))?;
        let (count, bytes, min_at) = (from.varint()?, from.varint()?, from.signed()?);
        let max_at = min_at.wrapping_add(from.signed()?);
        let checkpoint = from.varint()?;
        let flags = from.u8()?;
        let next = if flags & 1 == 0 { None } else { Some((from.u32()?, from.u32()?)) };
        let retain = if flags & 2 == 0 { None } else { Some(from.signed()?) };
        Ok(Self { first, last, count, bytes, min_at, max_at, checkpoint, next, retain })
    }
}

/// The earlier of two instants, where none is never.
pub(crate) fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A reference to a bundle, an object that is never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The first half of the SHA-256 of the object.
    pub(crate) hash: Token,
    /// Whether the bundle refers to older bundles, which count as its content.
    pub(crate) is_node: bool,
    pub(crate) stats: Stats,
}

pub(crate) fn write_entries(entries: &[Entry], out: &mut Writer) {
    out.len(entries.len());
    for entry in entries {
        out.raw(&entry.hash);
        out.u8(u8::from(entry.is_node));
        entry.stats.write(out);
    }
}

pub(crate) fn read_entries(from: &mut Reader) -> Result<Vec<Entry>> {
    let count = from.count()?;
    (0..count)
        .map(|_| {
            let (hash, is_node) = (from.fixed()?, from.u8()? == 1);
            Ok(Entry { hash, is_node, stats: Stats::read(from)? })
        })
        .collect()
}

const HAS_RETAIN: u8 = 1;
const HAS_NEXT: u8 = 2;
const HAS_PART: u8 = 4;
const KNOWN: u8 = HAS_RETAIN | HAS_NEXT | HAS_PART;

/// Writes items after the digests of the parts that they share.
pub(crate) fn write_items(items: &[Item], out: &mut Writer) {
    let mut parts: Vec<Digest> = items.iter().filter_map(|item| item.part).collect();
    parts.sort_unstable();
    parts.dedup();
    out.len(parts.len());
    for part in &parts {
        out.raw(part.as_bytes());
    }
    out.len(items.len());
    let (mut seq, mut at) = (0, 0);
    for item in items {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        out.u8(flag(item.retain.is_some(), HAS_RETAIN) | flag(item.next.is_some(), HAS_NEXT) | flag(item.part.is_some(), HAS_PART));
        out.varint(item.seq - seq);
        out.signed(item.at.wrapping_sub(at));
        (seq, at) = (item.seq, item.at);
        if let Some(retain) = item.retain {
            out.signed(retain);
        }
        if let Some((min, max)) = item.next {
            out.varint(min.into());
            out.varint(max.into());
        }
        if let Some(part) = item.part {
            // It was collected above.
            out.len(parts.binary_search(&part).unwrap_or_default());
        }
        out.u8(item.encoding);
        out.bytes(&item.header);
        out.bytes(&item.body);
    }
}

pub(crate) fn read_items(from: &mut Reader) -> Result<Vec<Item>> {
    let count = from.count()?;
    let parts: Vec<Digest> = (0..count).map(|_| from.digest()).collect::<Result<_>>()?;
    let count = from.count()?;
    let mut items = Vec::with_capacity(count.min(4096));
    let (mut seq, mut at) = (0_u64, 0_i64);
    for _ in 0..count {
        let flags = from.u8()?;
        if flags & !KNOWN != 0 {
            return Err(crate::wire::newer("item", flags));
        }
        seq = seq.checked_add(from.varint()?).ok_or_else(|| damaged("has a number that is too large"))?;
        at = at.wrapping_add(from.signed()?);
        let retain = if flags & HAS_RETAIN == 0 { None } else { Some(from.signed()?) };
        let next = if flags & HAS_NEXT == 0 { None } else { Some((from.u32()?, from.u32()?)) };
        let part = if flags & HAS_PART == 0 {
            None
        } else {
            let index = usize::try_from(from.varint()?).unwrap_or(usize::MAX);
            Some(*parts.get(index).ok_or_else(|| damaged("names a definition that it lacks"))?)
        };
        let (encoding, header, body) = (from.u8()?, from.bytes()?, from.bytes()?);
        items.push(Item { seq, at, retain, next, part, encoding, header, body });
    }
    Ok(items)
}

pub(crate) fn write_parts(parts: &Parts, out: &mut Writer) {
    out.len(parts.len());
    for (digest, bytes) in parts {
        out.raw(digest.as_bytes());
        out.bytes(bytes);
    }
}

pub(crate) fn read_parts(from: &mut Reader) -> Result<Parts> {
    let count = from.count()?;
    (0..count).map(|_| Ok((from.digest()?, from.bytes()?))).collect()
}

#[cfg(test)]
mod tests;
