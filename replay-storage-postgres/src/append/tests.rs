use replay_conformance::records;

use super::*;

#[test]
fn what_is_stored_is_left_out_and_the_rest_is_to_be_done() {
    let all = records::history("a", 5);
    let unit = Unit { records: all[1..].to_vec() };
    let stored = |count: usize| Stored {
        head: all[..count].last().map(|record| (record.sequence, record.digest())),
        headers: all[..count].iter().map(|record| (record.sequence, record.header().clone())).collect(),
    };
    let sequences = |records: Vec<SnapshotRecord>| records.iter().map(|record| record.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(stored(3).rest(&unit).unwrap()), [4, 5]);
    assert_eq!(sequences(stored(5).rest(&unit).unwrap()), [0; 0]);
    assert_eq!(stored(0).rest(&unit).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn records_out_of_order_are_no_chain() {
    let all = records::history("a", 3);
    assert!(!Unit { records: vec![all[0].clone(), all[2].clone()] }.is_chain());
    assert!(!Unit { records: vec![all[1].clone(), all[0].clone()] }.is_chain());
}

#[test]
fn records_of_several_sagas_are_told_apart() {
    let (a, b) = (records::history("a", 2), records::history("b", 1));
    let units = split(vec![a[0].clone(), b[0].clone(), a[1].clone()]);
    assert_eq!(units.iter().map(|unit| (unit.saga().as_str(), unit.records.len())).collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
    assert!(split(Vec::new()).is_empty());
}
