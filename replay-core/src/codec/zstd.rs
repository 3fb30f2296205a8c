//! zstd with contexts that a thread keeps, since making them costs more than most texts.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_frame_content_size};

use super::{limits, wire::damaged};
use crate::{Error, ErrorKind, Result};

thread_local! {
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// What zstd takes for a dictionary of its own making rather than for text. No JSON begins like it.
const DICTIONARY: [u8; 4] = 0xec30_a437_u32.to_le_bytes();

/// Whether zstd takes `text` for what it is when it is the prefix of another.
pub(super) fn may_be_prefix(text: &[u8]) -> bool {
    !text.starts_with(&DICTIONARY)
}

fn failed(code: usize) -> Error {
    Error::new(ErrorKind::Internal, "encode context").message(zstd::zstd_safe::get_error_name(code))
}

/// `text`, compressed by itself.
pub(super) fn compress(text: &[u8], level: i32) -> Result<Bytes> {
    let mut out = Vec::with_capacity(compress_bound(text.len()));
    COMPRESS.with_borrow_mut(|context| context.compress(&mut out, text, level)).map_err(failed)?;
    Ok(Bytes::copy_from_slice(&out))
}

/// `text`, compressed as a change of `prefix`.
///
/// The prefix is looked through anew each time: for a text of 10 KB that takes 5 µs, and to keep it prepared would take 20 times its
/// size in memory, for each saga under way.
pub(super) fn compress_after(prefix: &[u8], text: &[u8], level: i32) -> Result<Bytes> {
    if prefix.len().max(text.len()) > NEAR {
        return compress_far_after(prefix, text, level);
    }
    let mut out = Vec::with_capacity(compress_bound(text.len()));
    COMPRESS.with_borrow_mut(|context| context.compress_using_dict(&mut out, text, prefix, level)).map_err(failed)?;
    Ok(Bytes::copy_from_slice(&out))
}

/// Up to here the tables of every level have room for a prefix as a whole. Of a longer one they know the last part only, and the window
/// may end before it.
const NEAR: usize = 128 << 10;

/// As [`compress_after`] for long texts: with a window over both, and a search for what they have in common at any distance. The context
/// is larger than what a thread should keep.
fn compress_far_after(prefix: &[u8], text: &[u8], level: i32) -> Result<Bytes> {
    let window = usize::BITS - (prefix.len() + text.len()).leading_zeros();
    let mut context = CCtx::create();
    let parameters = [CParameter::CompressionLevel(level), CParameter::WindowLog(window), CParameter::EnableLongDistanceMatching(true)];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(prefix).map_err(failed)?;
    let mut out = Vec::with_capacity(compress_bound(text.len()));
    context.compress2(&mut out, text).map_err(failed)?;
    Ok(Bytes::copy_from_slice(&out))
}

/// The length of the text in `bytes`, as they say themselves.
pub(super) fn declared_len(bytes: &[u8]) -> Result<u64> {
    match get_frame_content_size(bytes) {
        Ok(Some(len)) => Ok(len),
        _ => Err(damaged("has a context whose compressed form is damaged")),
    }
}

/// The text of `len` bytes that was compressed after `prefix`, which may be empty.
pub(super) fn decompress(bytes: &[u8], prefix: &[u8], len: u64) -> Result<Bytes> {
    if declared_len(bytes)? != len {
        return Err(damaged("has a context of another length than it says"));
    }
    let room = usize::try_from(len).ok().filter(|_| limits::allow(len, bytes.len(), prefix.len()));
    let room = room.ok_or_else(|| {
        Error::new(ErrorKind::LimitExceeded, "decode record")
            .message("the context would be far larger than what is stored of it")
            .with("stored", bytes.len())
            .with("context", len)
    })?;
    let mut out = Vec::with_capacity(room);
    let done = DECOMPRESS.with_borrow_mut(|context| context.decompress_using_dict(&mut out, bytes, prefix));
    if done.is_err() || out.len() != room {
        return Err(damaged("has a context whose compressed form is damaged"));
    }
    Ok(out.into())
}
