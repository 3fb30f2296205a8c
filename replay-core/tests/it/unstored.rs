//! What of an append is not stored yet: the rule that every store shares.

use replay_conformance::records::{Chain, history};
use replay_core::{Digest, Error, SnapshotRecord, storage::unstored};

/// What is left of `records` where `stored` is stored.
fn left(records: &[SnapshotRecord], stored: &[SnapshotRecord]) -> Result<Vec<u64>, Error> {
    let records: Vec<&SnapshotRecord> = records.iter().collect();
    let newest: Option<(u64, Digest)> = stored.last().map(|record| (record.sequence, record.digest()));
    let header = |sequence| stored.iter().find(|record| record.sequence == sequence).map(|record| &record.header()[..]);
    Ok(unstored(&records, newest, header)?.iter().map(|record| record.sequence).collect())
}

/// The sequence that is refused, and the one that would be right.
fn refused(outcome: Result<Vec<u64>, Error>) -> (String, String) {
    let error = outcome.expect_err("a conflict");
    let fact = |name| error.fact(name).expect("the fact").to_owned();
    (fact("sequence"), fact("expected"))
}

fn pair(sequence: &str, expected: &str) -> (String, String) {
    (sequence.to_owned(), expected.to_owned())
}

#[test]
fn what_is_stored_is_left_out() {
    let all = history("a", 5);
    assert_eq!(left(&all, &[]).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(left(&all[1..], &all[..1]).unwrap(), [2, 3, 4, 5]);
    assert_eq!(left(&all[1..], &all[..3]).unwrap(), [4, 5]);
    assert_eq!(left(&all[1..4], &all).unwrap(), [0; 0]);
    assert_eq!(left(&[], &all).unwrap(), [0; 0]);
}

#[test]
fn a_record_may_be_given_twice() {
    let all = history("a", 3);
    let twice = [all[1].clone(), all[1].clone(), all[2].clone(), all[1].clone()];
    assert_eq!(left(&twice, &all[..1]).unwrap(), [2, 3]);
    let mut other = Chain::new("a");
    other.go_on_after(Some(&all[0]));
    let unlike = [all[1].clone(), other.with_context("{}")];
    assert_eq!(refused(left(&unlike, &all[..1])), pair("2", "3"));
}

#[test]
fn a_gap_a_taken_sequence_and_another_predecessor_are_conflicts() {
    let all = history("a", 5);
    assert_eq!(refused(left(&all[2..], &all[..1])), pair("3", "2"));
    assert_eq!(refused(left(&all[1..], &[])), pair("2", "1"));
    let mut other = Chain::new("a");
    other.go_on_after(Some(&all[1]));
    let taken = other.with_context("{}");
    assert_eq!(refused(left(std::slice::from_ref(&taken), &all[..4])), pair("3", "5"));
    let stray = other.next_record();
    assert_eq!(refused(left(&[stray], &all[..3])), pair("4", "4"));
}

#[test]
fn a_record_that_was_pruned_is_not_taken_for_stored() {
    let all = history("a", 4);
    assert_eq!(refused(left(&all[1..2], &all[2..])), pair("2", "5"));
}
