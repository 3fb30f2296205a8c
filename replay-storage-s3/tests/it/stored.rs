//! What is stored: keys, large blobs, damage, and what two lives of one saga share.

use bytes::Bytes;
use futures::TryStreamExt;
use replay_conformance::records::{Chain, saga};
use replay_core::{
    Digest, ErrorKind,
    storage::{At, PruneRequest, PruneScope, SagaQuery, SnapshotQuery},
};

use crate::{
    place::Place,
    support::{Behind, FIRST, SECOND, append, history, ids},
};

#[tokio::test]
async fn a_large_blob_goes_in_parts_and_comes_back_whole() {
    for variable in [FIRST, SECOND] {
        let behind = Behind::proxy(variable).await;
        let store = behind.open().await;
        let bytes: Bytes = (0..17 << 20).map(|n: u32| u8::try_from(n % 251).expect("small")).collect();
        let blobs = store.blobs().expect("blobs");
        let digest = blobs.put_blob(bytes.clone()).await.expect("a put");
        let parts = behind.proxy.take_seen().iter().filter(|seen| seen.path.contains("partNumber")).count();
        assert_eq!(parts, 3);
        assert!(blobs.get_blob(&digest).await.expect("a get") == Some(bytes.clone()));
        // It is not sent again.
        let (count, again) = behind.count(blobs.put_blob(bytes)).await;
        assert_eq!((count, again.expect("a put")), (1, digest));
    }
}

#[tokio::test]
async fn nothing_that_a_caller_names_becomes_a_path() {
    let place = Place::create(FIRST).await;
    let store = place.builder().prefix("pre/fix").open().await.expect("it opens").into_store();
    for id in ["../../etc/passwd", "a/../b", "a b?c#d", "%2e%2e", "日本語"] {
        append(&store, Chain::new(id).take(1)).await;
    }
    for key in place.keys("").await {
        assert!(key.starts_with("pre/fix/"), "{key}");
        assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte)), "{key}");
        assert!(!key.split('/').any(|part| part.is_empty() || part.chars().all(|c| c == '.')), "{key}");
    }
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_object() {
    let place = Place::create(FIRST).await;
    let store = place.builder().open().await.expect("it opens").into_store();
    let mut chain = Chain::new("order_1");
    append(&store, (0..10).map(|_| chain.with_context(vec![b'x'; 10_000]))).await;
    let sdk = place.sdk();
    for key in place.keys("").await.into_iter().filter(|key| key != "replay-store") {
        let object = sdk.get_object().bucket(&place.bucket).key(&key).send().await.expect("it is there");
        let sound = object.body.collect().await.expect("its bytes").into_bytes();
        let mut flipped = sound.to_vec();
        flipped[sound.len() / 2] ^= 1;
        let put = |bytes: Vec<u8>| sdk.put_object().bucket(&place.bucket).key(&key).body(bytes.into()).send();
        put(flipped).await.expect("it is spoiled");
        let cold = place.builder().open().await.expect("it opens").into_store();
        let error = cold.snapshots().load(&saga("order_1"), At::Sequence(3)).await.expect_err("it is damaged");
        assert_eq!((error.kind(), error.fact("key")), (ErrorKind::Integrity, Some(key.as_str())), "{error:?}");
        put(sound.to_vec()).await.expect("it is mended");
    }
    let bundle = place.keys("/b/").await.remove(0);
    sdk.delete_object().bucket(&place.bucket).key(&bundle).send().await.expect("it is removed");
    let cold = place.builder().open().await.expect("it opens").into_store();
    let error = cold.snapshots().load(&saga("order_1"), At::Sequence(3)).await.expect_err("it is missing");
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error:?}");
}

#[tokio::test]
async fn a_blob_that_was_changed_is_not_handed_out() {
    let place = Place::create(FIRST).await;
    let store = place.builder().open().await.expect("it opens").into_store();
    let blobs = store.blobs().expect("blobs");
    let digest = blobs.put_blob(Bytes::from_static(b"true")).await.expect("a put");
    let key = place.keys(&Digest::of(b"true").to_string()).await.remove(0);
    place.sdk().put_object().bucket(&place.bucket).key(key).body(b"false".to_vec().into()).send().await.expect("a put");
    assert_eq!(blobs.get_blob(&digest).await.expect_err("it is another").kind(), ErrorKind::Integrity);
}

#[tokio::test]
async fn a_listing_that_another_handle_prunes_meanwhile_goes_on_in_what_is_left() {
    let place = Place::create(SECOND).await;
    let store = place.builder().open().await.expect("it opens").into_store();
    let mut chain = Chain::new("order_1");
    for _ in 0..6 {
        append(&store, (0..10).map(|_| chain.with_context(vec![b'x'; 10_000]))).await;
    }
    let reader = place.builder().open().await.expect("it opens").into_store();
    let mut records = reader.snapshots().list(SnapshotQuery::new(saga("order_1")));
    assert_eq!(records.try_next().await.expect("a record").map(|record| record.sequence), Some(1));
    let keep = PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(saga("order_1")), keep: 5 });
    store.snapshots().prune(keep).await.expect("a prune");
    let rest: Vec<u64> = records.map_ok(|record| record.sequence).try_collect().await.expect("the rest");
    assert!(rest.ends_with(&[56, 57, 58, 59, 60]), "{rest:?}");
    assert!(rest.windows(2).all(|pair| pair[0] < pair[1]), "{rest:?}");
}

#[tokio::test]
async fn a_runner_of_a_removed_saga_cannot_write_to_one_that_was_begun_anew() {
    for variable in [FIRST, SECOND] {
        let place = Place::create(variable).await;
        let runner = place.builder().open().await.expect("it opens").into_store();
        let other = place.builder().open().await.expect("it opens").into_store();
        let mut chain = Chain::new("order_1");
        append(&runner, [chain.next_record()]).await;
        other.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga("order_1")))).await.expect("a prune");
        let error = runner.snapshots().append(vec![chain.next_record()]).await.expect_err("it is gone");
        assert_eq!((error.kind(), error.fact("expected")), (ErrorKind::Conflict, Some("1")));
        let anew = Chain::new("order_1").starting_at(replay_conformance::records::after(99)).take(2);
        append(&other, anew.clone()).await;
        let mut late = chain.clone();
        let error = runner.snapshots().append(vec![late.next_record()]).await.expect_err("it is another");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(history(&runner, &chain).await, anew);
        assert_eq!(ids(&runner, SagaQuery::default()).await, ["order_1"]);
    }
}
