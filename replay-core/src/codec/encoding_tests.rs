use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{limits, zstd};
use crate::{
    Compression, Digest, Encoded, Encoder, Encoding, Error, ErrorKind, Frame, Outline, OutlineStep, Payload, SagaId, SagaStatus,
    SnapshotMeta, SnapshotRecord, clock::from_micros,
};

fn outline() -> Arc<Outline> {
    Arc::new(Outline::new("order", "1", vec![OutlineStep::new("reserve", vec![])]).unwrap())
}

fn record_of(sequence: u64, status: SagaStatus, text: impl Into<Bytes>) -> SnapshotRecord {
    let mut meta = SnapshotMeta::new(SagaId::new("order_1").unwrap(), outline(), sequence, from_micros(0));
    meta.status = status;
    SnapshotRecord::seal(meta, text.into())
}

fn record(sequence: u64, text: impl Into<Bytes>) -> SnapshotRecord {
    record_of(sequence, SagaStatus::Executing, text)
}

/// A context of some 1.5 KB in which `n` is all that changes.
fn order(n: usize) -> String {
    let lines = (0..16).map(|line| format!(r#"{{"sku":"SKU-{line:05}","name":"a thing that people order","cents":{}}}"#, line * 37));
    format!(r#"{{"lines":[{}],"step":{n}}}"#, lines.collect::<Vec<_>>().join(","))
}

/// Text that compresses little.
fn noise(seed: u64, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric()).take(len).collect()
}

/// The record as a store gives it back.
fn stored(record: &SnapshotRecord, encoded: &Encoded) -> SnapshotRecord {
    let back = SnapshotRecord::from_parts(outline(), record.header().clone(), encoded.payload.clone()).unwrap();
    match &encoded.base {
        Some(base) => back.with_frame(Arc::new(Frame::new(base.frame.digest(), base.frame.payload().clone()).unwrap())),
        None => back,
    }
}

fn zstd_encoder() -> Encoder {
    Encoder::new(Compression::ZSTD)
}

fn delta(frame: &str, text: &str) -> (SnapshotRecord, Encoded) {
    let encoder = zstd_encoder();
    encoder.encode(&record(1, frame.to_owned())).unwrap();
    let record = record(2, text.to_owned());
    let encoded = encoder.encode(&record).unwrap();
    assert_eq!(encoded.payload.encoding, Encoding::Delta);
    (record, encoded)
}

#[test]
fn one_field_that_changes_costs_a_few_bytes() {
    let encoder = zstd_encoder();
    let first = encoder.encode(&record(1, order(1))).unwrap();
    let base = first.base.unwrap();
    assert_eq!((first.payload.encoding, first.payload.bytes.len(), base.since), (Encoding::Delta, 0, 1));
    assert_eq!(base.frame.text().unwrap(), order(1).as_bytes());
    for n in 2..=Encoder::SPAN {
        let record = record(n, order(usize::try_from(n).unwrap()));
        let encoded = encoder.encode(&record).unwrap();
        assert!(encoded.payload.bytes.len() < 40, "{encoded:?}");
        assert!(Arc::ptr_eq(&encoded.base.as_ref().unwrap().frame, &base.frame));
        assert_eq!(stored(&record, &encoded).decode().unwrap().context_text(), &record.payload().unwrap().bytes);
    }
    let next = encoder.encode(&record(Encoder::SPAN + 1, order(0))).unwrap().base.unwrap();
    assert_eq!((next.since, next.frame.digest()), (Encoder::SPAN + 1, Digest::of(order(0).as_bytes())));
}

/// Lines of an order, so many bytes of them.
fn lines(len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(9);
    let mut line =
        || format!(r#"{{"sku":"SKU-{:05}","name":"a thing that people order","cents":{}}},"#, random.u32(..99999), random.u16(..));
    let mut text = String::with_capacity(len + 100);
    while text.len() < len {
        text += &line();
    }
    text.truncate(len);
    text
}

/// Text with some bytes changed in each tenth of it.
fn scattered(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let step = bytes.len() / 10;
    (0..10).for_each(|part| bytes[part * step + step / 2] = b'~');
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_large_context_that_changes_little_costs_little() {
    for len in [200 << 10, 500_000, 1 << 20, 3 << 20, limits::MAX_FRAME_LEN] {
        for text in [noise(7, len), lines(len)] {
            let (record, encoded) = delta(&text, &scattered(&text));
            assert!(encoded.base.as_ref().is_some_and(|base| base.since == 1), "{len}");
            assert!(encoded.payload.bytes.len() < 2000, "{len}: {:?}", encoded.payload);
            assert_eq!(stored(&record, &encoded).decode().unwrap().context_text(), &record.payload().unwrap().bytes);
        }
    }
}

#[test]
fn a_context_beyond_the_limit_of_frames_stands_alone() {
    let encoder = zstd_encoder();
    let long = lines(limits::MAX_FRAME_LEN + 1);
    for (sequence, text) in (1..).zip([order(1), long.clone(), scattered(&long), order(2)]) {
        let record = record(sequence, text.clone());
        let encoded = encoder.encode(&record).unwrap();
        let is_alone = text.len() > limits::MAX_FRAME_LEN;
        assert_eq!(encoded.payload.encoding, if is_alone { Encoding::Zstd } else { Encoding::Delta });
        assert!(is_alone || encoded.base.as_ref().is_some_and(|base| base.since == 1));
        assert_eq!(stored(&record, &encoded).decode().unwrap().context_text(), text.as_bytes());
    }
}

#[test]
fn a_frame_beyond_the_limit_is_not_read() {
    let text = Bytes::from(vec![b' '; limits::MAX_FRAME_LEN + 1]);
    let record = record(1, text.clone());
    for payload in [Payload::json(text.clone()), zstd_encoder().encode_alone(&record).unwrap()] {
        let frame = Arc::new(Frame::new(Digest::of(&text), payload).unwrap());
        let change = Payload { encoding: Encoding::Delta, bytes: Bytes::new() };
        let record = SnapshotRecord::from_parts(outline(), record.header().clone(), change).unwrap();
        let error = record.with_frame(frame).decode().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}

#[test]
fn what_a_record_holds_counts_its_frame_once() {
    let encoder = zstd_encoder();
    let [one, two] = [1, 2].map(|n| {
        let record = record(n, order(usize::try_from(n).unwrap()));
        let encoded = encoder.encode(&record).unwrap();
        let back = SnapshotRecord::from_parts(outline(), record.header().clone(), encoded.payload).unwrap();
        back.with_frame(encoded.base.unwrap().frame)
    });
    let frame = (one.frame().unwrap().payload().bytes.len() + order(1).len()) as u64;
    assert_eq!((one.held_len(None), two.held_len(None)), (one.stored_len() + frame, two.stored_len() + frame));
    assert_eq!(two.held_len(Some(&one)), two.stored_len());
    let apart = SnapshotRecord::from_bytes(&two.to_bytes().unwrap()).unwrap();
    assert_eq!(apart.held_len(Some(&one)), two.held_len(None));
}

#[test]
fn a_change_that_does_not_pay_makes_a_frame() {
    let encoder = zstd_encoder();
    for n in 1..5 {
        let text = noise(n, 2000);
        let encoded = encoder.encode(&record(n, text.clone())).unwrap();
        let base = encoded.base.unwrap();
        assert_eq!((base.since, encoded.payload.bytes.len()), (n, 0));
        assert!(base.frame.payload().bytes.len() < text.len());
    }
}

#[test]
fn changes_that_grow_make_a_frame_before_they_cost_more_than_one() {
    let encoder = zstd_encoder();
    let (mut text, mut frames, mut stored) = (order(0), 0, 0);
    for n in 1..=60 {
        text.push_str(&noise(n, 100));
        let encoded = encoder.encode(&record(n, text.clone())).unwrap();
        let base = encoded.base.unwrap();
        frames += u64::from(base.since == n);
        stored += encoded.payload.bytes.len() + if base.since == n { base.frame.payload().bytes.len() } else { 0 };
    }
    assert!((4..30).contains(&frames), "{frames}");
    assert!(stored < 60 * text.len() / 4, "{stored}");
}

#[test]
fn what_does_not_pay_is_left_as_it_is() {
    let encoder = zstd_encoder();
    for text in ["", "{}", r#"{"n":1}"#, &noise(1, 60)] {
        let encoded = encoder.encode(&record(1, text.to_owned())).unwrap();
        assert_eq!((encoded.payload, encoded.base.is_none()), (Payload::json(text.to_owned().into()), true));
    }
    let mut random = fastrand::Rng::with_seed(3);
    let bytes: Bytes = std::iter::repeat_with(|| random.u8(..)).take(5000).collect();
    assert_eq!(encoder.encode_alone(&record(1, bytes.clone())).unwrap(), Payload::json(bytes));
    let off = Encoder::new(Compression::Off);
    let encoded = off.encode(&record(1, order(1))).unwrap();
    assert_eq!((encoded.payload.encoding, encoded.base.is_none()), (Encoding::Json, true));
}

#[test]
fn the_last_record_of_a_saga_makes_no_frame() {
    let encoder = zstd_encoder();
    let ended = record_of(1, SagaStatus::Completed, order(1));
    assert_eq!(encoder.encode(&ended).unwrap().payload.encoding, Encoding::Zstd);
}

#[test]
fn a_saga_that_begins_anew_makes_a_frame_of_its_own() {
    let encoder = zstd_encoder();
    encoder.encode(&record(7, order(1))).unwrap();
    assert_eq!(encoder.encode(&record(1, order(2))).unwrap().base.unwrap().since, 1);
    encoder.forget(&SagaId::new("order_1").unwrap());
    assert_eq!(encoder.encode(&record(2, order(3))).unwrap().base.unwrap().since, 2);
}

#[test]
fn a_record_that_comes_encoded_is_encoded_anew() {
    let (original, encoded) = delta(&order(1), &order(2));
    let given = stored(&original, &encoded);
    assert_eq!(Encoder::new(Compression::Off).encode(&given).unwrap().payload, *original.payload().unwrap());
    let plain = given.clone().standing_alone().unwrap();
    assert_eq!((plain.payload().unwrap(), plain.frame().is_none()), (original.payload().unwrap(), true));
    let back = SnapshotRecord::from_bytes(&given.to_bytes().unwrap()).unwrap();
    assert_eq!(back.frame().unwrap().digest(), Digest::of(order(1).as_bytes()));
    assert_eq!(back.decode().unwrap().context_text(), order(2).as_bytes());
}

fn damage(record: SnapshotRecord) -> Error {
    let error = record.decode().unwrap_err();
    assert_eq!((error.kind(), error.fact("snapshot")), (ErrorKind::Integrity, Some("order_1@2")), "{error}");
    error
}

#[test]
fn a_frame_that_is_missing_or_another_is_named() {
    let (record, encoded) = delta(&order(1), &order(2));
    let bare = || SnapshotRecord::from_parts(outline(), record.header().clone(), encoded.payload.clone()).unwrap();
    let frame = encoded.base.as_ref().unwrap().frame.clone();
    assert!(damage(bare()).to_string().contains("missing"));
    let other = Frame::new(frame.digest(), Payload::json(noise(1, order(1).len()).into())).unwrap();
    assert!(damage(bare().with_frame(Arc::new(other))).to_string().contains("frame"));
    let cut = Payload { encoding: Encoding::Zstd, bytes: frame.payload().bytes.slice(..20) };
    damage(bare().with_frame(Arc::new(Frame::new(frame.digest(), cut).unwrap())));
    assert!(Frame::new(frame.digest(), encoded.payload).is_err(), "a frame is never a delta");
}

/// ST-11. A few bytes that claim to be a gigabyte are refused before anything is allocated for them.
#[test]
fn a_bomb_is_refused_by_what_it_claims() {
    let bomb = zstd::compress(&vec![b' '; 64 << 20], 1).unwrap();
    for len in [64_u64 << 20, 1 << 50] {
        let error = zstd::decompress(&bomb, b"", len).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::Integrity), "{error}");
    }
    let frame = Frame::new(Digest::ZERO, Payload { encoding: Encoding::Zstd, bytes: bomb }).unwrap();
    assert_eq!(frame.text().unwrap_err().kind(), ErrorKind::LimitExceeded);
    let blank = record(1, vec![b' '; 64 << 20]);
    assert_eq!(zstd_encoder().encode_alone(&blank).unwrap().encoding, Encoding::Json, "what could not be read back is not written");
}

/// ST-11. 10^5 mutations of payloads and frames: the right text or a typed error.
#[test]
fn mutated_payloads_never_give_another_text() {
    mutated_never_gives_another(&order(1), &order(2));
    let changed_at_both_ends = order(2).replacen("SKU", "UKS", 1);
    mutated_never_gives_another(&order(1), &changed_at_both_ends);
}

fn mutated_never_gives_another(before: &str, text: &str) {
    let (record, encoded) = delta(before, text);
    let frame = encoded.base.as_ref().unwrap().frame.clone();
    let alone = zstd_encoder().encode_alone(&record).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..100_000 {
        let mutate = |random: &mut fastrand::Rng, bytes: &Bytes| -> Bytes {
            let mut bytes = bytes.to_vec();
            for _ in 0..random.usize(1..4) {
                match random.u8(..4) {
                    0 if !bytes.is_empty() => *random.choice(&mut bytes).unwrap() = random.u8(..),
                    1 if !bytes.is_empty() => *random.choice(&mut bytes).unwrap() ^= 1 << random.u8(..8),
                    2 => bytes.insert(random.usize(..=bytes.len()), random.u8(..)),
                    _ => bytes.truncate(random.usize(..=bytes.len())),
                }
            }
            bytes.into()
        };
        let (mut payload, mut base) = (encoded.payload.clone(), frame.payload().clone());
        match round % 3 {
            0 => payload.bytes = mutate(&mut random, &payload.bytes),
            1 => base.bytes = mutate(&mut random, &base.bytes),
            _ => payload = Payload { encoding: Encoding::Zstd, bytes: mutate(&mut random, &alone.bytes) },
        }
        let read = SnapshotRecord::from_parts(outline(), record.header().clone(), payload)
            .and_then(|read| Ok(read.with_frame(Arc::new(Frame::new(frame.digest(), base)?))))
            .and_then(SnapshotRecord::decode);
        match read {
            Ok(snapshot) => assert_eq!(snapshot.context_text(), text.as_bytes()),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Integrity | ErrorKind::LimitExceeded), "{error}"),
        }
    }
}

#[test]
fn a_compression_is_a_word_with_a_level() {
    assert_eq!("off".parse::<Compression>().unwrap(), Compression::Off);
    assert_eq!("zstd".parse::<Compression>().unwrap(), Compression::ZSTD);
    assert_eq!("zstd:-3".parse::<Compression>().unwrap(), Compression::Zstd { level: -3 });
    for wrong in ["", "on", "zstd:", "zstd:23", "zstd:x", "gzip", "off:1"] {
        assert_eq!(wrong.parse::<Compression>().unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
    }
}

/// ST-9. What was ever stored stays readable; files are only added.
#[test]
fn encoded_records_of_every_released_format_are_readable() {
    for (bytes, encoding) in [
        (&include_bytes!("../../tests/golden/record-v1-zstd.rply")[..], Encoding::Zstd),
        (&include_bytes!("../../tests/golden/record-v1-delta.rply")[..], Encoding::Delta),
    ] {
        let record = SnapshotRecord::from_bytes(&Bytes::from_static(bytes)).unwrap();
        assert_eq!(record.payload().unwrap().encoding, encoding);
        assert_eq!(record.decode().unwrap().context_text(), order(2).as_bytes());
    }
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0_usize..20).prop_map(order),
        1 => (any::<u64>(), 0_usize..4000).prop_map(|(seed, len)| noise(seed, len)),
        1 => (0_usize..40).prop_map(|count| order(1).repeat(count)),
        1 => ".{0,300}",
    ]
}

proptest! {
    #[test]
    fn every_text_comes_back(texts in proptest::collection::vec(json(), 1..30), level in -7_i32..=9) {
        let encoder = Encoder::new(Compression::zstd(level).unwrap());
        for (sequence, text) in (1..).zip(texts) {
            let record = record(sequence, text.clone());
            let encoded = encoder.encode(&record).unwrap();
            prop_assert_eq!(encoded.base.is_some(), encoded.payload.encoding == Encoding::Delta);
            let back = SnapshotRecord::from_bytes(&stored(&record, &encoded).to_bytes().unwrap()).unwrap();
            prop_assert_eq!(back.context_text().unwrap(), text.as_bytes());
            let alone = encoder.encode_alone(&record).unwrap();
            prop_assert!(alone.bytes.len() <= text.len());
            let back = SnapshotRecord::from_parts(outline(), record.header().clone(), alone).unwrap();
            prop_assert_eq!(back.context_text().unwrap(), text.as_bytes());
        }
    }
}
