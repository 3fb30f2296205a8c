//! Users, passwords, certificates, databases.

use replay_conformance::records::Chain;
use replay_core::ErrorKind;
use replay_services::{redis::Options, required_url, tls};

use crate::support::{Admin, append, kind, open, start, try_open, with, works};

fn secure_url() -> String {
    required_url("REPLAY_TEST_REDIS_TLS_URL")
}

/// The same URL with another password.
fn other_password(url: &str) -> String {
    let (front, host) = url.rsplit_once('@').expect("a password");
    let (front, _) = front.rsplit_once(':').expect("a password");
    format!("{front}:hunter2@{host}")
}

#[tokio::test]
async fn a_user_with_few_rights_works_over_tls() {
    let store = open(&with(&secure_url(), "prefix=tls-works")).await;
    let id = format!("s-{}", uuid::Uuid::now_v7());
    works(&store, &id).await;
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let error = kind(try_open(&other_password(&secure_url())).await, ErrorKind::PermissionDenied);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused() {
    let url = secure_url();
    let (front, _) = url.split_once("ca=").expect("a certificate");
    let other = tls::other_ca().expect("another certificate");
    let error = kind(try_open(&format!("{front}ca={}", other.display())).await, ErrorKind::Unavailable);
    assert!(error.advice().expect("advice").contains("`ca`"), "{error:?}");
}

#[tokio::test]
async fn with_tls_at_one_end_only_the_error_says_so() {
    let secure = secure_url();
    let (_, host) = secure.rsplit_once('@').expect("a host");
    let (host, _) = host.split_once('/').expect("a database");
    let error = kind(try_open(&format!("redis://{host}")).await, ErrorKind::Unavailable);
    assert!(error.advice().expect("advice").contains("rediss:"), "{error:?}");

    let plain = required_url("REPLAY_TEST_REDIS_URL").replacen("redis:", "rediss:", 1);
    let ca = tls::ca().expect("a certificate");
    let error = kind(try_open(&with(&plain, &format!("ca={}", ca.display()))).await, ErrorKind::Unavailable);
    assert!(error.advice().expect("advice").contains("TLS"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_invalid() {
    let url = required_url("REPLAY_TEST_REDIS_URL");
    let url = format!("{}/999", url.trim_end_matches("/0"));
    kind(try_open(&url).await, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_missing_right_is_a_clear_error() {
    let server = start(Options::default());
    let mut admin = Admin::of(&server);
    admin.run::<()>(&["ACL", "SETUSER", "few", "on", ">pw", "~replay{*", "+@all", "-evalsha", "-eval"]);
    admin.run::<()>(&["ACL", "SETUSER", "keys", "on", ">pw", "~other*", "+@all"]);
    admin.run::<()>(&["ACL", "SETUSER", "enough", "on", ">pw", "~replay{*", "+@read", "+@write", "+@scripting", "+ping"]);
    let url = |user: &str| server.url().replacen("://", &format!("://{user}:pw@"), 1);
    for user in ["few", "keys"] {
        let store = open(&url(user)).await;
        kind(append(&store, &Chain::new("a").next_record()).await, ErrorKind::PermissionDenied);
    }
    works(&open(&url("enough")).await, "a").await;
}

#[tokio::test]
async fn every_key_begins_with_the_prefix_and_a_tag_of_ours() {
    let server = start(Options::default());
    let store = open(&with(server.url(), "prefix=mine&namespace=a%7Bb%7D")).await;
    for id in ["}{", "{x}", "a b", "{}"] {
        works(&store, id).await;
        store.cells().expect("cells").put_cell(id, "v".into(), replay_core::storage::If::Any, None).await.expect("a put");
        store.logs().expect("logs").append_log(id, 0, vec!["e".into()]).await.expect("an append");
    }
    store.blobs().expect("blobs").put_blob("b".into()).await.expect("a put");
    let keys: Vec<String> = Admin::of(&server).run(&["KEYS", "*"]);
    assert!(keys.len() > 20, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("mine{#")), "{keys:?}");
}
