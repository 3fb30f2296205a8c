//! What a prune takes from one saga, and what its head then leads to.

use bytes::Bytes;
use replay_core::{Result, SagaId, SnapshotRecord};

use crate::{
    bundle::{self, Bundle},
    head::{Head, bundle_of},
    item::{Entry, Item, Stats},
    key::Token,
    walk::Walk,
    wire::damaged,
};

/// Which records of a saga are meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// The record with this sequence.
    One(u64),
    /// All but so many of the newest.
    Surplus(u64),
    /// Those that need not be kept after this instant, in µs.
    Expired(i64),
}

/// What is taken, and what is left.
pub(super) struct Plan {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Whether nothing is left.
    pub(super) gone: bool,
    /// Whether the limit kept something from going.
    pub(super) more: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) tail: Vec<Item>,
    /// Bundles to be written, for what is left of others.
    pub(super) objects: Vec<(Token, Bytes)>,
    /// Bundles that nothing leads to any more.
    pub(super) garbage: Vec<Token>,
    left: u64,
    facts: Facts,
    /// How many records came before.
    rank: u64,
}

/// What decides which records may go.
struct Facts {
    rule: Rule,
    total: u64,
    newest: u64,
    /// The sequence of the checkpoint that must stay; 0 = none must.
    checkpoint: u64,
}

impl Facts {
    /// Whether the record at this place, counted from the oldest, goes.
    fn takes(&self, item: &Item, rank: u64) -> bool {
        let is_meant = match self.rule {
            Rule::One(seq) => item.seq == seq,
            Rule::Surplus(keep) => rank.saturating_add(keep) < self.total,
            Rule::Expired(now) => item.retain.is_some_and(|until| until <= now),
        };
        is_meant && item.seq != self.newest && item.seq != self.checkpoint
    }

    /// Whether any of several records from this place on may go.
    fn may_take(&self, stats: &Stats, rank: u64) -> bool {
        match self.rule {
            Rule::One(seq) => (stats.first..=stats.last).contains(&seq),
            Rule::Surplus(keep) => rank.saturating_add(keep) < self.total,
            Rule::Expired(now) => stats.retain.is_some_and(|until| until <= now),
        }
    }

    /// Whether all of several records from this place on go, as far as it is known without reading them.
    fn takes_all(&self, stats: &Stats, rank: u64) -> bool {
        let stays = |seq| (stats.first..=stats.last).contains(&seq);
        matches!(self.rule, Rule::Surplus(keep) if (rank + stats.count).saturating_add(keep) <= self.total)
            && !stays(self.newest)
            && !stays(self.checkpoint)
    }
}

impl Plan {
    /// What `rule` takes of a saga, at most `left` records, the oldest first.
    pub(super) async fn make(walk: &Walk, saga: &SagaId, rule: Rule, left: u64) -> Result<Self> {
        let head = &walk.head;
        let (Some(newest), Some(stats)) = (&head.newest, head.stats()) else {
            return Err(damaged("has no newest record").with("saga", saga));
        };
        let part = newest.part.ok_or_else(|| damaged("names no definition"))?;
        let outline = walk.shared.outline(walk.operation, &part, &head.parts).await?;
        let record = SnapshotRecord::from_header(outline, newest.header.clone())?;
        let has_ended = record.status.is_terminal();
        let facts = Facts { rule, total: stats.count, newest: newest.seq, checkpoint: if has_ended { 0 } else { stats.checkpoint } };
        let mut plan = Self {
            records: 0,
            bytes: 0,
            gone: false,
            more: false,
            entries: Vec::new(),
            tail: Vec::new(),
            objects: Vec::new(),
            garbage: Vec::new(),
            left,
            facts,
            rank: 0,
        };
        plan.go_through(walk, &head.entries).await?;
        plan.tail = plan.keep(&head.tail);
        let is_meant = match rule {
            Rule::One(seq) => seq == newest.seq,
            Rule::Surplus(_) => false,
            Rule::Expired(now) => record.retention_until.is_some_and(|until| until.timestamp_micros() <= now),
        };
        // The newest goes last, and only with nothing left but itself.
        if is_meant && has_ended && !plan.more && plan.records + 1 == stats.count {
            plan.gone = plan.left > 0;
            plan.more = !plan.gone;
            if plan.gone {
                (plan.records, plan.bytes) = (stats.count, stats.bytes);
            }
        }
        Ok(plan)
    }

    /// What this makes of the head it was made for, and the bundles that must be written before.
    pub(super) fn apply(self, mut head: Head) -> (Head, Vec<(Token, Bytes)>) {
        let mut objects = self.objects;
        (head.entries, head.tail, head.garbage) = (self.entries, self.tail, self.garbage);
        while let Some(object) = head.fold() {
            objects.push(object);
        }
        (head, objects)
    }

    /// Goes through bundles, the oldest first, and reads only those that something may be taken from.
    async fn go_through(&mut self, walk: &Walk, entries: &[Entry]) -> Result<()> {
        for entry in entries {
            if self.more || !self.facts.may_take(&entry.stats, self.rank) {
                self.rank += entry.stats.count;
                self.entries.push(*entry);
            } else if !entry.is_node && entry.stats.count <= self.left && self.facts.takes_all(&entry.stats, self.rank) {
                self.take(entry.stats.count, entry.stats.bytes);
                self.rank += entry.stats.count;
                self.garbage.push(entry.hash);
            } else {
                let bundle = walk.bundle(entry).await?;
                if entry.is_node {
                    self.open(walk, entry, &bundle).await?;
                } else {
                    self.thin_out(entry, &bundle);
                }
            }
        }
        Ok(())
    }

    /// Goes through what a node refers to: its references move up, and its own items are a bundle like others.
    ///
    /// A node that nothing is taken from stays. Were it given up, folding could make the very same again, under the very name that is
    /// to be removed.
    async fn open(&mut self, walk: &Walk, node: &Entry, bundle: &Bundle) -> Result<()> {
        let (place, records) = (self.entries.len(), self.records);
        Box::pin(self.go_through(walk, &bundle.entries)).await?;
        let own = Stats::of_items(&bundle.items).map(|stats| Entry { hash: node.hash, is_node: false, stats });
        if let Some(own) = &own {
            self.thin_out(own, bundle);
        }
        if self.records == records {
            self.entries.truncate(place);
            self.entries.push(*node);
        } else if own.is_none() {
            self.garbage.push(node.hash);
        }
        Ok(())
    }

    fn thin_out(&mut self, entry: &Entry, bundle: &Bundle) {
        let kept = self.keep(&bundle.items);
        if kept.len() == bundle.items.len() {
            self.entries.push(*entry);
            return;
        }
        self.garbage.push(entry.hash);
        let Some(stats) = Stats::of_items(&kept) else { return };
        let object = bundle_of(Vec::new(), kept, |digest| bundle.parts.get(digest).cloned()).encode();
        let hash = bundle::name(&object);
        self.entries.push(Entry { hash, is_node: false, stats });
        self.objects.push((hash, object));
    }

    /// The items that stay.
    fn keep(&mut self, items: &[Item]) -> Vec<Item> {
        let mut kept = Vec::new();
        for item in items {
            let goes = self.facts.takes(item, self.rank);
            self.rank += 1;
            if goes && self.left > 0 {
                self.take(1, item.bytes());
            } else {
                self.more |= goes;
                kept.push(item.clone());
            }
        }
        kept
    }

    fn take(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        self.left -= records;
    }
}

#[cfg(test)]
mod tests;
