//! What the heads say in short, so that a listing need not read each of them.
//!
//! A row is worth as much as the tag that it was made with: a listing of the keys gives the tag of each head, and only a row with that
//! very tag is used. Rows are remembered by the handle, and kept in packs that whoever had to read many heads leaves for the next one.
//! A pack may be missing, old or written twice: that costs requests and is never wrong.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use replay_core::{Digest, Outline, Result};

use crate::{
    cache::Cache,
    client::{ETag, Listed},
    head::{INLINE_BYTES, token},
    heads::Known,
    item::{Parts, read_parts, write_parts},
    key::{Kind, Token},
    packed,
    store::Shared,
    wire::{Reader, Writer},
};

const MAGIC: [u8; 3] = *b"RPP";
const VERSION: u8 = 1;

/// So many rows a handle remembers.
const REMEMBERED: usize = 32_768;

/// So few heads are read one by one, without a look at the packs.
const FEW: usize = 2;

/// Whoever had to read so many heads writes a pack.
const MANY: usize = 32;

/// With so many packs, the next one replaces the smaller ones.
const PACKS: usize = 3;

const READ_AT_ONCE: usize = 32;

/// A head in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: Arc<str>,
    pub(crate) life: Token,
    /// None if it was deleted.
    pub(crate) live: Option<Live>,
}

/// What a head says of something that is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) started_at: i64,
    /// The newest sequence.
    pub(crate) seq: u64,
    /// How many items there are.
    pub(crate) count: u64,
    /// The earliest instant at which one of them expires.
    pub(crate) retain: Option<i64>,
    /// The newest item's header, and the definition that it refers to.
    pub(crate) header: Bytes,
    pub(crate) part: Option<Digest>,
    /// Whether there is something to be removed that nothing refers to.
    pub(crate) has_garbage: bool,
}

impl Row {
    fn of(known: &Known) -> Self {
        let head = &known.head;
        let live = head.newest.as_ref().map(|newest| {
            let stats = head.stats();
            Live {
                started_at: head.started_at,
                seq: newest.seq,
                count: stats.map_or(0, |stats| stats.count),
                retain: stats.and_then(|stats| stats.retain),
                // A copy, lest a row keep a whole head in memory.
                header: Bytes::copy_from_slice(&newest.header),
                part: newest.part,
                has_garbage: !head.garbage.is_empty(),
            }
        });
        Self { name: head.name.clone(), life: head.life, live }
    }

    fn write(&self, out: &mut Writer) {
        out.bytes(self.name.as_bytes());
        out.raw(&self.life);
        let Some(live) = &self.live else { return out.u8(0) };
        out.u8(1 | u8::from(live.retain.is_some()) << 1 | u8::from(live.part.is_some()) << 2 | u8::from(live.has_garbage) << 3);
        out.signed(live.started_at);
        out.varint(live.seq);
        out.varint(live.count);
        if let Some(retain) = live.retain {
            out.signed(retain);
        }
        if let Some(part) = live.part {
            out.raw(part.as_bytes());
        }
        out.bytes(&live.header);
    }

    fn read(from: &mut Reader) -> Result<Self> {
        let (name, life, flags) = (from.text()?.into(), from.fixed()?, from.u8()?);
        if flags == 0 {
            return Ok(Self { name, life, live: None });
        }
        let (started_at, seq, count) = (from.signed()?, from.varint()?, from.varint()?);
        let retain = if flags & 2 == 0 { None } else { Some(from.signed()?) };
        let part = if flags & 4 == 0 { None } else { Some(from.digest()?) };
        let live = Live { started_at, seq, count, retain, header: from.bytes()?, part, has_garbage: flags & 8 != 0 };
        Ok(Self { name, life, live: Some(live) })
    }
}

/// Rows by the keys of their heads, with the tags that they were made with.
type Rows = HashMap<String, (ETag, Arc<Row>)>;

#[derive(Debug)]
struct Pack {
    key: String,
    rows: Rows,
}

/// What a handle remembers of heads.
#[derive(Debug)]
pub(crate) struct Catalog {
    rows: Cache<String, (ETag, Arc<Row>)>,
    packs: Mutex<HashMap<String, Arc<Pack>>>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self { rows: Cache::new(REMEMBERED), packs: Mutex::default() }
    }

    /// Remembers what a head says that was just read or written.
    pub(crate) fn note(&self, key: &str, known: &Known) {
        self.rows.insert(key.to_owned(), (known.etag.clone(), Arc::new(Row::of(known))), 1);
    }

    fn row(&self, listed: &Listed) -> Option<Arc<Row>> {
        let (etag, row) = self.rows.get(&listed.key)?;
        listed.etag.as_ref().filter(|listed| is_same(listed, &etag)).map(|_| row)
    }
}

/// Some servers quote a tag in one place and not in another.
fn is_same(one: &str, other: &str) -> bool {
    let bare = |etag: &str| etag.trim_matches('"').to_owned();
    bare(one) == bare(other)
}

/// The rows of all heads whose key begins with `prefix`, also of deleted things, in no order.
pub(crate) async fn rows(shared: &Arc<Shared>, operation: &'static str, kind: Kind, prefix: &str) -> Result<Vec<Arc<Row>>> {
    let listed = shared.client.list_all(operation, prefix).await?;
    let (mut found, mut missing) = (Vec::with_capacity(listed.len()), Vec::new());
    for listed in listed {
        match shared.catalog.row(&listed) {
            Some(row) => found.push(row),
            None => missing.push(listed),
        }
    }
    let has_tags = missing.iter().all(|listed| listed.etag.is_some());
    if missing.len() <= FEW || !has_tags {
        found.extend(read(shared, operation, missing).await?.into_iter().map(|(_, _, row)| row));
        return Ok(found);
    }
    let packs = packs(shared, operation, kind).await?;
    let (mut used, mut unread) = (Vec::new(), Vec::new());
    for listed in missing {
        let row = packs.iter().find_map(|pack| {
            let (etag, row) = pack.rows.get(&listed.key)?;
            listed.etag.as_ref().filter(|listed| is_same(listed, etag)).map(|etag| (pack.key.clone(), etag.clone(), row.clone()))
        });
        match row {
            Some((pack, etag, row)) => {
                found.push(row.clone());
                used.push((pack, listed.key, etag, row));
            }
            None => unread.push(listed),
        }
    }
    let fresh = read(shared, operation, unread).await?;
    found.extend(fresh.iter().map(|(_, _, row)| row.clone()));
    if fresh.len() >= MANY && prefix == shared.keys.heads(kind) {
        // The listing is complete without it, and who may only read cannot write it.
        let _ = leave(shared, operation, kind, (packs, used), fresh).await;
    }
    Ok(found)
}

/// A row that was read: the key of its head, the tag that it was made with, and what it says.
type Fresh = (String, ETag, Arc<Row>);

/// A row that a pack had: the pack's key, and the rest as above.
type Used = (String, String, ETag, Arc<Row>);

/// Reads heads one by one.
async fn read(shared: &Arc<Shared>, operation: &'static str, listed: Vec<Listed>) -> Result<Vec<Fresh>> {
    let reads = listed.into_iter().map(|listed| async move {
        let known = shared.read_head_at(operation, &listed.key).await?;
        let row = known.map(|known| (listed.key, known.etag.clone(), Arc::new(Row::of(&known))));
        Ok::<_, replay_core::Error>(row)
    });
    stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_filter_map(|row| async { Ok(row) }).try_collect().await
}

/// The packs that there are; those that cannot be read are as good as missing.
async fn packs(shared: &Arc<Shared>, operation: &'static str, kind: Kind) -> Result<Vec<Arc<Pack>>> {
    let listed = shared.client.list_all(operation, &shared.keys.packs(kind)).await?;
    let mut packs = Vec::new();
    for listed in listed {
        let remembered = shared.catalog.packs.lock().get(&listed.key).cloned();
        let pack = match remembered {
            Some(pack) => Some(pack),
            None => read_pack(shared, operation, listed.key).await?,
        };
        packs.extend(pack);
    }
    let remembered = packs.iter().map(|pack| (pack.key.clone(), pack.clone())).collect();
    *shared.catalog.packs.lock() = remembered;
    Ok(packs)
}

async fn read_pack(shared: &Arc<Shared>, operation: &'static str, key: String) -> Result<Option<Arc<Pack>>> {
    let Some((object, _)) = shared.client.get(operation, &key).await? else { return Ok(None) };
    Ok(decode(&object).ok().map(|(rows, parts)| {
        for bytes in parts.into_values() {
            if let Ok(outline) = Outline::from_bytes(bytes) {
                shared.keep_outline(Arc::new(outline));
            }
        }
        Arc::new(Pack { key, rows })
    }))
}

fn decode(object: &Bytes) -> Result<(Rows, Parts)> {
    let mut from = Reader::new(packed::open(MAGIC, ("pack", VERSION), object)?);
    let parts = read_parts(&mut from)?;
    let count = from.count()?;
    let rows = (0..count).map(|_| Ok((from.text()?, (from.text()?, Arc::new(Row::read(&mut from)?))))).collect::<Result<Rows>>()?;
    from.end()?;
    Ok((rows, parts))
}

fn encode(rows: &[Fresh], parts: &Parts) -> Bytes {
    let mut out = Writer::default();
    write_parts(parts, &mut out);
    out.len(rows.len());
    for (key, etag, row) in rows {
        out.bytes(key.as_bytes());
        out.bytes(etag.as_bytes());
        row.write(&mut out);
    }
    packed::seal(MAGIC, VERSION, &out.into_bytes())
}

/// Leaves the rows that had to be read in a pack, and merges packs if there are many or most of what they say is old.
async fn leave(
    shared: &Arc<Shared>,
    operation: &'static str,
    kind: Kind,
    (mut packs, used): (Vec<Arc<Pack>>, Vec<Used>),
    mut rows: Vec<Fresh>,
) -> Result<()> {
    let in_use = |pack: &Pack| used.iter().filter(|(key, ..)| *key == pack.key).count();
    let is_old = packs.iter().any(|pack| in_use(pack) * 2 < pack.rows.len());
    let mut replaced = Vec::new();
    if packs.len() >= PACKS || is_old {
        packs.sort_by_key(|pack| pack.rows.len());
        // The largest stays if it is by far the largest and mostly right.
        let others: usize = rows.len() + packs.iter().rev().skip(1).map(|pack| pack.rows.len()).sum::<usize>();
        if packs.last().is_some_and(|pack| in_use(pack) * 2 >= pack.rows.len() && others * 2 < pack.rows.len()) {
            packs.pop();
        }
        replaced = packs.iter().map(|pack| pack.key.clone()).collect();
        rows.extend(used.into_iter().filter(|(pack, ..)| replaced.contains(pack)).map(|(_, key, etag, row)| (key, etag, row)));
    }
    let (mut parts, mut missing) = (Parts::new(), Vec::new());
    for part in rows.iter().filter_map(|(_, _, row)| row.live.as_ref()?.part) {
        match shared.outlines.get(&part) {
            // A large one is an object of its own, or still in its head and then read from there.
            Some(outline) if outline.as_bytes().len() <= INLINE_BYTES => {
                parts.insert(part, outline.as_bytes().clone());
            }
            Some(_) if shared.is_stored(&part) => {}
            _ => missing.push(part),
        }
    }
    rows.retain(|(_, _, row)| row.live.as_ref().and_then(|live| live.part).is_none_or(|part| !missing.contains(&part)));
    shared.client.put(operation, &shared.keys.pack(kind, &token()), encode(&rows, &parts)).await?;
    shared.client.delete(operation, &replaced).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        let live = Live {
            started_at: -7,
            seq: 9,
            count: 3,
            retain: Some(-1),
            header: Bytes::from_static(b"header"),
            part: Some(Digest::of(b"part")),
            has_garbage: true,
        };
        Row { name: name.into(), life: [5; 16], live: Some(live) }
    }

    #[test]
    fn a_pack_is_read_back() {
        let gone = Row { live: None, ..row("gone") };
        let rows: Vec<Fresh> =
            [row("a"), gone].into_iter().map(|row| (format!("s/{}", row.name), "\"tag\"".to_owned(), Arc::new(row))).collect();
        let parts = Parts::from([(Digest::of(b"part"), Bytes::from_static(b"part"))]);
        let (found, found_parts) = decode(&encode(&rows, &parts)).unwrap();
        assert_eq!(found_parts, parts);
        for (key, etag, row) in rows {
            assert_eq!(found[&key], (etag, row));
        }
    }

    #[test]
    fn quotes_do_not_make_another_tag() {
        assert!(is_same("\"a\"", "a") && !is_same("\"a\"", "b"));
    }
}
