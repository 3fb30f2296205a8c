//! A whole record as one self-describing sequence of bytes, for stores and files that keep nothing else.
//!
//! ```text
//! "RPLY" version(1)  outline  header  encoding(1)  payload      each part preceded by its length as a varint
//! ```
//! and, if the payload is a delta, the frame that it is a change of: `digest(32)  encoding(1)  payload`.

use std::sync::Arc;

use bytes::Bytes;

use super::wire::{Reader, damaged, put_bytes};
use crate::{
    Digest, Error, ErrorKind, Frame, Result,
    outline::Outline,
    snapshot::{Encoding, Payload, SnapshotRecord},
};

const MAGIC: &[u8; 4] = b"RPLY";
const VERSION: u8 = 1;

pub(crate) fn encode(record: &SnapshotRecord) -> Result<Bytes> {
    let (outline, header, payload) = (record.outline.as_bytes(), record.header(), record.payload()?);
    let mut out = Vec::with_capacity(outline.len() + header.len() + payload.bytes.len() + 24);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    put_bytes(&mut out, outline);
    put_bytes(&mut out, header);
    out.push(payload.encoding.code());
    put_bytes(&mut out, &payload.bytes);
    if let Some(frame) = record.frame().filter(|_| payload.encoding == Encoding::Delta) {
        out.extend_from_slice(frame.digest().as_bytes());
        out.push(frame.payload().encoding.code());
        put_bytes(&mut out, &frame.payload().bytes);
    }
    Ok(out.into())
}

pub(crate) fn decode(bytes: &Bytes) -> Result<SnapshotRecord> {
    let mut reader = Reader::new(bytes.clone());
    if reader.take(MAGIC.len())? != MAGIC[..] {
        return Err(damaged("does not begin like one"));
    }
    match reader.u8()? {
        VERSION => {}
        version => {
            return Err(Error::new(ErrorKind::NewerVersion, "decode record")
                .message(format!("envelope format {version} is not known to this version, which reads up to {VERSION}"))
                .hint("read it with the version that wrote it, or a newer one"));
        }
    }
    let outline = Arc::new(Outline::from_bytes(reader.bytes()?)?);
    let header = reader.bytes()?;
    let payload = Payload { encoding: Encoding::from_code(reader.u8()?)?, bytes: reader.bytes()? };
    let frame = if payload.encoding == Encoding::Delta { Some(frame(&mut reader)?) } else { None };
    if !reader.is_empty() {
        return Err(damaged("has bytes after its end"));
    }
    let record = SnapshotRecord::from_parts(outline, header, payload)?;
    Ok(match frame {
        Some(frame) => record.with_frame(Arc::new(frame)),
        None => record,
    })
}

fn frame(reader: &mut Reader) -> Result<Frame> {
    let mut digest = [0; 32];
    digest.copy_from_slice(&reader.take(32)?);
    let encoding = Encoding::from_code(reader.u8()?)?;
    Frame::new(Digest::from_bytes(digest), Payload { encoding, bytes: reader.bytes()? })
}
