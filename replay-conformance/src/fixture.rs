use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};

/// How the kit gets at a store.
///
/// A value of a fixture is one place where a store keeps its data: a temporary folder, a schema, a bucket prefix. Each case gets a
/// place of its own and drops it at its end, so a place cleans up when it is dropped.
pub trait Fixture: Sized + Send + Sync + 'static {
    /// What the store's cases are listed under.
    const NAME: &'static str;

    /// Which traits the store implements beside `SnapshotStorage`; by default all.
    ///
    /// The cases of a trait that it lacks are not made. One case checks that the handle has what is offered here, and refuses the rest
    /// with `Unsupported`.
    const OFFERS: Offers = Offers::ALL;

    /// By what the sizes of the largest cases are divided: 1, but for a store to which each record costs a request of its own, so that
    /// the cases end within minutes.
    const SMALLER_BY: usize = 1;

    /// What the store says it can do. Pinned here, so that a change does not go unseen.
    fn capabilities() -> Capabilities;

    /// Makes a place that holds nothing yet. Every handle on it takes its time from `clock`.
    fn create(clock: ManualClock) -> impl Future<Output = Result<Self>> + Send;

    /// Opens a handle on this place, for one namespace. If the store is durable, each call opens it anew, as another process would.
    fn open(&self, namespace: Namespace) -> impl Future<Output = Result<Store>> + Send;
}

/// Which traits a store implements beside `SnapshotStorage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// Whether it implements `LogStorage`.
    pub logs: bool,
    /// Whether it implements `CellStorage`.
    pub cells: bool,
    /// Whether it implements `BlobStorage`.
    pub blobs: bool,
}

impl Offers {
    /// All of them.
    pub const ALL: Self = Self { logs: true, cells: true, blobs: true };
    /// None: sagas, replay and time travel only.
    pub const SNAPSHOTS: Self = Self { logs: false, cells: false, blobs: false };
}
