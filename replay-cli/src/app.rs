//! What every command has at hand.

use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use replay::{
    Backends, Clock, Error, IdSource, Result, SagaId, Snapshot, SnapshotRecord, Store, SystemClock,
    saga::{Observer, Registry, Runner},
    storage::{At, StoreUrl},
};

use crate::{
    args::Global,
    config::Settings,
    exit::Exit,
    output::Output,
    source::Definitions,
    time::{self, Instant},
};

/// Settings, output and what sagas are known.
#[derive(Debug)]
pub(crate) struct App {
    /// The command's name, for hints.
    pub(crate) name: &'static str,
    /// The command line's definition, for completions and the manual.
    pub(crate) command: clap::Command,
    pub(crate) registry: Registry,
    pub(crate) backends: Backends,
    pub(crate) settings: Settings,
    pub(crate) output: Output,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<IdSource>,
}

impl App {
    pub(crate) fn new(
        name: &'static str,
        command: clap::Command,
        registry: Registry,
        backends: Backends,
        global: &Global,
    ) -> Result<Self, (Output, Error)> {
        let output = Output::new(global.output, global.color, global.quiet);
        match Settings::load(global) {
            Ok(settings) => {
                let (clock, ids) = (Arc::new(SystemClock), Arc::default());
                Ok(Self { name, command, registry, backends, settings, output, clock, ids })
            }
            Err(error) => Err((output, error)),
        }
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub(crate) fn with_store(&self, global: &Global) -> Result<Self> {
        Ok(Self {
            name: self.name,
            command: self.command.clone(),
            registry: self.registry.clone(),
            backends: self.backends.clone(),
            settings: Settings::load(global)?,
            output: self.output.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        })
    }

    /// Opens the store, which must be there unless it is the one by default: a mistyped path makes no file.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none, else the backend's own.
    pub(crate) async fn store(&self) -> Result<Store> {
        if self.uses_own_store() {
            return self.store_or_new().await;
        }
        let url = &self.settings.storage_url;
        let opened = self.backends.open_existing(&self.settings.full_url()?).await;
        opened.map_err(|error| error.with("from", &url.source))
    }

    /// Whether the store is in the user's own folder, or in memory, because no place was named.
    fn uses_own_store(&self) -> bool {
        let url = &self.settings.storage_url;
        let is_own = url.value.starts_with("sqlite:") || url.value.starts_with("memory:");
        is_own && matches!(url.source.as_str(), "default" | "--storage")
    }

    /// Opens the store, and makes it where it can be made.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub(crate) async fn store_or_new(&self) -> Result<Store> {
        let url = &self.settings.storage_url;
        if self.uses_own_store()
            && url.value.starts_with("sqlite:")
            && let Some(folder) = &self.settings.data_dir
        {
            std::fs::create_dir_all(folder).map_err(|error| {
                Error::new(replay::ErrorKind::Unavailable, "open store")
                    .message(format!("the folder {} cannot be made", folder.display()))
                    .hint("give another place with --storage-url sqlite:path/to/file.db")
                    .caused_by(error)
            })?;
        }
        self.backends.open(&self.settings.full_url()?).await.map_err(|error| error.with("from", &url.source))
    }

    /// The store's URL without its secrets.
    pub(crate) fn shown_url(&self) -> String {
        StoreUrl::parse(&self.settings.storage_url.value).map_or_else(|_| "not a URL".to_owned(), |url| url.to_string())
    }

    /// A runner on `store` that tells `observer` what it does.
    pub(crate) fn runner(&self, store: &Store, observer: Option<Arc<dyn Observer>>) -> Runner {
        let builder = Runner::builder(store.clone()).clock(self.clock.clone()).ids(self.ids.clone());
        match observer {
            Some(observer) => builder.observer(observer).build(),
            None => builder.build(),
        }
    }

    /// Where the definitions of recorded sagas come from; `file` is a newer one.
    ///
    /// # Errors
    /// As [`SagaFile::read`](crate::saga_file::SagaFile::read).
    pub(crate) fn definitions(&self, store: &Store, file: Option<&PathBuf>, runnable: bool) -> Result<Definitions> {
        Definitions::new(self.registry.clone(), store.clone(), file.map(PathBuf::as_path), runnable)
    }

    /// The current instant.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Takes an instant as people type it, and says so where UTC was assumed.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub(crate) fn instant(&self, text: &str) -> Result<DateTime<Utc>> {
        let Instant { at, assumed_utc } = time::parse_instant(text, self.now())?;
        if assumed_utc {
            self.output.note(format!("note: `{text}` has no time zone; taken as {}", time::show(at)));
        }
        Ok(at)
    }

    /// The snapshot of `saga` at a position.
    ///
    /// # Errors
    /// `NotFound` if there is no such saga or no snapshot there.
    pub(crate) async fn snapshot(&self, store: &Store, saga: &SagaId, at: At) -> Result<Snapshot> {
        if let Some(record) = store.snapshots().load(saga, at.clone()).await? {
            return record.decode();
        }
        let newest = self.newest(store, saga).await?;
        let message = match at {
            At::Sequence(n) => format!("it has no snapshot {n}; the newest is {}", newest.sequence),
            At::Time(at) => format!("it had not begun at {}", time::show(at)),
            _ => "it has no such snapshot".to_owned(),
        };
        Err(Error::new(replay::ErrorKind::NotFound, "find snapshot").message(message).with("saga", saga))
    }

    /// The newest record of `saga`.
    ///
    /// # Errors
    /// `NotFound` if there is no such saga.
    pub(crate) async fn newest(&self, store: &Store, saga: &SagaId) -> Result<SnapshotRecord> {
        let record = store.snapshots().load(saga, At::Latest).await?;
        record.ok_or_else(|| Error::new(replay::ErrorKind::NotFound, "find saga").message("there is no such saga").with("saga", saga))
    }

    /// On whose behalf: `given`, else the user's name.
    pub(crate) fn actor(given: Option<&str>) -> Option<Arc<str>> {
        let user = || ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok()).filter(|name| !name.is_empty());
        given.map(str::to_owned).or_else(user).map(Arc::from)
    }

    /// Prints an error with what to do next, and gives its exit code.
    pub(crate) async fn fail(&self, error: &Error) -> Exit {
        let next = crate::next::after_error(self, error).await;
        self.output.error(error, next.as_deref());
        Exit::of_error(error.kind())
    }
}
