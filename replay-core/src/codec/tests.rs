use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    Digest, ErrorKind, Failure, FailureKind, Origin, Outline, OutlineStep, Phase, ReplayId, RunnerId, SagaId, SagaStatus, SnapshotMeta,
    SnapshotRecord, StepRanges, clock::from_micros, saga::SnapshotPolicy,
};

fn outline() -> Arc<Outline> {
    let steps = ["reserve", "charge", "ship"].into_iter().zip([vec![], vec![0], vec![1]]);
    Arc::new(Outline::new("order", "1", steps.map(|(name, needs)| OutlineStep::new(name, needs)).collect()).unwrap())
}

fn full_record() -> SnapshotRecord {
    let saga = SagaId::new("order_123").unwrap();
    let uuid = uuid::Uuid::from_u128(7);
    let mut meta = SnapshotMeta::new(saga.clone(), outline(), 17, from_micros(1_767_225_600_123_456));
    meta.phase = Phase::Failure;
    meta.status = SagaStatus::Compensating;
    meta.step = Some(1);
    meta.completed = [0, 2].into_iter().collect();
    meta.next = [1].into_iter().collect();
    meta.compensated = StepRanges::one(1);
    meta.policy = Some(Arc::new(SnapshotPolicy::default().with_max_snapshots(3).with_retention(std::time::Duration::from_mins(1))));
    meta.labels = Arc::new([("customer".into(), "c-17".into())].into());
    meta.failure = Some(Arc::new(Failure::new(Some("charge".into()), FailureKind::Timeout, "x".repeat(200), 3)));
    meta.external_refs = Arc::new([("definition".into(), Digest::ZERO.to_string())].into());
    meta.retention_until = Some(from_micros(1_800_000_000_000_000));
    meta.origin = Some(Arc::new(Origin::new(saga.clone(), 3, ReplayId::from_uuid(uuid), saga.clone(), saga)));
    meta.actor = Some("ops".into());
    meta.runner = Some(RunnerId::from_uuid(uuid));
    meta.prev_digest = Digest::of(b"before");
    SnapshotRecord::seal(meta, Bytes::from_static(br#"{"amount":12}"#))
}

#[test]
fn a_record_is_read_back_whole_from_its_bytes_and_from_its_parts() {
    let record = full_record();
    let back = SnapshotRecord::from_bytes(&record.to_bytes().unwrap()).unwrap();
    assert_eq!(back.meta(), record.meta());
    assert_eq!(back.digest(), record.digest());
    let parts = SnapshotRecord::from_parts(outline(), record.header().clone(), record.payload().unwrap().clone()).unwrap();
    assert_eq!(parts.meta(), record.meta());
    assert_eq!(parts.decode().unwrap().context().unwrap(), serde_json::json!({"amount": 12}));
}

#[test]
fn a_record_without_its_payload_says_everything_but_its_context() {
    let record = full_record();
    let bare = SnapshotRecord::from_header(outline(), record.header().clone()).unwrap();
    assert_eq!((bare.meta(), bare.digest(), bare.content_digest()), (record.meta(), record.digest(), record.content_digest()));
    assert_eq!(bare.content_len(), record.payload().unwrap().bytes.len() as u64);
    assert_eq!(bare.stored_len(), record.header().len() as u64);
    assert!(!bare.has_payload() && !record.clone().without_payload().has_payload());
    for error in [bare.payload().unwrap_err(), bare.to_bytes().unwrap_err(), bare.clone().decode().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.fact("snapshot"), Some(record.id().to_string().as_str()));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = full_record().to_bytes().unwrap();
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[at / 8] ^= 1 << (at % 8);
        let read = SnapshotRecord::from_bytes(&flipped.into()).and_then(SnapshotRecord::decode);
        let kind = read.expect_err("a flipped bit must be an error").kind();
        assert!(matches!(kind, ErrorKind::Integrity | ErrorKind::NewerVersion | ErrorKind::Invalid | ErrorKind::LimitExceeded));
    }
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    let bytes = full_record().to_bytes().unwrap();
    for len in 0..bytes.len() {
        assert!(SnapshotRecord::from_bytes(&bytes.slice(..len)).is_err(), "cut at {len}");
    }
}

#[test]
fn a_header_cannot_be_read_with_another_outline() {
    let record = full_record();
    let other = Arc::new(Outline::new("order", "2", record.outline.steps().to_vec()).unwrap());
    let error = SnapshotRecord::from_parts(other, record.header().clone(), record.payload().unwrap().clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
}

#[test]
fn a_record_of_a_later_format_is_named_as_such() {
    let record = full_record();
    let mut body = record.header()[..record.header().len() - 8].to_vec();
    body[1] = super::header::VERSION + 1;
    let digest = Digest::of(&body);
    body.extend_from_slice(&digest.as_bytes()[..8]);
    let error = SnapshotRecord::from_parts(outline(), body.into(), record.payload().unwrap().clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("record format 2"), "{error}");
}

/// ST-9. A file of a released format is never edited; a new format adds one.
#[test]
fn records_of_every_format_version_are_readable() {
    let bytes = Bytes::from_static(include_bytes!("../../tests/golden/record-v1.rply"));
    let expected: serde_json::Value = serde_json::from_str(include_str!("../../tests/golden/record-v1.json")).unwrap();
    let record = SnapshotRecord::from_bytes(&bytes).unwrap();
    assert_eq!(record.meta(), full_record().meta());
    assert_eq!(serde_json::to_value(record.decode().unwrap()).unwrap(), expected);
}

/// 10^5 mutations: typed errors only, no panic. A checksum that the mutation did not repair refuses nearly all of them, so half
/// are sealed anew to reach the fields behind it.
#[test]
fn mutated_records_never_panic() {
    let record = full_record();
    let header = record.header();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..100_000 {
        let mut body = header[..header.len() - 8].to_vec();
        for _ in 0..random.usize(1..4) {
            match random.u8(..3) {
                0 => *random.choice(&mut body).expect("not empty") = random.u8(..),
                1 => body.insert(random.usize(..=body.len()), random.u8(..)),
                _ => body.truncate(random.usize(2..=body.len())),
            }
        }
        let digest = if round % 2 == 0 { Digest::of(&body) } else { record.digest() };
        body.extend_from_slice(&digest.as_bytes()[..8]);
        if let Err(error) = SnapshotRecord::from_parts(outline(), body.into(), record.payload().unwrap().clone()) {
            assert!(matches!(error.kind(), ErrorKind::Integrity | ErrorKind::NewerVersion), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn ranges_survive_the_header(done in proptest::collection::vec(0_u32..3, 0..3), sequence in 1_u64.., text in ".*") {
        let mut meta = SnapshotMeta::new(SagaId::new("s").unwrap(), outline(), sequence, from_micros(0));
        meta.completed = done.into_iter().collect();
        let record = SnapshotRecord::seal(meta, serde_json::to_vec(&text).unwrap().into());
        let back = SnapshotRecord::from_bytes(&record.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(back.meta(), record.meta());
        prop_assert_eq!(back.decode().unwrap().context_as::<String>().unwrap(), text);
    }
}
