//! Bytes by their digest.

use std::sync::Arc;

use bytes::Bytes;
use replay_core::{Digest, storage::BlobStorage};

use crate::{env::Env, runner::Needs};

cases!("blobs", Needs::Blobs;
    bytes_come_back_by_their_digest,
    what_was_not_put_is_not_there,
    putting_the_same_bytes_again_changes_nothing,
    deleting_says_whether_there_was_anything,
    a_deleted_blob_may_be_put_again,
    what_is_handed_out_has_the_digest_that_was_asked_for,
);

async fn blobs(env: &Env) -> Arc<dyn BlobStorage> {
    env.open().await.blobs().expect("the fixture offers blobs").clone()
}

async fn put(blobs: &Arc<dyn BlobStorage>, bytes: impl Into<Bytes>) -> Digest {
    blobs.put_blob(bytes.into()).await.expect("the put succeeds")
}

async fn get(blobs: &Arc<dyn BlobStorage>, digest: Digest) -> Option<Bytes> {
    blobs.get_blob(&digest).await.expect("the get succeeds")
}

async fn delete(blobs: &Arc<dyn BlobStorage>, digest: Digest) -> bool {
    blobs.delete_blob(&digest).await.expect("the delete succeeds")
}

async fn bytes_come_back_by_their_digest(env: Env) {
    let blobs = blobs(&env).await;
    let all: Vec<Bytes> = vec![Bytes::new(), Bytes::from_static(b"x"), (0..=255).collect(), vec![0; 5].into(), vec![b'y'; 1 << 20].into()];
    for bytes in &all {
        assert_eq!(put(&blobs, bytes.clone()).await, Digest::of(bytes));
    }
    for bytes in &all {
        assert!(get(&blobs, Digest::of(bytes)).await.as_ref() == Some(bytes), "{} bytes differ", bytes.len());
    }
}

async fn what_was_not_put_is_not_there(env: Env) {
    let blobs = blobs(&env).await;
    put(&blobs, "x").await;
    assert_eq!(get(&blobs, Digest::of(b"y")).await, None);
    assert_eq!(get(&blobs, Digest::ZERO).await, None);
}

async fn putting_the_same_bytes_again_changes_nothing(env: Env) {
    let blobs = blobs(&env).await;
    let digest = put(&blobs, "x").await;
    assert_eq!(put(&blobs, "x").await, digest);
    assert!(delete(&blobs, digest).await);
    assert_eq!(get(&blobs, digest).await, None, "one delete removes it, however often it was put");
}

async fn deleting_says_whether_there_was_anything(env: Env) {
    let blobs = blobs(&env).await;
    let (x, y) = (put(&blobs, "x").await, put(&blobs, "y").await);
    assert!(delete(&blobs, x).await);
    assert!(!delete(&blobs, x).await);
    assert!(!delete(&blobs, Digest::ZERO).await);
    assert_eq!(get(&blobs, x).await, None);
    assert_eq!(get(&blobs, y).await, Some(Bytes::from_static(b"y")));
}

async fn a_deleted_blob_may_be_put_again(env: Env) {
    let blobs = blobs(&env).await;
    let digest = put(&blobs, "x").await;
    delete(&blobs, digest).await;
    put(&blobs, "x").await;
    assert_eq!(get(&blobs, digest).await, Some(Bytes::from_static(b"x")));
}

async fn what_is_handed_out_has_the_digest_that_was_asked_for(env: Env) {
    let blobs = blobs(&env).await;
    for n in 0..50_u32 {
        let digest = put(&blobs, format!("blob {n}").into_bytes()).await;
        let bytes = get(&blobs, digest).await.expect("it was just put");
        assert_eq!(Digest::of(&bytes), digest);
    }
}
