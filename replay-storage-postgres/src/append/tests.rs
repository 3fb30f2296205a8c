use replay_conformance::records::{self, Chain};

use super::*;

fn stored(records: &[SnapshotRecord]) -> Stored {
    Stored {
        head: records.last().map(|record| (record.sequence, record.digest())),
        headers: records.iter().map(|record| (record.sequence, record.header().clone())).collect(),
    }
}

fn expected(rest: &Rest) -> (&str, &str) {
    match rest {
        Rest::Conflict(error) => (error.fact("sequence").unwrap(), error.fact("expected").unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_stored_is_left_out_and_the_rest_is_to_be_done() {
    let all = records::history("a", 5);
    let unit = Unit { records: all[1..].to_vec() };
    assert!(unit.is_chain());
    let sequences = |rest: Rest| match rest {
        Rest::Records(records) => records.iter().map(|record| record.sequence).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(sequences(rest(&unit, &stored(&all[..3]))), [4, 5]);
    assert_eq!(sequences(rest(&unit, &stored(&all[..1]))), [2, 3, 4, 5]);
    assert!(matches!(rest(&unit, &stored(&all)), Rest::Nothing));
}

#[test]
fn a_gap_a_taken_sequence_and_another_predecessor_are_conflicts() {
    let all = records::history("a", 5);
    let unit = |records: &[SnapshotRecord]| Unit { records: records.to_vec() };
    assert_eq!(expected(&rest(&unit(&all[2..]), &stored(&all[..1]))), ("3", "2"));
    assert_eq!(expected(&rest(&unit(&all[1..]), &Stored::default())), ("2", "1"));
    let mut other = Chain::new("a");
    other.go_on_after(Some(&all[1]));
    let taken = other.with_context("{}");
    assert_eq!(expected(&rest(&unit(std::slice::from_ref(&taken)), &stored(&all[..4]))), ("3", "5"));
    let stray = other.next_record();
    assert_eq!(expected(&rest(&unit(&[stray]), &stored(&all[..3]))), ("4", "4"));
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
