//! Reading and replacing heads, and reading what they lead to.

use std::sync::Arc;

use bytes::Bytes;
use replay_core::{Digest, Error, ErrorKind, Outline, Result, Retry};

use crate::{
    bundle::Bundle,
    client::{Condition, ETag, Outcome},
    head::{Head, token},
    item::{Item, Parts},
    key::{Kind, Token},
    store::Shared,
    wire::damaged,
};

/// A head as it was last seen, and what it is replaced by.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) etag: ETag,
    pub(crate) head: Arc<Head>,
}

impl Known {
    /// The head, unless it is that of something deleted.
    pub(crate) fn alive(&self) -> Option<&Arc<Head>> {
        Some(&self.head).filter(|head| head.newest.is_some())
    }
}

impl Shared {
    /// The head as it is now, also that of something deleted.
    pub(crate) async fn read_head(&self, operation: &'static str, kind: Kind, name: &str) -> Result<Option<Known>> {
        let key = self.keys.head(kind, name);
        let known = self.read_head_at(operation, &key).await?;
        if let Some(known) = &known
            && (known.head.kind, &*known.head.name) != (kind, name)
        {
            return Err(damaged("is not what its key says").with("key", key));
        }
        Ok(known)
    }

    pub(crate) async fn read_head_at(&self, operation: &'static str, key: &str) -> Result<Option<Known>> {
        let Some((object, etag)) = self.client.get(operation, key).await? else {
            self.heads.remove(key);
            return Ok(None);
        };
        let known = Known { etag, head: Arc::new(Head::decode(&object).map_err(|error| error.with("key", key))?) };
        self.remember(key, &known, object.len());
        Ok(Some(known))
    }

    fn remember(&self, key: &str, known: &Known, len: usize) {
        self.heads.insert(key.to_owned(), known.clone(), len + 512);
        self.catalog.note(key, known);
        // A row in the catalog refers to it, and it may be nowhere else.
        if let Some(part) = known.head.newest.as_ref().and_then(|newest| newest.part)
            && let (None, Some(bytes)) = (self.outlines.get(&part), known.head.parts.get(&part))
            && let Ok(outline) = Outline::from_bytes(Bytes::copy_from_slice(bytes))
        {
            self.keep_outline(Arc::new(outline));
        }
    }

    /// The head as it was last seen by this handle, which others may have replaced since.
    pub(crate) fn remembered(&self, kind: Kind, name: &str) -> Option<Known> {
        self.heads.get(&self.keys.head(kind, name))
    }

    /// Replaces the head `base`, or creates one, unless somebody else was first.
    ///
    /// `Unclear`: somebody wrote since, before or after a write of ours that may have been done.
    pub(crate) async fn write_head(&self, operation: &'static str, base: Option<&Known>, mut head: Head) -> Result<Outcome<Known>> {
        let key = self.keys.head(head.kind, &head.name);
        head.write = token();
        let object = head.encode();
        let len = object.len();
        let condition = base.map_or(Condition::Absent, |base| Condition::Is(&base.etag));
        // Whatever comes of it, what was known is no longer worth much: also if this future is dropped on the way.
        self.heads.remove(&key);
        match self.client.put_if(operation, &key, object, condition).await? {
            Outcome::Done(etag) if etag.is_empty() => Err(no_etag(operation)),
            Outcome::Done(etag) => {
                let known = Known { etag, head: Arc::new(head) };
                self.remember(&key, &known, len);
                Ok(Outcome::Done(known))
            }
            Outcome::Lost => Ok(Outcome::Lost),
            Outcome::Unclear => {
                let found = self.read_head_at(operation, &key).await.map_err(unsure)?;
                let ours = found.filter(|found| found.head.write == head.write);
                Ok(ours.map_or(Outcome::Unclear, Outcome::Done))
            }
        }
    }

    /// A bundle; none if it is not there, as when it was removed since its head was read.
    pub(crate) async fn bundle(&self, operation: &'static str, life: &Token, hash: &Token) -> Result<Option<Arc<Bundle>>> {
        let key = self.keys.bundle(life, hash);
        if let Some(bundle) = self.bundles.get(&key) {
            return Ok(Some(bundle));
        }
        let Some((object, _)) = self.client.get(operation, &key).await? else { return Ok(None) };
        let bundle = Arc::new(Bundle::decode(hash, &object).map_err(|error| error.with("key", &key))?);
        let weight: u64 = bundle.items.iter().map(Item::bytes).sum();
        let weight = usize::try_from(weight).unwrap_or(usize::MAX) + 256 * (bundle.items.len() + bundle.entries.len());
        // One that would push out everything else is not kept.
        if weight <= crate::store::LARGEST_CACHED {
            self.bundles.insert(key, bundle.clone(), weight);
        }
        Ok(Some(bundle))
    }

    pub(crate) async fn write_bundles(&self, operation: &'static str, life: &Token, objects: Vec<(Token, Bytes)>) -> Result<()> {
        for (hash, object) in objects {
            self.client.put(operation, &self.keys.bundle(life, &hash), object).await?;
        }
        Ok(())
    }

    /// The outline with this fingerprint, from `parts` or an object of its own.
    pub(crate) async fn outline(&self, operation: &'static str, digest: &Digest, parts: &Parts) -> Result<Arc<Outline>> {
        if let Some(outline) = self.outlines.get(digest) {
            return Ok(outline);
        }
        let bytes = match parts.get(digest) {
            // A copy, lest a small outline keep the whole object in memory.
            Some(bytes) => Bytes::copy_from_slice(bytes),
            None => match self.client.get(operation, &self.keys.part(digest)).await? {
                Some((bytes, _)) => bytes,
                None => return Err(damaged("is missing that a record refers to").with("definition", digest)),
            },
        };
        let outline = Arc::new(Outline::from_bytes(bytes)?);
        if outline.fingerprint() != *digest {
            return Err(damaged("is not what its key says").with("definition", digest));
        }
        self.keep_outline(outline.clone());
        Ok(outline)
    }

    pub(crate) fn keep_outline(&self, outline: Arc<Outline>) {
        let weight = outline.as_bytes().len() * 2 + 256;
        self.outlines.insert(outline.fingerprint(), outline, weight);
    }
}

/// What is said of a write once it may have been done: only a conflict says that it was not.
pub(crate) fn unsure(error: Error) -> Error {
    if error.is(ErrorKind::Conflict) { error } else { error.retry(Retry::Ambiguous) }
}

pub(crate) fn no_etag(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .message("the server gives no ETag for what is written")
        .hint("use a server with conditional writes; see the crate page")
}
