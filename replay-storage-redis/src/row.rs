//! Records as values and back.
//!
//! A value is a version byte, the encoding's code, the first half of the definition's fingerprint, the header's length in 4 bytes, the
//! header, and the payload.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::RwLock;
use replay_core::{Encoding, Error, ErrorKind, Outline, Payload, Result, SagaId, SnapshotId, SnapshotRecord};

use crate::{error::damaged, head};

const VERSION: u8 = 1;
const HEADER_AT: usize = 22;

/// Beyond this many outlines the memory is emptied: it only saves reads.
const REMEMBERED: usize = 1024;

/// The value that keeps `record`.
///
/// # Errors
/// `Invalid` if the record was read without its payload.
pub(crate) fn write(record: &SnapshotRecord) -> Result<Vec<u8>> {
    let (payload, header) = (record.payload()?, record.header());
    let mut value = Vec::with_capacity(HEADER_AT + header.len() + payload.bytes.len());
    value.extend_from_slice(&[VERSION, payload.encoding.code()]);
    value.extend_from_slice(&head::definition(&record.fingerprint()));
    value.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes());
    value.extend_from_slice(header);
    value.extend_from_slice(&payload.bytes);
    Ok(value)
}

/// A value taken apart.
#[derive(Debug)]
pub(crate) struct Row {
    encoding: u8,
    pub(crate) definition: [u8; 16],
    pub(crate) header: Bytes,
    payload: Bytes,
}

impl Row {
    /// Takes apart what [`write`] made, or the front of it, which has the header.
    ///
    /// # Errors
    /// `NewerVersion` if a later version wrote it, `Integrity` if it is damaged.
    pub(crate) fn read(value: Vec<u8>) -> Result<Self> {
        let value = Bytes::from(value);
        match value.first() {
            Some(&VERSION) => {}
            Some(version) => {
                return Err(Error::new(ErrorKind::NewerVersion, "read")
                    .message(format!("values of version {version} are not known to this version"))
                    .hint("read it with the version that wrote it, or a newer one"));
            }
            None => return Err(damaged("read", "a record is empty")),
        }
        let cut = || damaged("read", "a record is cut short");
        let (front, _) = value.split_first_chunk::<HEADER_AT>().ok_or_else(cut)?;
        let mut definition = [0; 16];
        definition.copy_from_slice(&front[2..18]);
        let len = u32::from_be_bytes([front[18], front[19], front[20], front[21]]);
        let end = usize::try_from(len).ok().and_then(|len| len.checked_add(HEADER_AT)).filter(|end| *end <= value.len()).ok_or_else(cut)?;
        Ok(Self { encoding: front[1], definition, header: value.slice(HEADER_AT..end), payload: value.slice(end..) })
    }

    /// Puts the record together and checks that it is of `saga`; without its payload if that was not asked for.
    pub(crate) fn into_record(self, saga: &SagaId, sequence: u64, outline: Arc<Outline>, payload: bool) -> Result<SnapshotRecord> {
        let name = |error: Error| error.with("snapshot", format_args!("{saga}@{sequence}"));
        let record = if payload {
            let payload = Payload { encoding: Encoding::from_code(self.encoding).map_err(name)?, bytes: self.payload };
            SnapshotRecord::from_parts(outline, self.header, payload)
        } else {
            SnapshotRecord::from_header(outline, self.header)
        };
        let record = record.map_err(name)?;
        // A sequence of 0 stands for one that is not known beforehand.
        if record.saga_id != *saga || (sequence != 0 && record.sequence != sequence) {
            let found = SnapshotId { saga_id: record.saga_id.clone(), sequence: record.sequence };
            return Err(name(damaged("read", format!("the key holds another record, {found}"))));
        }
        Ok(record)
    }
}

/// Outlines by the half of their fingerprint that they are kept under. They are what their name says, wherever they were read.
#[derive(Debug, Default)]
pub(crate) struct Outlines(RwLock<HashMap<[u8; 16], Arc<Outline>>>);

impl Outlines {
    pub(crate) fn get(&self, definition: [u8; 16]) -> Option<Arc<Outline>> {
        self.0.read().get(&definition).cloned()
    }

    /// Takes an outline that was read.
    ///
    /// # Errors
    /// `Integrity` if it is not one, or not this one.
    pub(crate) fn take(&self, definition: [u8; 16], bytes: Bytes) -> Result<Arc<Outline>> {
        let outline = Arc::new(Outline::from_bytes(bytes)?);
        if head::definition(&outline.fingerprint()) != definition {
            return Err(damaged("read", "a definition is kept under the name of another one"));
        }
        let mut known = self.0.write();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(definition, outline.clone());
        Ok(outline)
    }
}
