//! Where the definitions of recorded sagas come from: Rust sagas that were registered, a file that was given, or the text that was
//! stored when the saga was started.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use replay::{
    Digest, Error, ErrorKind, Result, SnapshotMeta, Store,
    saga::{AnySaga, Registry, SagaSource},
};

use crate::saga_file::SagaFile;

/// Under which names a saga's snapshots refer to the text of its definition, and to the folder its commands are relative to.
const DEFINITION: &str = "definition";
const DEFINITION_DIR: &str = "definition_dir";

/// Definitions for sagas that exist already.
#[derive(Debug)]
pub(crate) struct Definitions {
    registry: Registry,
    store: Store,
    file: Option<SagaFile>,
    /// Whether sagas are to run, so that secrets and commands must be there.
    runnable: bool,
}

impl Definitions {
    pub(crate) fn new(registry: Registry, store: Store, file: Option<&Path>, runnable: bool) -> Result<Self> {
        let file = file.map(read).transpose()?;
        Ok(Self { registry, store, file, runnable })
    }

    /// The newer file that was given.
    pub(crate) fn file(&self) -> Option<&SagaFile> {
        self.file.as_ref()
    }

    fn saga(&self, file: &SagaFile) -> Result<Arc<dyn AnySaga>> {
        if self.runnable { file.runnable() } else { file.outline_only() }
    }

    /// The definition that `snapshot` was made with.
    ///
    /// # Errors
    /// `NotFound` if it is known neither here nor in the store.
    pub(crate) async fn require(&self, snapshot: &SnapshotMeta) -> Result<Arc<dyn AnySaga>> {
        self.find(snapshot).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find definition")
                .message(format!("the definition of saga `{}` version `{}` is not known", snapshot.saga_name(), snapshot.saga_version()))
                .hint("give its file with --file, or use the command that it was registered with")
        })
    }

    async fn recorded(&self, snapshot: &SnapshotMeta) -> Result<Option<SagaFile>> {
        let Some(digest) = snapshot.external_refs.get(DEFINITION) else { return Ok(None) };
        let digest: Digest = digest.parse()?;
        let Some(bytes) = self.store.blobs()?.get_blob(&digest).await? else {
            return Err(Error::new(ErrorKind::NotFound, "find definition")
                .message("the text of its definition is not in the store")
                .hint("give the file with --file; an import brings it only with --trust-definition")
                .with("digest", digest));
        };
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|error| Error::new(ErrorKind::Integrity, "find definition").message("its definition is not text").caused_by(error))?;
        let dir = snapshot.external_refs.get(DEFINITION_DIR).map_or_else(|| PathBuf::from("."), PathBuf::from);
        let name = format!("recorded definition {digest:.12}");
        SagaFile::parse(&name, text, dir).map(Some)
    }
}

#[async_trait]
impl SagaSource for Definitions {
    async fn find(&self, snapshot: &SnapshotMeta) -> Result<Option<Arc<dyn AnySaga>>> {
        if let Some(file) = &self.file {
            return self.saga(file).map(Some);
        }
        if let Some(saga) = self.registry.get(snapshot.saga_name(), snapshot.saga_version()) {
            return Ok(Some(saga.clone()));
        }
        self.recorded(snapshot).await?.map(|file| self.saga(&file)).transpose()
    }
}

/// Reads the saga file that was typed.
///
/// # Errors
/// `Invalid` if there is none or it is wrong.
pub(crate) fn read(path: &Path) -> Result<SagaFile> {
    SagaFile::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::invalid("read saga file", format!("{} cannot be read", path.display())).caused_by(error),
        _ => error,
    })
}

/// Keeps the text of `file` and gives what a saga's snapshots refer to it by.
///
/// # Errors
/// `Unsupported` if the store keeps no blobs, or its own.
pub(crate) async fn record(store: &Store, file: &SagaFile) -> Result<BTreeMap<String, String>> {
    let digest = store.blobs()?.put_blob(file.text().as_bytes().to_vec().into()).await?;
    Ok([(DEFINITION.to_owned(), digest.to_string()), (DEFINITION_DIR.to_owned(), file.dir().display().to_string())].into())
}
