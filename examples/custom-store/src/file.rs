//! The journal's file: entries one after the other, each with its length and a checksum, and each of items.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use bytes::{Buf, Bytes};
use replay_core::{Digest, Error, ErrorKind, Result, Retry};

/// Length (4 bytes) and checksum (8 bytes) before each entry.
const PREFIX: usize = 12;

#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// Up to where the file was read; every entry before it is whole.
    offset: u64,
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(|e| failed("open store", e))?;
        Ok(Self { file, offset: 0 })
    }

    /// Runs `work` while every other handle is kept out, of this process and of others.
    pub(crate) fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.file.lock().map_err(|e| failed("lock store", e))?;
        let result = work(self);
        self.file.unlock().map_err(|e| failed("unlock store", e))?;
        result
    }

    /// The items of the entries that were added since the last call.
    pub(crate) fn new_items(&mut self) -> Result<Vec<Bytes>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.offset)).map_err(|e| failed("read store", e))?;
        self.file.read_to_end(&mut bytes).map_err(|e| failed("read store", e))?;
        let (mut rest, mut items) = (Bytes::from(bytes), Vec::new());
        while let Some(mut entry) = self.first_entry(&rest)? {
            let size = PREFIX + entry.len();
            rest = rest.slice(size..);
            self.offset += size as u64;
            while let Ok(len) = entry.try_get_u32() {
                items.push(entry.split_to(len as usize));
            }
        }
        Ok(items)
    }

    /// The entry that `rest` begins with. None for one that a writer did not finish: it was never acknowledged, and the next writer
    /// cuts it off. Damage that is not at the end is no torn write, and never cut off.
    fn first_entry(&self, rest: &Bytes) -> Result<Option<Bytes>> {
        let Some((prefix, after)) = rest.split_at_checked(PREFIX) else { return Ok(None) };
        let (len, checksum) = prefix.split_at(4);
        let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let Some(body) = after.get(..len) else { return Ok(None) };
        if Digest::of(body).as_bytes()[..8] == *checksum {
            return Ok(Some(rest.slice(PREFIX..PREFIX + len)));
        }
        if after.len() == len || after.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::Integrity, "read store").message("an entry fails its checksum").with("offset", self.offset))
    }

    /// Writes all items as one entry, so that a crash leaves all of them or none, and waits until the disk has it.
    pub(crate) fn write(&mut self, items: &[Vec<u8>]) -> Result<()> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Error::new(ErrorKind::LimitExceeded, "write store"));
        let mut entry = Vec::new();
        for item in items {
            entry.extend(len(item)?.to_be_bytes());
            entry.extend(item);
        }
        let bytes = [&len(&entry)?.to_be_bytes(), &Digest::of(&entry).as_bytes()[..8], &entry].concat();
        let cut = |file: &File, offset| file.set_len(offset).map_err(|e| failed("write store", e));
        cut(&self.file, self.offset)?;
        if let Err(error) = self.file.write_all(&bytes) {
            cut(&self.file, self.offset)?;
            return Err(failed("write store", error));
        }
        // After a failed sync nobody knows what the disk has. The same append again finds out.
        self.file.sync_data().map_err(|e| failed("write store", e).retry(Retry::Ambiguous))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn failed(operation: &'static str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StoreFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation).caused_by(error)
}
