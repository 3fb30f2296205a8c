//! Opening: what is refused, and what the refusal says.

use std::time::Duration;

use replay_conformance::records::Chain;
use replay_core::{Error, ErrorKind, Retry, storage::StoreUrl};
use replay_services::s3;
use replay_storage_s3::{Encryption, S3};

use crate::{
    place::Place,
    proxy::{Act, Proxy},
    support::{Behind, FIRST, append, history},
};

/// The error, which says what to check and shows no secret.
async fn refused(builder: replay_storage_s3::S3Builder, kind: ErrorKind) -> Error {
    let error = builder.open().await.expect_err("it must be refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.advice().is_some(), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    error
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_refused() {
    let server = tokio::task::spawn_blocking(|| s3::start(s3::Options::default().strip_conditions(true)));
    let server = server.await.expect("it starts").expect("it starts");
    let place = Place::create_at(server.url()).await;
    let error = refused(place.builder(), ErrorKind::Unsupported).await;
    assert_eq!(error.fact("condition"), Some("If-None-Match"));
    // Also where there is a store already.
    let error = refused(place.builder(), ErrorKind::Unsupported).await;
    assert_eq!(error.fact("condition"), Some("If-None-Match"));
}

#[tokio::test]
async fn wrong_keys_are_refused_by_name() {
    let place = Place::create(FIRST).await;
    let error = refused(place.builder().credentials(&place.key, "hunter2"), ErrorKind::PermissionDenied).await;
    assert_eq!(error.fact("code"), Some("SignatureDoesNotMatch"));
    refused(place.builder().credentials("nobody", "hunter2"), ErrorKind::PermissionDenied).await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named_as_such() {
    let mut place = Place::create(FIRST).await;
    place.bucket = "no-such-bucket".to_owned();
    let error = refused(place.builder(), ErrorKind::Unavailable).await;
    assert!(error.detail().is_some_and(|detail| detail.contains("bucket")), "{error:?}");
}

#[tokio::test]
async fn access_that_is_denied_says_what_the_store_needs() {
    let behind = Behind::proxy(FIRST).await;
    behind.proxy.rule(|_| Act::Refuse(403));
    let error = refused(behind.place.builder(), ErrorKind::PermissionDenied).await;
    assert!(error.advice().is_some_and(|advice| advice.contains("s3:PutObject")), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_and_may_be_tried_again() {
    let mut place = Place::create(FIRST).await;
    place.endpoint = "http://127.0.0.1:1".to_owned();
    let error = refused(place.builder(), ErrorKind::Unavailable).await;
    assert_eq!(error.retry_advice(), Retry::Safe);
    assert!(error.advice().is_some_and(|advice| advice.contains("endpoint")), "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_apart() {
    let mut place = Place::create(FIRST).await;
    place.endpoint = place.endpoint.replace("http://", "https://");
    let error = refused(place.builder(), ErrorKind::Unavailable).await;
    assert!(error.detail().is_some_and(|detail| detail.contains("TLS")), "{error:?}");
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_the_certificate_that_the_url_names_and_by_no_other() {
    let server = tokio::task::spawn_blocking(|| s3::start(s3::Options::default().tls(true))).await;
    let server = server.expect("it starts").expect("it starts");
    assert!(server.url().contains("endpoint=https://") && server.url().contains("&ca="), "{}", server.url());
    let open = |url: &str| S3::open_url(StoreUrl::parse(url).expect("a URL"));
    let store = open(server.url()).await.expect("it opens").into_store();
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(3)).await;
    assert_eq!(history(&store, &chain).await.len(), 3);

    let (without, _) = server.url().split_once("&ca=").expect("it names a file");
    let other = replay_services::tls::other_ca().expect("the file is there");
    for url in [without.to_owned(), format!("{without}&ca={}", other.display())] {
        let error = open(&url).await.expect_err("the certificate is not trusted");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.detail().is_some_and(|detail| detail.contains("TLS")), "{error:?}");
        assert!(error.advice().is_some_and(|advice| advice.contains("`ca`")), "{error:?}");
    }
}

#[tokio::test]
async fn certificates_for_a_server_that_shows_none_are_refused() {
    let place = Place::create(FIRST).await;
    let file = replay_services::tls::ca().expect("the file is there");
    let error = refused(place.builder().ca(&file), ErrorKind::Invalid).await;
    assert!(error.detail().is_some_and(|detail| detail.contains("`ca`")), "{error:?}");
    refused(place.builder().endpoint(place.endpoint.replace("http", "HTTP")).ca(&file), ErrorKind::Invalid).await;
    assert_eq!(place.keys("").await, [""; 0], "nothing was sent");
}

#[tokio::test]
async fn a_server_that_never_answers_ends_with_the_deadline() {
    let place = Place::create(FIRST).await;
    let proxy = Proxy::start(&place.endpoint).await;
    proxy.rule(|_| Act::NeverAnswer);
    let builder = place.builder().endpoint(&proxy.endpoint).timeout(Duration::from_millis(100));
    refused(builder, ErrorKind::Timeout).await;
}

#[tokio::test]
async fn a_store_that_must_exist_is_not_made() {
    let place = Place::create(FIRST).await;
    let error = refused(place.builder().create(false), ErrorKind::Unavailable).await;
    assert_eq!((error.retry_advice(), error.is_no_store()), (Retry::Never, true));
    assert_eq!(place.keys("").await, [""; 0]);
    place.builder().open().await.expect("it is made");
    place.builder().create(false).open().await.expect("it is there");
    refused(place.builder().prefix("other").create(false), ErrorKind::Unavailable).await;
}

#[tokio::test]
async fn a_url_opens_what_the_builder_does() {
    let place = Place::create(FIRST).await;
    let (key, secret, bucket, endpoint) = (&place.key, &place.secret, &place.bucket, &place.endpoint);
    let text = format!("s3://{key}:{secret}@{bucket}/a%20b?endpoint={endpoint}&region=us-east-1&path_style=true&namespace=eu");
    let store = S3::open_url(StoreUrl::parse(&text).expect("a URL")).await.expect("it opens");
    assert_eq!(store.to_string(), format!("s3({bucket}/a b)"));
    assert!(!format!("{store:?}").contains(secret.as_str()));
    assert_eq!(store.into_store().namespace().as_str(), "eu");
}

#[tokio::test]
async fn storage_class_and_encryption_are_asked_for_with_each_object() {
    let behind = Behind::proxy(crate::support::SECOND).await;
    let builder = behind.place.builder().storage_class("STANDARD_IA").encryption(Encryption::Kms(Some("alias/aws/s3".to_owned())));
    builder.open().await.expect("it opens");
    let seen = behind.proxy.take_seen();
    assert!(!seen.is_empty());
    for put in seen.iter().filter(|seen| seen.method == "PUT") {
        assert_eq!(put.header("x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(put.header("x-amz-server-side-encryption"), Some("aws:kms"));
        assert_eq!(put.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("alias/aws/s3"));
    }
    let head = behind.place.sdk().head_object().bucket(&behind.place.bucket).key("replay-store").send().await.expect("it is there");
    assert_eq!(head.server_side_encryption().map(aws_sdk_s3::types::ServerSideEncryption::as_str), Some("aws:kms"));
    assert_eq!(head.storage_class().map(aws_sdk_s3::types::StorageClass::as_str), Some("STANDARD_IA"));
}
