use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery};
use crate::{Result, SagaId, SnapshotRecord};

/// Keeps the histories of sagas.
///
/// A handle sees one namespace. `Display` names the store without its secrets, as in `sqlite(orders.db)`.
///
/// # Rules
/// 1. **Compare-and-append is the fence.** Of two runners that append the same sequence of one saga, one gets `Conflict`.
/// 2. An acknowledged append survives kill -9 of the client, and of the server as far as the store documents.
/// 3. The head of a saga, as [`sagas`](Self::sagas) shows it, changes in the same atomic act as its history.
/// 4. Deleting or expiring any record never makes another unreadable.
/// 5. An outcome that is unknown is reported as [`Retry::Ambiguous`](crate::Retry::Ambiguous).
/// 6. Reads take no lock that blocks writers for the length of a listing.
/// 7. Nothing that a user supplies becomes SQL, a path, a script or a key pattern.
///
/// # Payloads
/// A store may encode the contexts that it is given as it likes, as long as the records that it returns decode to the same text;
/// [`Encoder`](crate::Encoder) chooses an encoding. A record that is appended may come encoded, and with the
/// [frame](crate::SnapshotRecord::frame) that its payload is a change of, as when it is copied from another store. There are two ways:
/// - **With frames.** What `Encoder::encode` gives is stored, and its frame is put in the same atomic act unless the store has that frame
///   for that saga already. Records are returned with their frame. A frame goes in the same atomic act as the last record that
///   refers to it.
/// - **Without.** What `Encoder::encode_alone` gives is stored, or the payload of
///   [`standing_alone`](crate::SnapshotRecord::standing_alone).
#[async_trait]
pub trait SnapshotStorage: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Appends records, which may be of several sagas; those of one saga are in order of their sequence.
    ///
    /// Per saga all are stored or none, and only if each sequence is the next one (1 for a saga that does not exist)
    /// and each record but the saga's first names the digest of the one before it, so that a runner of a history that was deleted
    /// cannot write to another one with its id; see [`check_next`](super::check_next).
    /// A [`Remnant`](crate::Remnant) is stored after the record that it names instead, whatever hole pruning has left between the two, or
    /// as the first record of a saga that does not exist, which then [started](SagaSummary::started_at) when it says.
    /// Records of several sagas may be mixed. A record that is already stored with the same digest counts as appended, so that an
    /// ambiguous append may be repeated; one that was stored and pruned is a `Conflict`. An empty list does nothing.
    ///
    /// # Errors
    /// - `Conflict` with the facts `saga`, `sequence` (that was refused) and `expected` (the next one): another record has that
    ///   sequence, it leaves a gap, or it does not follow the newest record. Records of other sagas in the same call may have been stored.
    /// - `Invalid`: a record was read without its payload.
    /// - `Unavailable`, `StoreFull`, `PermissionDenied`, `Timeout`: nothing was stored, unless the retry advice is `Ambiguous`.
    ///
    /// # Cancel safety
    /// A dropped future may or may not have appended; repeating the call resolves it.
    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()>;

    /// The record of `saga` at a position, or none. Expired records that were not pruned yet are given like others.
    ///
    /// # Errors
    /// `Integrity` if the record is damaged, `NewerVersion` if a later version wrote it, or the store's own.
    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>>;

    /// One saga's records in order of their sequence, read as the stream is polled. A saga that does not exist has none.
    /// Records that are appended while it runs may or may not be in it; there is never a gap.
    ///
    /// A query without payloads gives every record [without its payload](SnapshotRecord::from_header), and the store does not read it
    /// where it can help it.
    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>>;

    /// The heads of sagas that match, the latest started first, ties by descending id (bytewise). Start times and ids never
    /// change, so paging with a cursor shows each saga that exists throughout exactly once.
    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>>;

    /// Removes records within the request's scope, of each saga the oldest first, at most `limit` of them.
    ///
    /// Never removed but by deleting the whole saga: the newest record of a saga while it has others, and the newest record
    /// and the newest checkpoint of a saga that has not ended. A saga whose last record goes is gone, its head too, and its id may
    /// be used anew. What does not exist, or is kept by these rules, is not counted; it is no error.
    async fn prune(&self, request: PruneRequest) -> Result<PruneReport>;
}
