//! Bundles: objects that hold what a head no longer does. They are named by their content and never changed.

use bytes::Bytes;
use replay_core::{Digest, Result};

use crate::{
    item::{Entry, Item, Parts, Stats, read_entries, read_items, read_parts, write_entries, write_items, write_parts},
    key::Token,
    packed,
    wire::{Reader, Writer, damaged},
};

const MAGIC: [u8; 3] = *b"RPB";
const VERSION: u8 = 1;

/// Older items, and references to still older ones.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    /// What the bundle refers to, all older than its items.
    pub(crate) entries: Vec<Entry>,
    /// What the items refer to.
    pub(crate) parts: Parts,
    pub(crate) items: Vec<Item>,
}

impl Bundle {
    /// The object.
    pub(crate) fn encode(&self) -> Bytes {
        let len: u64 = self.items.iter().map(Item::bytes).sum();
        let mut body = Writer::with_capacity(usize::try_from(len).unwrap_or(0) + 64 * self.items.len() + 256);
        write_entries(&self.entries, &mut body);
        write_parts(&self.parts, &mut body);
        write_items(&self.items, &mut body);
        packed::seal(MAGIC, VERSION, &body.into_bytes())
    }

    /// Reads the object that is named by `hash`.
    ///
    /// # Errors
    /// `Integrity` if it is another, `NewerVersion` if a later version wrote it.
    pub(crate) fn decode(hash: &Token, object: &Bytes) -> Result<Self> {
        if name(object) != *hash {
            return Err(damaged("is not what its key says"));
        }
        let body = packed::open(MAGIC, ("bundle", VERSION), object)?;
        let mut from = Reader::new(body);
        let bundle = Self { entries: read_entries(&mut from)?, parts: read_parts(&mut from)?, items: read_items(&mut from)? };
        from.end()?;
        Ok(bundle)
    }

    /// What is known of it without reading it, its entries' content included.
    pub(crate) fn stats(&self) -> Option<Stats> {
        Stats::all(self.entries.iter().map(|entry| entry.stats).chain(Stats::of_items(&self.items)))
    }
}

/// What names a bundle.
pub(crate) fn name(object: &[u8]) -> Token {
    let mut token = Token::default();
    token.copy_from_slice(&Digest::of(object).as_bytes()[..16]);
    token
}

#[cfg(test)]
mod tests {
    use replay_core::ErrorKind;

    use super::*;

    fn bundle() -> Bundle {
        let part = Bytes::from_static(b"outline");
        let item = |seq| Item {
            seq,
            at: 5,
            retain: None,
            next: None,
            part: Some(Digest::of(&part)),
            encoding: 0,
            header: Bytes::new(),
            body: Bytes::from(vec![b'x'; 500]),
        };
        Bundle { entries: Vec::new(), parts: [(Digest::of(&part), part.clone())].into(), items: vec![item(3), item(4)] }
    }

    #[test]
    fn a_bundle_is_packed_and_read_back() {
        let bundle = bundle();
        let object = bundle.encode();
        assert!(object.len() < 200, "{} bytes", object.len());
        let back = Bundle::decode(&name(&object), &object).unwrap();
        assert_eq!((back.items, back.parts, back.entries), (bundle.items, bundle.parts, bundle.entries));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_noticed() {
        let object = bundle().encode();
        let hash = name(&object);
        for at in 0..object.len() {
            let mut flipped = object.to_vec();
            flipped[at] ^= 4;
            assert!(Bundle::decode(&hash, &flipped.into()).is_err(), "byte {at}");
            assert!(Bundle::decode(&hash, &object.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_later_format_is_named_as_such() {
        for (at, what) in [(3, "bundle format 2"), (4, "compression format 2")] {
            let mut object = bundle().encode().to_vec();
            object[at] = 2;
            let error = Bundle::decode(&name(&object), &object.into()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NewerVersion);
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
