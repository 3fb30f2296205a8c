use std::collections::BTreeMap;

use super::*;
use crate::positions::{LEN, run};

/// Positions from 1 on: the step that each leads to, and whether its record is there.
fn positions(steps: &[(u8, bool)]) -> Vec<Position> {
    let position = |(step, is_alive): &(u8, bool)| {
        let mut bytes = [0; LEN];
        bytes[20] = if *is_alive { 3 } else { 0 };
        bytes[21] = *step;
        bytes
    };
    run("test", 1, &steps.iter().map(position).collect::<Vec<_>>().concat()).unwrap()
}

/// The newest record before each step.
fn newest(positions: &[Position], is_left: impl Fn(u64) -> bool) -> BTreeMap<[u8; 7], u64> {
    let left = positions.iter().filter(|position| is_left(position.sequence));
    left.filter_map(|position| Some((position.only_next()?, position.sequence))).collect()
}

#[test]
fn each_chunk_leaves_every_step_with_its_newest_record() {
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..500 {
        let steps: Vec<_> = (0..next(40)).map(|_| (u8::try_from(next(6)).unwrap(), next(5) > 0)).collect();
        let positions = positions(&steps);
        let removed: Vec<_> = positions.iter().filter(|position| position.is_alive() && next(2) == 0).copied().collect();
        let fields = Plan::fields(&positions, &removed);
        let mut named = newest(&positions, |_| true);
        for at in (0..removed.len()).step_by(3) {
            let end = removed.len().min(at + 3);
            for field in fields_of(&fields, &removed[at..end]) {
                assert_eq!(named.get(&field.step), Some(&field.old));
                match field.new {
                    Some(new) => named.insert(field.step, new),
                    None => named.remove(&field.step),
                };
            }
            let is_left = |sequence| removed[..end].iter().all(|position| position.sequence != sequence);
            assert_eq!(named, newest(&positions, is_left), "{steps:?} without {removed:?}");
        }
    }
}

#[test]
fn a_chunk_has_no_more_fields_than_records_and_all_are_found_in_one_pass() {
    // With a look at all positions for each field this would take minutes.
    let steps: Vec<_> = (0..200_000).map(|_| (0, true)).collect();
    let mut bytes: Vec<u8> = Vec::new();
    for (at, _) in steps.iter().enumerate() {
        let mut position = [0; LEN];
        position[20] = 3;
        position[24..].copy_from_slice(&u32::try_from(at).unwrap().to_be_bytes());
        bytes.extend(position);
    }
    let positions = run("test", 1, &bytes).unwrap();
    let removed = &positions[..positions.len() - 1];
    let fields = Plan::fields(&positions, removed);
    assert_eq!(fields.len(), removed.len());
    assert_eq!(fields_of(&fields, &removed[512..768]).iter().map(|field| field.old).collect::<Vec<_>>(), (513..=768).collect::<Vec<_>>());
}
