//! How a store is opened.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use replay_core::{Clock, Compression, Encoder, Error, ErrorKind, Namespace, Result, SystemClock, storage::StoreUrl};
use tokio::runtime::Handle;

use crate::{
    connect, error,
    readers::Readers,
    store::{Shared, Sqlite},
    writer::Writer,
};

const OPERATION: &str = "open store";

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: every commit waits until the disk has it.
    #[default]
    Full,
    /// kill -9 of the process. Loss of power may take the last commits; the file stays sound.
    Normal,
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            _ => Err(Error::invalid(OPERATION, format!("`{word}` is not a durability")).hint("write durability=full or durability=normal")),
        }
    }
}

/// Opens a [`Sqlite`] store; made by [`Sqlite::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteBuilder {
    path: PathBuf,
    namespace: Namespace,
    durability: Durability,
    busy_timeout: Duration,
    clock: Arc<dyn Clock>,
    read_only: bool,
    create: bool,
    compression: Compression,
}

impl SqliteBuilder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            namespace: Namespace::default(),
            durability: Durability::default(),
            busy_timeout: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
            read_only: false,
            create: true,
            compression: Compression::ZSTD,
        }
    }

    /// A builder from `sqlite:path?durability=full|normal&namespace=x&busy_timeout_ms=5000&compression=zstd|off&read_only=true&create=false`.
    pub(crate) fn from_url(mut url: StoreUrl) -> Result<Self> {
        if url.scheme() != "sqlite" {
            return Err(Error::invalid(OPERATION, format!("`{}` is not the scheme of a SQLite store", url.scheme()))
                .hint("write sqlite:path/to/file.db"));
        }
        let rest = url.rest();
        let path = decode_path(rest.strip_prefix("//").unwrap_or(rest))?;
        let mut builder = Self::new(path).namespace(url.take_namespace()?).create(!url.must_exist());
        if let Some(word) = url.take("durability") {
            builder = builder.durability(word.parse()?);
        }
        if let Some(word) = url.take("busy_timeout_ms") {
            let wrong = |_| Error::invalid(OPERATION, format!("busy_timeout_ms is not a number: `{word}`")).hint("give whole milliseconds");
            builder = builder.busy_timeout(Duration::from_millis(u64::from(word.parse::<u32>().map_err(wrong)?)));
        }
        if let Some(word) = url.take("read_only") {
            let wrong = |_| Error::invalid(OPERATION, format!("read_only is neither true nor false: `{word}`"));
            builder = builder.read_only(word.parse().map_err(wrong)?);
        }
        if let Some(word) = url.take("create") {
            let wrong = |_| Error::invalid(OPERATION, format!("create is neither true nor false: `{word}`"));
            builder = builder.create(word.parse().map_err(wrong)?);
        }
        if let Some(compression) = url.take_compression()? {
            builder = builder.compression(compression);
        }
        url.finish()?;
        Ok(builder)
    }

    /// Sets the namespace that the store sees; by default `default`.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets what an acknowledged write survives; by default [`Durability::Full`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long a call waits for another process that holds the file's lock; by default 5 s.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets the clock that cells expire by and log entries are stamped with; by default the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets whether the file is only read. It must hold a store, and writes are refused.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets whether a file that is not there, or holds nothing yet, becomes a store; by default it does.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets how contexts are encoded; by default with [`Compression::ZSTD`]. Without compression, SQL can look into them. Records
    /// that are there already stay as they are and readable.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Opens the file, and makes it and its tables if they are not there.
    ///
    /// # Errors
    /// - `Invalid`: an empty path, a folder, a file that is no SQLite database or that of another program.
    /// - `NewerVersion`: a later version of replay made the tables.
    /// - `PermissionDenied`: the file or its folder may not be read or written.
    /// - `Unavailable`: the folder does not exist, or the file does not and is not to be made, or another process held the file's lock for too long.
    /// - `StoreFull`, `Integrity`: no room for the tables; the file is damaged.
    pub async fn open(self) -> Result<Sqlite> {
        check_path(&self.path)?;
        let Ok(runtime) = Handle::try_current() else { return self.open_here() };
        let opened = runtime.spawn_blocking(move || self.open_here()).await;
        opened.unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, OPERATION).message("opening did not end").caused_by(e)))
    }

    fn open_here(self) -> Result<Sqlite> {
        // Readers open later, when the working folder may be another one.
        let path = std::path::absolute(&self.path)
            .map_err(|e| Error::new(ErrorKind::Unavailable, OPERATION).message("the path cannot be made absolute").caused_by(e))?;
        let writer = if self.read_only {
            connect::check_readable(&path, self.busy_timeout)?;
            None
        } else {
            let connection = connect::writer(&path, self.durability, self.busy_timeout, self.create)?;
            Some(Writer::new(connection, self.busy_timeout).map_err(error::during(OPERATION))?)
        };
        let readers = Readers::new(&path, self.busy_timeout);
        Ok(Sqlite::from_shared(Shared::new(self.path, self.namespace, self.clock, writer, readers, Encoder::new(self.compression))))
    }
}

fn check_path(path: &Path) -> Result<()> {
    let hint = "give the path of the database file, as in orders.db";
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(OPERATION, "the path is empty").hint(hint));
    }
    if path.as_os_str() == ":memory:" {
        return Err(Error::invalid(OPERATION, "a SQLite store is a file").hint("for a store in memory use `memory:`"));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::invalid(OPERATION, "the path has a NUL byte").hint(hint));
    }
    Ok(())
}

/// Decodes `%XX`; a `%` that begins no such pair stands for itself, since file names have it too.
fn decode_path(text: &str) -> Result<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let [first, tail @ ..] = rest {
        let pair = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, after) = match pair {
            Some((high, low)) => (high << 4 | low, &tail[2..]),
            None => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::invalid(OPERATION, "the path is not UTF-8 once it is decoded"))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> PathBuf {
        SqliteBuilder::from_url(StoreUrl::parse(url).unwrap()).unwrap().path
    }

    #[test]
    fn the_path_of_a_url_may_be_relative_absolute_and_encoded() {
        for (url, expected) in [
            ("sqlite:orders.db", "orders.db"),
            ("sqlite:a/b.db", "a/b.db"),
            ("sqlite:/srv/a.db", "/srv/a.db"),
            ("sqlite:///srv/a.db", "/srv/a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:a%20b%3Fc.db", "a b?c.db"),
            ("sqlite:100%.db", "100%.db"),
        ] {
            assert_eq!(path(url), PathBuf::from(expected), "{url}");
        }
    }

    #[test]
    fn options_of_a_url_are_taken_and_wrong_ones_named() {
        let url = StoreUrl::parse("sqlite:x?durability=normal&busy_timeout_ms=20&namespace=eu&read_only=true").unwrap();
        let builder = SqliteBuilder::from_url(url).unwrap();
        assert_eq!((builder.durability, builder.busy_timeout, builder.read_only), (Durability::Normal, Duration::from_millis(20), true));
        assert_eq!(builder.namespace.as_str(), "eu");
        for wrong in ["sqlite:x?durability=fast", "sqlite:x?busy_timeout_ms=-1", "sqlite:x?sync=1", "sqlite:x?read_only=1", "redis:x"] {
            let error = SqliteBuilder::from_url(StoreUrl::parse(wrong).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
        }
    }
}
