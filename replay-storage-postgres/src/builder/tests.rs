use replay_core::ErrorKind;

use super::*;

fn parse(url: &str) -> Result<PostgresBuilder> {
    PostgresBuilder::from_url(StoreUrl::parse(url)?)
}

#[test]
fn a_url_names_server_database_and_options() {
    let builder = parse(
        "postgres://me:p%40ss@db.example:5433/orders?schema=sagas&namespace=eu&sslmode=verify-full&sslrootcert=/etc/ca.pem\
         &pooler=transaction&max_connections=3&timeout_ms=1500&migrate=false",
    )
    .unwrap();
    assert_eq!(builder.connect.place(), "db.example:5433/orders");
    assert_eq!((builder.schema.as_str(), builder.namespace.as_str()), ("sagas", "eu"));
    assert_eq!((builder.tls, builder.pooler, builder.migrates), (Some(Tls::VerifyFull), Pooler::Transaction, false));
    assert_eq!((builder.limits.max_connections, builder.limits.response), (3, Duration::from_millis(1500)));
    assert!(parse("postgresql://localhost/x").is_ok());
}

#[test]
fn a_password_is_never_shown() {
    let builder = parse("postgres://me:hunter2@localhost/orders").unwrap();
    assert!(!format!("{builder:?}").contains("hunter2"), "{builder:?}");
    let error = parse("postgres://me:hunter2@local host:x/orders").unwrap_err();
    assert!(!format!("{error} {error:?} {:?}", error.advice()).contains("hunter2"), "{error:?}");
}

#[test]
fn what_is_wrong_in_a_url_is_named() {
    for (url, named) in [
        ("postgres://h/d?sslmode=maybe", "sslmode"),
        ("postgres://h/d?pooler=yes", "pooler"),
        ("postgres://h/d?max_connections=many", "max_connections"),
        ("postgres://h/d?timeout_ms=-1", "timeout_ms"),
        ("postgres://h/d?tiemout_ms=1", "tiemout_ms"),
        ("mysql://h/d", "mysql"),
    ] {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_schema_has_a_plain_name() {
    for name in ["replay", "_x", "a1_b"] {
        check_schema(name).unwrap();
    }
    for name in ["", "1a", "A", "a-b", "a\"b", "a.b", "pg_x", "é", &"x".repeat(64)] {
        assert_eq!(check_schema(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
}
