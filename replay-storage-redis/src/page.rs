//! Streams that are read a page at a time.

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_core::Result;

/// The items of pages: `read` gives the next page and the state after it, until there is none.
pub(crate) fn pages<S, T, F, Fut>(state: S, read: F) -> BoxStream<'static, Result<T>>
where
    S: Send + 'static,
    T: Send + 'static,
    F: FnMut(S) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Option<(Vec<T>, S)>>> + Send + 'static,
{
    let items = |page: Vec<T>| stream::iter(page.into_iter().map(Ok));
    stream::try_unfold(state, read).map_ok(items).try_flatten().boxed()
}
