//! Listings, read a page at a time, with nothing held in between.

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_core::{Error, Result};

/// Items of one page, and where the next one begins; none = there is no other.
pub(crate) type Page<T, P> = (Vec<T>, Option<P>);

/// What `read` gives for each place, from `start` on, as one stream. An error ends it.
pub(crate) fn pages<T, P, F, Fut>(start: Option<P>, read: F) -> BoxStream<'static, Result<T>>
where
    T: Send + 'static,
    P: Send + 'static,
    F: Fn(P) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Page<T, P>>> + Send + 'static,
{
    let read = std::sync::Arc::new(read);
    let pages = stream::try_unfold(start, move |place| {
        let read = read.clone();
        async move {
            let Some(place) = place else { return Ok::<_, Error>(None) };
            let (items, next) = read(place).await?;
            Ok(Some((stream::iter(items.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
