use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use replay_conformance::records::{Chain, after, saga};
use replay_core::{Namespace, SystemClock};

use super::*;
use crate::{
    client::{Client, WriteOptions},
    head::Newest,
    key::Kind,
    row,
    store::Shared,
};

/// Folding begins with twice as many references as a node takes over.
const FOLDED: usize = 2 * crate::head::LEAVES + 1;

/// One saga's objects, without a server: what the handle remembers is all that is read.
struct Place {
    shared: Arc<Shared>,
    head: Head,
    objects: HashMap<Token, Bytes>,
}

impl Place {
    /// A history of `count` records with a bundle for each but the newest; each may expire at the instant that `retain` gives.
    fn new(count: u64, retain: impl Fn(u64) -> Option<DateTime<Utc>>) -> Self {
        let config = aws_sdk_s3::Config::builder().behavior_version(aws_sdk_s3::config::BehaviorVersion::latest()).build();
        let client = Client::new(aws_sdk_s3::Client::from_conf(config), String::new(), WriteOptions::default(), Duration::from_secs(1));
        let shared = Arc::new(Shared::new(client, "", Namespace::default(), Arc::new(SystemClock)));
        let mut place = Self { shared, head: Head::new(Kind::Saga, "order_1", 0), objects: HashMap::new() };
        let mut chain = Chain::new("order_1");
        for seq in 1..=count {
            let record = chain.with(|meta| meta.retention_until = retain(seq));
            place.shared.keep_outline(record.outline.clone());
            let items = vec![row::item(&record).unwrap()];
            if seq == count {
                let newest =
                    Newest { seq, digest: record.digest(), part: Some(record.outline.fingerprint()), header: record.header().clone() };
                (place.head.newest, place.head.tail) = (Some(newest), items);
            } else {
                let stats = Stats::of_items(&items).unwrap();
                let object = bundle_of(Vec::new(), items, |_| None).encode();
                place.head.entries.push(Entry { hash: bundle::name(&object), is_node: false, stats });
                place.write(vec![(bundle::name(&object), object)]);
            }
        }
        place
    }

    fn folded(mut self) -> Self {
        let folded = self.head.fold().expect("so many references are folded");
        self.write(vec![folded]);
        assert_eq!(self.head.entries.len(), 1);
        self
    }

    fn write(&mut self, objects: Vec<(Token, Bytes)>) {
        for (hash, object) in objects {
            let key = self.shared.keys.bundle(&self.head.life, &hash);
            self.shared.bundles.insert(key, Arc::new(Bundle::decode(&hash, &object).unwrap()), 1);
            self.objects.insert(hash, object);
        }
    }

    async fn plan(&self, rule: Rule, left: u64) -> Plan {
        let walk = Walk::new(self.shared.clone(), Arc::new(self.head.clone()), "prune");
        Plan::make(&walk, &saga("order_1"), rule, left).await.unwrap()
    }

    /// Carries out a prune as the store does: bundles, head, then what nothing leads to any more.
    async fn prune(&mut self, rule: Rule, left: u64) -> u64 {
        let plan = self.plan(rule, left).await;
        let records = plan.records;
        let (head, objects) = plan.apply(self.head.clone());
        self.head = head;
        self.write(objects);
        for hash in self.head.garbage.clone() {
            self.objects.remove(&hash).expect("nothing is removed twice");
        }
        records
    }

    /// The sequences of everything that the head leads to.
    fn sequences(&self) -> Vec<u64> {
        fn of(objects: &HashMap<Token, Bytes>, entry: &Entry, all: &mut Vec<u64>) {
            let object = objects.get(&entry.hash).expect("what is referred to is there");
            let bundle = Bundle::decode(&entry.hash, object).unwrap();
            if entry.is_node {
                bundle.entries.iter().for_each(|child| of(objects, child, all));
            }
            all.extend(bundle.items.iter().map(|item| item.seq));
        }
        let mut all = Vec::new();
        self.head.entries.iter().for_each(|entry| of(&self.objects, entry, &mut all));
        all.extend(self.head.tail.iter().map(|item| item.seq));
        all
    }
}

fn forever(_: u64) -> Option<DateTime<Utc>> {
    None
}

const LAST: u64 = FOLDED as u64 + 1;

#[tokio::test]
async fn a_hole_within_a_node_takes_nothing_and_the_node_stays() {
    let mut place = Place::new(LAST + 1, forever);
    place.head.entries.remove(3);
    let mut place = place.folded();
    let before = place.head.clone();
    assert_eq!(place.prune(Rule::One(4), 10).await, 0);
    assert_eq!(place.head, before);
    assert_eq!(place.sequences(), (1..=LAST + 1).filter(|seq| *seq != 4).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_expired_but_protected_leaves_its_node_as_it_is() {
    // The newest but one is the last checkpoint of a saga that has not ended; nothing else expires.
    let mut place = Place::new(LAST, |seq| (seq == LAST - 1).then(|| after(0))).folded();
    let protected = place.head.entries[0].stats;
    // The newest is no checkpoint, so that the one before must stay.
    place.head.tail[0].next = None;
    assert_eq!(protected.checkpoint, LAST - 1);
    let before = place.head.clone();
    assert_eq!(place.prune(Rule::Expired(after(1_000_000).timestamp_micros()), 10).await, 0);
    assert_eq!(place.head, before);
    assert_eq!(place.sequences(), (1..=LAST).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_limit_that_is_used_up_leaves_every_node_as_it_is() {
    let mut place = Place::new(LAST, forever).folded();
    place.head.garbage.push([9; 16]);
    let entries = place.head.entries.clone();
    assert_eq!(place.prune(Rule::Surplus(1), 0).await, 0);
    assert_eq!((&place.head.entries, &place.head.garbage), (&entries, &Vec::new()));
    assert_eq!(place.sequences(), (1..=LAST).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_that_is_still_referred_to_is_ever_removed() {
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = LAST + 300;
        let expiry: Vec<i64> = (0..=count).map(|_| random.i64(0..50)).collect();
        let mut place = Place::new(count, |seq| Some(after(expiry[usize::try_from(seq).unwrap()])));
        let mut left: Vec<u64> = (1..=count).collect();
        for _ in 0..40 {
            let rule = match random.u8(0..4) {
                0 | 1 => Rule::One(random.u64(1..=count)),
                2 => Rule::Surplus(random.u64(left.len() as u64 * 9 / 10..=left.len() as u64)),
                _ => Rule::Expired(after(random.i64(-1..3)).timestamp_micros()),
            };
            let taken = place.prune(rule, random.u64(0..40)).await;
            let now = place.sequences();
            assert!(now.iter().all(|seq| left.contains(seq)) && now.is_sorted(), "seed {seed}, {rule:?}");
            assert_eq!(now.len() as u64 + taken, left.len() as u64, "seed {seed}, {rule:?}");
            assert_eq!(place.head.stats().unwrap().count, now.len() as u64, "seed {seed}, {rule:?}");
            left = now;
        }
    }
}
