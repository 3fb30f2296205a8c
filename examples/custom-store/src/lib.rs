//! A complete store of one's own: a journal in one file, with an index in memory. The guide `docs/guide/write-your-own-store.md`
//! walks through it.

mod file;
mod index;

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use parking_lot::Mutex;
use replay_core::{
    Digest, Error, ErrorKind, Namespace, Result, SagaId, SnapshotRecord, Store,
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

use file::Journal;
use index::{Change, Index};

/// A handle on the journal of one namespace. Several handles, also of several processes, may use one folder.
#[derive(Debug)]
pub struct JournalStore {
    name: String,
    state: Arc<Mutex<(Journal, Index)>>,
}

impl JournalStore {
    /// Opens the store in `folder`. Each namespace has a file of its own, named by its digest: nothing that a user chooses becomes a path.
    ///
    /// # Errors
    /// `PermissionDenied` or `Unavailable` if the file cannot be opened.
    pub fn open(folder: &Path, namespace: Namespace) -> Result<Store> {
        let path = folder.join(format!("{}.journal", Digest::of(namespace.as_str().as_bytes())));
        let state = Arc::new(Mutex::new((Journal::open(&path)?, Index::default())));
        Ok(Store::new(namespace, Arc::new(Self { name: format!("journal({})", folder.display()), state })))
    }
}

/// Runs `work` on a thread that may block, with the file locked and the index up to date. What it changes is written before it counts.
async fn run<T: Send + 'static>(
    state: Arc<Mutex<(Journal, Index)>>,
    work: impl FnOnce(&Index) -> Result<(Vec<Change>, T)> + Send + 'static,
) -> Result<T> {
    let job = tokio::task::spawn_blocking(move || {
        let (journal, index) = &mut *state.lock();
        journal.locked(|journal| {
            for item in journal.new_items()? {
                index.apply(Change::from_bytes(item)?);
            }
            let (changes, answer) = work(index)?;
            if !changes.is_empty() {
                journal.write(&changes.iter().map(Change::to_bytes).collect::<Result<Vec<_>>>()?)?;
            }
            for change in changes {
                index.apply(change);
            }
            Ok(answer)
        })
    });
    job.await.map_err(|e| Error::new(ErrorKind::Internal, "use store").caused_by(e))?
}

/// The items of pages, each read when the one before it was used up.
fn pages<Q: Clone + Send + 'static, T: Send + 'static>(
    state: &Arc<Mutex<(Journal, Index)>>,
    query: Q,
    page: fn(&Index, &mut Q) -> Vec<T>,
) -> BoxStream<'static, Result<T>> {
    let pages = stream::try_unfold((state.clone(), query), move |(state, mut query)| async move {
        let (items, query) = run(state.clone(), move |index| Ok((Vec::new(), (page(index, &mut query), query)))).await?;
        Ok::<_, Error>((!items.is_empty()).then_some((stream::iter(items).map(Ok), (state, query))))
    });
    pages.try_flatten().boxed()
}

#[async_trait]
impl SnapshotStorage for JournalStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_durable(true).with_shared(true)
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        run(self.state.clone(), move |index| Ok((index.append(records)?, ()))).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        let saga = saga.clone();
        run(self.state.clone(), move |index| Ok((Vec::new(), index.load(&saga, &at)?))).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        pages(&self.state, query, Index::records)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        pages(&self.state, query, Index::heads)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        run(self.state.clone(), move |index| {
            let (report, changes) = index.prune(&request)?;
            Ok((if request.dry_run { Vec::new() } else { changes }, report))
        })
        .await
    }
}

impl fmt::Display for JournalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
