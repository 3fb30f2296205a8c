//! From a head to what it leads to: a bundle, or over one bundle to another, and no further.

use std::{collections::VecDeque, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_core::{Error, ErrorKind, Result, storage::Order};

use crate::{
    bundle::Bundle,
    client::ETag,
    head::Head,
    heads::Known,
    item::{Entry, Item, Parts, Stats},
    key::{Kind, Token},
    store::Shared,
    wire::damaged,
};

/// An item, and where the outline is found that it refers to.
pub(crate) struct Found {
    pub(crate) item: Item,
    pub(crate) source: Source,
}

/// What holds items.
#[derive(Clone)]
pub(crate) enum Source {
    Head(Arc<Head>),
    Bundle(Arc<Bundle>),
}

impl Source {
    pub(crate) fn parts(&self) -> &Parts {
        match self {
            Self::Head(head) => &head.parts,
            Self::Bundle(bundle) => &bundle.parts,
        }
    }

    fn items(&self) -> &[Item] {
        match self {
            Self::Head(head) => &head.tail,
            Self::Bundle(bundle) => &bundle.items,
        }
    }
}

/// A way through the history that one version of a head leads to.
///
/// A bundle that was removed after the head was read is a `NotFound` error: the head must be read again.
pub(crate) struct Walk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) head: Arc<Head>,
    pub(crate) operation: &'static str,
}

impl Walk {
    pub(crate) fn new(shared: Arc<Shared>, head: Arc<Head>, operation: &'static str) -> Self {
        Self { shared, head, operation }
    }

    pub(crate) async fn bundle(&self, entry: &Entry) -> Result<Arc<Bundle>> {
        let bundle = self.shared.bundle(self.operation, &self.head.life, &entry.hash).await?;
        bundle.ok_or_else(|| Error::new(ErrorKind::NotFound, self.operation).message("a bundle was removed while it was being read"))
    }

    fn tail(&self) -> Source {
        Source::Head(self.head.clone())
    }

    /// The item with this sequence.
    pub(crate) async fn sequence(&self, seq: u64) -> Result<Option<Found>> {
        self.newest(|stats| (stats.first..=stats.last).contains(&seq), |item| item.seq == seq).await
    }

    /// The newest item not after this instant.
    pub(crate) async fn time(&self, micros: i64) -> Result<Option<Found>> {
        self.newest(|stats| stats.min_at <= micros, |item| item.at <= micros).await
    }

    /// The newest item that is wanted, among bundles that may have one.
    pub(crate) async fn newest(&self, may_have: impl Fn(&Stats) -> bool, is_wanted: impl Fn(&Item) -> bool) -> Result<Option<Found>> {
        let mut queue: VecDeque<Entry> = self.head.entries.iter().rev().copied().collect();
        if let Some(found) = newest_in(&self.tail(), &is_wanted) {
            return Ok(Some(found));
        }
        while let Some(entry) = queue.pop_front() {
            if !may_have(&entry.stats) {
                continue;
            }
            let source = Source::Bundle(self.bundle(&entry).await?);
            if let Some(found) = newest_in(&source, &is_wanted) {
                return Ok(Some(found));
            }
            if let (Source::Bundle(bundle), true) = (&source, entry.is_node) {
                for child in &bundle.entries {
                    queue.push_front(*child);
                }
            }
        }
        Ok(None)
    }
}

fn newest_in(source: &Source, is_wanted: impl Fn(&Item) -> bool) -> Option<Found> {
    let item = source.items().iter().rev().find(|item| is_wanted(item))?;
    Some(Found { item: item.clone(), source: source.clone() })
}

/// Says whether it is worth reading a head again whose bundle is missing: only if it has changed.
pub(crate) fn removed(last: &mut Option<ETag>, etag: &ETag, name: &str) -> Result<()> {
    if last.as_ref() == Some(etag) {
        return Err(damaged("is missing that a history needs").with("history", name));
    }
    *last = Some(etag.clone());
    Ok(())
}

/// Which items of one history are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    pub(crate) order: Order,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Bounds of the instants, in µs: what is outside need not come, but may.
    pub(crate) from: Option<i64>,
    pub(crate) until: Option<i64>,
}

/// What has still to be gone through.
enum Segment {
    Entry(Entry),
    /// The items of a bundle or a head, without what it refers to.
    Own(Source),
}

struct Listing {
    shared: Arc<Shared>,
    operation: &'static str,
    range: Range,
    known: Option<Known>,
    life: Option<Token>,
    last_read: Option<ETag>,
    queue: VecDeque<Segment>,
}

/// The items of one history in order, read a bundle at a time as the stream is polled.
pub(crate) fn items(shared: Arc<Shared>, operation: &'static str, range: Range) -> BoxStream<'static, Result<Found>> {
    let listing = Listing { shared, operation, range, known: None, life: None, last_read: None, queue: VecDeque::new() };
    let pages = stream::try_unfold(listing, |mut listing| async move {
        let page = listing.next().await?;
        Ok::<_, Error>(page.map(|page| (stream::iter(page.into_iter().map(Ok)), listing)))
    });
    pages.try_flatten().boxed()
}

impl Listing {
    /// The next items; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Found>>> {
        loop {
            if self.range.first > self.range.last || (self.known.is_none() && !self.begin().await?) {
                return Ok(None);
            }
            match self.queue.pop_front() {
                None => return Ok(None),
                Some(Segment::Own(source)) => {
                    let page = self.page(&source);
                    if !page.is_empty() {
                        return Ok(Some(page));
                    }
                }
                Some(Segment::Entry(entry)) => {
                    if self.concerns(&entry.stats) && !self.open(&entry).await? {
                        // It was removed: what is left is looked up in the head as it is now.
                        self.known = None;
                    }
                }
            }
        }
    }

    /// Reads the head; says whether there is anything.
    async fn begin(&mut self) -> Result<bool> {
        let name = self.range.name.clone();
        let known = self.shared.read_head(self.operation, self.range.kind, &name).await?;
        let Some(known) = known.filter(|known| known.alive().is_some()) else { return Ok(false) };
        removed(&mut self.last_read, &known.etag, &name)?;
        // What was made anew under the same name is another history.
        if self.life.replace(known.head.life).is_some_and(|life| life != known.head.life) {
            return Ok(false);
        }
        self.queue = known.head.entries.iter().copied().map(Segment::Entry).collect();
        self.queue.push_back(Segment::Own(Source::Head(known.head.clone())));
        if self.range.order == Order::Descending {
            self.queue.make_contiguous().reverse();
        }
        self.known = Some(known);
        Ok(true)
    }

    fn concerns(&self, stats: &Stats) -> bool {
        let Range { first, last, from, until, .. } = self.range;
        let in_time = from.is_none_or(|from| from <= stats.max_at) && until.is_none_or(|until| stats.min_at <= until);
        stats.first <= last && first <= stats.last && in_time
    }

    /// Reads a bundle and puts what is in it in front; says whether it was there.
    async fn open(&mut self, entry: &Entry) -> Result<bool> {
        let Some(known) = &self.known else { return Ok(false) };
        let Some(bundle) = self.shared.bundle(self.operation, &known.head.life, &entry.hash).await? else { return Ok(false) };
        let older: Vec<Segment> = if entry.is_node { bundle.entries.iter().copied().map(Segment::Entry).collect() } else { Vec::new() };
        let own = Segment::Own(Source::Bundle(bundle));
        match self.range.order {
            Order::Ascending => {
                self.queue.push_front(own);
                for segment in older.into_iter().rev() {
                    self.queue.push_front(segment);
                }
            }
            Order::Descending => {
                for segment in older {
                    self.queue.push_front(segment);
                }
                self.queue.push_front(own);
            }
        }
        Ok(true)
    }

    /// The items of a bundle or head that are wanted.
    fn page(&mut self, source: &Source) -> Vec<Found> {
        let Range { first, last, order, .. } = self.range;
        let wanted = source.items().iter().filter(|item| (first..=last).contains(&item.seq));
        let mut page: Vec<Found> = wanted.map(|item| Found { item: item.clone(), source: source.clone() }).collect();
        if order == Order::Descending {
            page.reverse();
        }
        if let Some(Found { item, .. }) = page.last() {
            match order {
                Order::Ascending => self.range.first = item.seq.saturating_add(1),
                Order::Descending => self.range.last = item.seq.saturating_sub(1),
            }
        }
        page
    }
}
