//! What is wrong with a URL, a server or a user is a clear error that says what to check, and shows no secret.

use std::time::{Duration, Instant};

use replay_conformance::records::history;
use replay_core::{Error, ErrorKind, Retry, storage::SnapshotStorage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Schema, admin, parts, refused, sql, url, url_with};

fn check(error: &Error, kind: ErrorKind, sqlstate: Option<&str>) {
    let mut shown = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        shown = format!("{shown} {cause} {cause:?}");
        source = cause.source();
    }
    assert_eq!((error.kind(), error.fact("sqlstate")), (kind, sqlstate), "{shown}");
    assert!(error.advice().is_some(), "it does not say what to check: {shown}");
    for secret in [parts().1.as_str(), "hunter2"] {
        assert!(!shown.contains(secret), "a secret is shown: {shown}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_user() {
    let (user, password, _, _) = parts();
    check(&refused(&url_with(&format!(":{password}@"), ":hunter2@")).await, ErrorKind::PermissionDenied, Some("28P01"));
    check(&refused(&url_with(&format!("//{user}:"), "//nobody:")).await, ErrorKind::PermissionDenied, Some("28P01"));
}

#[tokio::test]
async fn a_database_that_does_not_exist() {
    let (_, _, server, database) = parts();
    let error = refused(&url_with(&format!("{server}/{database}"), &format!("{server}/nothing_here"))).await;
    check(&error, ErrorKind::Unavailable, Some("3D000"));
    assert_eq!(error.retry_advice(), Retry::Never);
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = refused(&format!("postgres://me:hunter2@{address}/x")).await;
    check(&error, ErrorKind::Unavailable, None);
    assert_eq!(error.fact("server"), Some(format!("{address}/x").as_str()));
}

#[tokio::test]
async fn a_server_that_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let began = Instant::now();
    let error = refused(&format!("postgres://me:hunter2@{}/x?connect_timeout_ms=200", listener.local_addr().unwrap())).await;
    check(&error, ErrorKind::Unavailable, None);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_without_encryption_where_it_is_demanded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.read_exact(&mut [0; 8]).await.unwrap();
        client.write_all(b"N").await.unwrap();
        // It must not go on in the clear.
        client.read(&mut [0; 1]).await.unwrap_or(0)
    });
    check(&refused(&format!("postgres://me:hunter2@{address}/x?sslmode=require")).await, ErrorKind::Unavailable, None);
    assert_eq!(server.await.unwrap(), 0);
}

#[tokio::test]
async fn a_certificate_is_checked_as_far_as_is_asked_for() {
    let file = |path: replay_services::Result<std::path::PathBuf>| path.expect("the fixture is there");
    let (ca, other) = (file(replay_services::tls::ca()), file(replay_services::tls::other_ca()));
    let schema = Schema::new();
    let with = |options: String| format!("{}?schema={}&{options}", url(), schema.0);
    for mode in ["disable", "prefer", "require"] {
        replay_storage_postgres::Postgres::builder(&with(format!("sslmode={mode}"))).unwrap().open().await.unwrap();
    }
    let encrypted = with(format!("sslmode=verify-full&sslrootcert={}", ca.display()));
    replay_storage_postgres::Postgres::builder(&encrypted).unwrap().open().await.unwrap();
    for mode in ["verify-ca", "verify-full"] {
        let error = refused(&with(format!("sslmode={mode}&sslrootcert={}", other.display()))).await;
        check(&error, ErrorKind::Unavailable, None);
        assert!(error.advice().unwrap().contains("sslrootcert"), "{error:?}");
    }
    let error = refused(&with("sslmode=verify-full&sslrootcert=/nowhere/ca.pem".to_owned())).await;
    check(&error, ErrorKind::Unavailable, None);
    // Whoever names authorities has the certificate checked, or is told that it would not be.
    replay_storage_postgres::Postgres::builder(&with(format!("sslrootcert={}", ca.display()))).unwrap().open().await.unwrap();
    check(&refused(&with(format!("sslrootcert={}", other.display()))).await, ErrorKind::Unavailable, None);
    for mode in ["disable", "prefer", "require"] {
        let error = refused(&with(format!("sslmode={mode}&sslrootcert={}", ca.display()))).await;
        check(&error, ErrorKind::Invalid, None);
    }
}

/// A role that may log in with the password `hunter2`, and the URL for it.
async fn role(schema: &Schema, grants: &str) -> (String, String) {
    let role = format!("role_{}", schema.0);
    sql(&mut admin().await, format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'; {}", grants.replace('@', &role))).await;
    let (user, password, _, _) = parts();
    let url = url_with(&format!("//{user}:{password}@"), &format!("//{role}:hunter2@"));
    (role, url)
}

async fn drop_role(role: &str) {
    sql(&mut admin().await, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_missing_privilege() {
    let schema = Schema::new();
    schema.open().await;
    let name = &schema.0;
    let grants = format!("GRANT USAGE ON SCHEMA {name} TO @; GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO @");
    let (role, url) = role(&schema, &grants).await;
    let store = schema.at(&url).open().await.unwrap();
    let error = store.append(history("a", 1)).await.unwrap_err();
    check(&error, ErrorKind::PermissionDenied, Some("42501"));
    assert_eq!(error.retry_advice(), Retry::Never);
    // A schema that is not there cannot be made either.
    let error = Schema::new().at(&url).open().await.unwrap_err();
    check(&error, ErrorKind::PermissionDenied, Some("42501"));
    drop(store);
    drop_role(&role).await;
}

#[tokio::test]
async fn a_server_that_only_reads() {
    let schema = Schema::new();
    schema.open().await.append(history("a", 1)).await.unwrap();
    let name = &schema.0;
    let grants = format!(
        "GRANT USAGE ON SCHEMA {name} TO @; GRANT ALL ON ALL TABLES IN SCHEMA {name} TO @;
         ALTER ROLE @ SET default_transaction_read_only = on"
    );
    let (role, url) = role(&schema, &grants).await;
    let store = schema.at(&url).open().await.unwrap();
    assert_eq!(crate::support::newest_sequence(&store, "a").await, 1);
    let error = store.append(history("a", 2)).await.unwrap_err();
    check(&error, ErrorKind::PermissionDenied, Some("25006"));
    drop(store);
    drop_role(&role).await;
}

#[tokio::test]
async fn a_database_that_keeps_no_utf_8() {
    let name = format!("latin_{}_{:08x}", std::process::id(), fastrand::u32(..));
    let mut admin = admin().await;
    sql(&mut admin, format!("CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")).await;
    let (_, _, server, database) = parts();
    let error = refused(&url_with(&format!("{server}/{database}"), &format!("{server}/{name}"))).await;
    sql(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    check(&error, ErrorKind::Invalid, None);
}
