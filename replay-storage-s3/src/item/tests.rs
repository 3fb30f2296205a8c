use super::*;

fn item(seq: u64) -> Item {
    Item {
        seq,
        at: 1_767_225_600_000_000 - seq.cast_signed(),
        retain: seq.is_multiple_of(3).then_some(-5),
        next: seq.is_multiple_of(2).then_some((1, 9)),
        part: seq.is_multiple_of(5).then(|| Digest::of(&[u8::try_from(seq).unwrap()])),
        encoding: 0,
        header: Bytes::from_static(b"header"),
        body: Bytes::from(vec![7; usize::try_from(seq).unwrap()]),
    }
}

#[test]
fn items_and_entries_are_read_back() {
    let items: Vec<Item> = [1, 2, 3, 5, 30, 40].into_iter().map(item).collect();
    let stats = Stats::of_items(&items).unwrap();
    assert_eq!((stats.first, stats.last, stats.count, stats.checkpoint, stats.retain), (1, 40, 6, 40, Some(-5)));
    let entries = [Entry { hash: [3; 16], is_node: true, stats }, Entry { hash: [4; 16], is_node: false, stats }];
    let mut out = Writer::default();
    write_items(&items, &mut out);
    write_entries(&entries, &mut out);
    let mut from = Reader::new(out.into_bytes());
    assert_eq!(read_items(&mut from).unwrap(), items);
    assert_eq!(read_entries(&mut from).unwrap(), entries);
    from.end().unwrap();
}

#[test]
fn what_is_cut_anywhere_is_refused() {
    let mut out = Writer::default();
    write_items(&[item(1), item(10)], &mut out);
    let bytes = out.into_bytes();
    for len in 0..bytes.len() {
        assert!(read_items(&mut Reader::new(bytes.slice(..len))).is_err(), "cut at {len}");
    }
}
