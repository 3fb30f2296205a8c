//! What the handle says of itself.

use replay_core::{ErrorKind, storage::SagaQuery};

use crate::{
    check::{ids, refused},
    env::Env,
    runner::Needs,
};

cases!("store", Needs::Snapshots;
    offers_what_it_declares_and_refuses_the_rest,
    has_its_pinned_capabilities,
    is_empty_at_first,
    shows_itself_in_one_line,
    knows_its_namespace,
);

async fn offers_what_it_declares_and_refuses_the_rest(env: Env) {
    let store = env.open().await;
    let offered = [
        ("LogStorage", env.offers.logs, store.logs().map(|_| ())),
        ("CellStorage", env.offers.cells, store.cells().map(|_| ())),
        ("BlobStorage", env.offers.blobs, store.blobs().map(|_| ())),
    ];
    for (name, is_offered, result) in offered {
        if is_offered {
            result.unwrap_or_else(|error| panic!("{name} is declared: {error}"));
        } else {
            let error = refused(result, ErrorKind::Unsupported);
            assert!(error.to_string().contains(name), "{error} does not name {name}");
        }
    }
}

async fn has_its_pinned_capabilities(env: Env) {
    assert_eq!(env.open().await.snapshots().capabilities(), env.capabilities);
}

async fn is_empty_at_first(env: Env) {
    let store = env.open().await;
    assert!(ids(&store, SagaQuery::default()).await.is_empty());
}

async fn shows_itself_in_one_line(env: Env) {
    let shown = env.open().await.to_string();
    assert!(!shown.is_empty() && !shown.contains('\n'), "{shown:?}");
}

async fn knows_its_namespace(env: Env) {
    assert_eq!(env.open_in("eu").await.namespace().as_str(), "eu");
}
