use super::*;

fn item(seq: u64, len: usize) -> Item {
    Item {
        seq,
        at: seq.cast_signed(),
        retain: None,
        next: None,
        part: None,
        encoding: 0,
        header: Bytes::from(format!("header {seq}")),
        body: Bytes::from(vec![b'x'; len]),
    }
}

fn head(items: Vec<Item>) -> (Head, Vec<(Token, Bytes)>) {
    let mut head = Head::new(Kind::Saga, "order_1", 7);
    let last = items.last().unwrap();
    head.newest = Some(Newest { seq: last.seq, digest: Digest::of(b"x"), part: None, header: last.header.clone() });
    let objects = head.push(items, |_| None);
    (head, objects)
}

#[test]
fn a_head_is_read_back_whether_its_newest_item_is_in_it_or_not() {
    for len in [10, 100_000] {
        let (mut head, objects) = head(vec![item(1, 10), item(2, len)]);
        assert_eq!(head.tail.is_empty(), len > 1000);
        assert_eq!(objects.len(), usize::from(len > 1000));
        head.garbage.push([9; 16]);
        assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        let tombstone = head.tombstone();
        assert_eq!(Head::decode(&tombstone.encode()).unwrap(), tombstone);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let object = head(vec![item(1, 10)]).0.encode();
    for at in 0..object.len() * 8 {
        let mut flipped = object.to_vec();
        flipped[at / 8] ^= 1 << (at % 8);
        assert!(Head::decode(&flipped.into()).is_err(), "bit {at}");
    }
    for len in 0..object.len() {
        assert!(Head::decode(&object.slice(..len)).is_err(), "cut at {len}");
    }
}

#[test]
fn a_long_history_keeps_its_head_small_and_everything_within_two_bundles() {
    let mut head = head(vec![item(1, 1000)]).0;
    let (mut bundles, mut written) = (std::collections::HashMap::new(), 0);
    for seq in 2..=40_000 {
        let objects = head.push(vec![item(seq, 1000)], |_| None);
        assert!(objects.len() <= 1, "one object beside the head");
        written += objects.len();
        bundles.extend(objects.into_iter().map(|(hash, object)| (hash, Bundle::decode(&hash, &object).unwrap())));
    }
    assert!(head.encode().len() < 100_000, "{} bytes", head.encode().len());
    assert!(written < 40_000 / 50, "{written} bundles");
    let mut seen = 0;
    for entry in &head.entries {
        let bundle = &bundles[&entry.hash];
        assert_eq!(entry.is_node, !bundle.entries.is_empty());
        let leaves = bundle.entries.iter().map(|leaf| {
            assert!(!leaf.is_node);
            bundles[&leaf.hash].items.len()
        });
        let count = leaves.sum::<usize>() + bundle.items.len();
        assert_eq!(entry.stats.count, count as u64);
        seen += count;
    }
    assert_eq!(seen + head.tail.len(), 40_000);
}

#[test]
fn a_large_list_is_cut_into_bundles_of_bounded_size() {
    let (head, objects) = head((1..=20).map(|seq| item(seq, 1 << 20)).collect());
    assert_eq!(objects.len(), 3);
    assert_eq!(head.stats().unwrap().count, 20);
}

#[test]
fn too_many_references_are_folded_into_a_bundle() {
    let mut head = head(vec![item(1, 10)]).0;
    let stats = head.stats().unwrap();
    head.entries = (0..600).map(|n: u16| Entry { hash: [u8::try_from(n % 251).unwrap(); 16], is_node: false, stats }).collect();
    assert!(head.fold().is_some());
    assert_eq!(head.entries.len(), 1);
    assert!(head.entries[0].is_node && head.entries[0].stats.count == 600);
    assert_eq!(head.fold(), None);
}
