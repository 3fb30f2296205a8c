use std::{future::poll_fn, task::Poll};

use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::Result;

/// How many items are read under one lock.
pub(crate) const PAGE: usize = 256;

/// The items of the pages that `next` gives until it has none; a page may be empty.
///
/// Each page takes the lock anew, and other tasks get their turn between two, so a long listing holds nobody up.
pub(crate) fn pages<T: Send + 'static>(next: impl FnMut() -> Option<Vec<T>> + Send + 'static) -> BoxStream<'static, Result<T>> {
    let pages = stream::unfold((next, true), |(mut next, is_first)| async move {
        if !is_first {
            give_way().await;
        }
        let page = next()?;
        Some((stream::iter(page).map(Ok), (next, false)))
    });
    pages.flatten().boxed()
}

/// Lets other tasks run first.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
