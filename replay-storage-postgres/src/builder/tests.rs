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
    for password in ["hunter2@local host:x", "hunter2/@", "5/hunter2@", "5#hunter2@", "5?hunter2@", "5?x=hunter2@", "@5/hunter2@"] {
        let error = parse(&format!("postgres://me:{password}host/orders")).unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", error.advice()).contains("hunter2"), "{error:?}");
        assert!(error.advice().is_some(), "{error:?}");
    }
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

#[test]
fn an_address_of_ipv6_stands_in_brackets_only_in_the_url() {
    let builder = parse("postgres://me:hunter2@[::1]:5433/orders").unwrap();
    assert_eq!((builder.connect.0.get_host(), builder.connect.0.get_port()), ("::1", 5433));
    assert_eq!((builder.connect.0.get_username(), builder.connect.0.get_database()), ("me", Some("orders")));
    assert_eq!(builder.connect.place(), "[::1]:5433/orders");
    assert_eq!(parse("postgres://[2001:db8::7]").unwrap().connect.0.get_host(), "2001:db8::7");
}

#[test]
fn authorities_are_never_given_for_nothing() {
    let none = Environment::default();
    let (with, without) = (true, false);
    assert!(matches!(ssl_mode(None, without, none), Ok(PgSslMode::Prefer)));
    assert!(matches!(ssl_mode(None, with, none), Ok(PgSslMode::VerifyFull)));
    assert!(matches!(ssl_mode(Some(Tls::VerifyCa), with, none), Ok(PgSslMode::VerifyCa)));
    for tls in [Tls::Disable, Tls::Prefer, Tls::Require] {
        let error = ssl_mode(Some(tls), with, none).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{tls:?}");
        assert!(error.advice().unwrap().contains("verify-full"), "{error:?}");
        ssl_mode(Some(tls), without, none).unwrap();
    }
    let require = Environment { mode: Some(PgSslMode::Require), has_ca: false };
    assert!(ssl_mode(None, with, require).is_err(), "the environment chose the mode");
    assert!(matches!(ssl_mode(None, without, require), Ok(PgSslMode::Require)));
    assert!(matches!(ssl_mode(None, without, Environment { has_ca: true, ..require }), Ok(PgSslMode::VerifyCa)));
    assert!(matches!(ssl_mode(Some(Tls::VerifyFull), with, require), Ok(PgSslMode::VerifyFull)));
}
