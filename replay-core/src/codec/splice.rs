//! A change in one place: the beginning and the end of the frame's text, with other bytes between them.

use bytes::Bytes;

use super::wire::{Reader, damaged, put_varint};
use crate::Result;

/// The first byte of a splice. No zstd frame begins like it.
const MARK: u8 = 0;

/// With more bytes than this in between, zstd may well find something that repeats.
const MOST: usize = 32;

/// `text` as a splice of `frame`, if it differs in one place by a few bytes.
pub(super) fn encode(frame: &[u8], text: &[u8]) -> Option<Bytes> {
    let head = equal_parts(frame.len().min(text.len()), |from, len| frame[from..from + len] == text[from..from + len]);
    let (frame, text) = (&frame[head..], &text[head..]);
    let end = |bytes: &'_ [u8], from: usize, len: usize| bytes.len() - from - len..bytes.len() - from;
    let tail = equal_parts(frame.len().min(text.len()), |from, len| frame[end(frame, from, len)] == text[end(text, from, len)]);
    let between = &text[..text.len() - tail];
    if between.len() > MOST {
        return None;
    }
    let mut out = Vec::with_capacity(16 + between.len());
    out.push(MARK);
    put_varint(&mut out, head as u64);
    put_varint(&mut out, tail as u64);
    out.extend_from_slice(between);
    Some(out.into())
}

/// How many of `most` bytes are equal, counted from one end, if `equal` says it of some bytes from a place on.
fn equal_parts(most: usize, equal: impl Fn(usize, usize) -> bool) -> usize {
    let mut done = 0;
    for step in [64, 8, 1] {
        while done + step <= most && equal(done, step) {
            done += step;
        }
    }
    done
}

/// Whether a change is a splice; else it is of zstd's making.
pub(super) fn is_splice(change: &[u8]) -> bool {
    change.first() == Some(&MARK)
}

fn length(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The text of `len` bytes that is a splice of `frame`.
pub(super) fn decode(change: &Bytes, frame: &[u8], len: u64) -> Result<Bytes> {
    let mut reader = Reader::new(change.clone());
    reader.u8()?;
    let (head, tail) = (length(reader.varint()?), length(reader.varint()?));
    let between = reader.rest();
    let start_of_tail = frame.len().checked_sub(tail).filter(|start| head <= *start);
    let start_of_tail = start_of_tail.ok_or_else(|| damaged("has a change of more than its frame"))?;
    if (head + between.len() + tail) as u64 != len {
        return Err(damaged("has a context of another length than it says"));
    }
    Ok([&frame[..head], &between, &frame[start_of_tail..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read_back(frame: &str, text: &str) -> usize {
        let change = encode(frame.as_bytes(), text.as_bytes()).unwrap();
        assert!(is_splice(&change));
        assert_eq!(decode(&change, frame.as_bytes(), text.len() as u64).unwrap(), text, "{frame} to {text}");
        change.len()
    }

    #[test]
    fn a_change_in_one_place_is_read_back() {
        let pieces = ["", "a", "ab", "aba", "{}", r#"{"a":1}"#];
        let long = "0123456789".repeat(30);
        for before in pieces.iter().chain([&long.as_str()]) {
            for after in pieces.iter().chain([&long.as_str()]) {
                for from in pieces {
                    for to in pieces {
                        let len = is_read_back(&format!("{before}{from}{after}"), &format!("{before}{to}{after}"));
                        assert!(len <= 5 + to.len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_large_change_and_one_in_two_places_are_left_to_zstd() {
        let frame = "x".repeat(100);
        assert!(encode(frame.as_bytes(), format!("{}{}", "y".repeat(MOST + 1), frame).as_bytes()).is_none());
        assert!(encode(frame.as_bytes(), format!("y{frame}z").as_bytes()).is_none());
    }

    #[test]
    fn a_change_of_more_than_its_frame_is_refused() {
        for (head, tail, len) in [(11_u64, 0_u64, 11), (0, 11, 11), (6, 5, 11), (u64::MAX, 1, 0), (1, u64::MAX, 0), (5, 5, 11), (5, 5, 9)] {
            let mut change = vec![MARK];
            put_varint(&mut change, head);
            put_varint(&mut change, tail);
            let error = decode(&change.into(), &[b'x'; 10], len).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Integrity, "{head} {tail} {len}");
        }
        for cut in 1..3 {
            decode(&Bytes::copy_from_slice(&[MARK, 0x80, 0x80][..cut]), b"", 0).unwrap_err();
        }
    }
}
