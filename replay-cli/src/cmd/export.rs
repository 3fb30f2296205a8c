use std::{collections::BTreeSet, io::Write, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::TryStreamExt;
use replay::{Digest, Error, ErrorKind, Result, storage::SnapshotQuery};
use serde::Serialize;
use serde_json::Value;

use crate::{app::App, args::ExportArgs, exit::Exit, output::write_all};

/// One line of an export.
#[derive(Debug, Serialize)]
#[serde(tag = "schema")]
enum Line<'a> {
    /// What snapshots refer to, such as the text of the definition.
    #[serde(rename = "replay.export.blob/v1")]
    Blob { digest: Digest, bytes: String },
    /// A snapshot, to be read, and its record as it is stored, to be imported.
    #[serde(rename = "replay.export.snapshot/v1")]
    Snapshot { snapshot: &'a Value, record: String },
}

pub(super) async fn run(app: &App, args: ExportArgs) -> Result<Exit> {
    let store = app.store().await?;
    app.newest(&store, &args.id).await?;
    let mut sink = Sink::open(args.to.as_deref())?;
    let mut seen = BTreeSet::new();
    let mut records = store.snapshots().list(SnapshotQuery::new(args.id.clone()));
    let mut count = 0_u64;
    while let Some(record) = records.try_next().await? {
        for digest in record.external_refs.values().filter_map(|value| value.parse::<Digest>().ok()) {
            if seen.insert(digest)
                && let Ok(blobs) = store.blobs()
                && let Some(bytes) = blobs.get_blob(&digest).await?
            {
                sink.line(&Line::Blob { digest, bytes: BASE64_STANDARD.encode(&bytes) })?;
            }
        }
        let bytes = BASE64_STANDARD.encode(record.to_bytes()?);
        let snapshot =
            serde_json::to_value(record.decode()?).map_err(|error| Error::new(ErrorKind::Internal, "export").caused_by(error))?;
        sink.line(&Line::Snapshot { snapshot: &snapshot, record: bytes })?;
        count += 1;
    }
    sink.finish()?;
    app.output.note(format!("exported {count} snapshots of {}", args.id));
    Ok(Exit::Ok)
}

/// Where lines go: a file that appears only once it is complete, or standard output.
enum Sink<'a> {
    Stdout,
    File { path: &'a Path, file: tempfile::NamedTempFile },
}

impl<'a> Sink<'a> {
    fn open(path: Option<&'a Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(path, error))?;
        Ok(Self::File { path, file })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        let text = serde_json::to_string(line).map_err(|error| Error::new(ErrorKind::Internal, "export").caused_by(error))?;
        match self {
            Self::Stdout => write_all(&(text + "\n")),
            Self::File { path, file } => writeln!(file, "{text}").map_err(|error| unwritable(path, error)),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File { path, file } => file.persist(path).map(drop).map_err(|error| unwritable(path, error.error)),
        }
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::invalid("export", format!("{} cannot be written", path.display())).caused_by(error)
}
