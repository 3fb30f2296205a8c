//! What a decoder agrees to before it allocates anything.

/// No text that is longer is encoded or decoded other than as it is.
pub(super) const MAX_LEN: u64 = 1 << 30;

/// No text that is longer is a frame, or encoded as a change of one: what makes a change costs as much memory as both texts, and a reader
/// keeps a frame's text as long as it has records that are changes of it.
pub(super) const MAX_FRAME_LEN: usize = 8 << 20;

/// A text of up to so many bytes may come from as few as one likes.
const FREE: u64 = 1 << 20;

/// Beyond that, a text has at most so many bytes for each encoded byte,
const RATIO: u64 = 4096;

/// and for each byte of the frame's text.
const FRAME_RATIO: u64 = 16;

/// Whether a text of `len` bytes may come from `encoded` bytes and a frame of `frame` bytes of text.
pub(super) fn allow(len: u64, encoded: usize, frame: usize) -> bool {
    let earned = (encoded as u64).saturating_mul(RATIO).saturating_add((frame as u64).saturating_mul(FRAME_RATIO));
    len <= MAX_LEN && len <= earned.saturating_add(FREE)
}
