//! Files that cannot be opened, each with an error that says why.

use std::{os::unix::fs::PermissionsExt, os::unix::process::CommandExt, path::Path, process::Command, time::Duration};

use replay_core::{
    Error, ErrorKind, Retry,
    storage::{CellStorage, If, SnapshotStorage, StoreUrl},
};
use replay_storage_sqlite::Sqlite;
use rusqlite::Connection;

use crate::{
    child,
    support::{append_up_to, folder, fresh, newest, open, record},
};

async fn refused(path: &Path) -> Error {
    let error = Sqlite::builder(path).busy_timeout(Duration::from_millis(20)).open().await.expect_err("it must not open");
    assert!(error.detail().is_some() && error.advice().is_some(), "an error says what is wrong and what to do: {error:?}");
    error
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_as_it_is() {
    let folder = folder();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "Dear diary, this is long enough to be taken for the header of a database file, yet it is none.").unwrap();
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    for path in [&text, &foreign] {
        let before = std::fs::read(path).unwrap();
        assert_eq!(refused(path).await.kind(), ErrorKind::Invalid, "{}", path.display());
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    assert_eq!(refused(folder.path()).await.kind(), ErrorKind::Invalid);
    assert_eq!(refused(Path::new("")).await.kind(), ErrorKind::Invalid);
    assert_eq!(refused(Path::new(":memory:")).await.kind(), ErrorKind::Invalid);
    let error = refused(&folder.path().join("missing/store.db")).await;
    assert!(error.detail().unwrap().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_made_where_it_must_exist() {
    let folder = folder();
    let (missing, empty) = (folder.path().join("mistyped.db"), folder.path().join("empty.db"));
    std::fs::write(&empty, "").unwrap();
    let url = |path: &Path, options: &str| StoreUrl::parse(&format!("sqlite:{}{options}", path.display())).unwrap();
    for url in [url(&missing, "?create=false"), url(&missing, "").of_existing(), url(&missing, "?read_only=true")] {
        let error = Sqlite::open_url(url).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Never), "{error:?}");
        assert!(error.detail().unwrap().contains("mistyped.db") && error.advice().is_some(), "{error:?}");
        assert!(error.is_no_store(), "{error:?}");
    }
    let error = Sqlite::open_url(url(&empty, "?create=false")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_no_store()), (ErrorKind::Invalid, true));
    let nowhere = Sqlite::open_url(url(&folder.path().join("missing/store.db"), "?create=false")).await.unwrap_err();
    assert!(!nowhere.is_no_store(), "none is made in a folder that is not there: {nowhere:?}");
    assert_eq!(Sqlite::open_url(url(&missing, "?create=no")).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!missing.exists() && std::fs::read(&empty).unwrap().is_empty());
    append_up_to(&Sqlite::open_url(url(&missing, "?create=true").of_existing()).await.unwrap(), "a", 1).await;
    assert_eq!(newest(&Sqlite::open_url(url(&missing, "").of_existing()).await.unwrap(), "a").await, 1);
}

#[tokio::test]
async fn a_newer_schema_is_named_and_not_touched() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 1).await;
    drop(store);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::NewerVersion, "{error}");
    let error = Sqlite::builder(&path).read_only(true).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion, "{error}");
}

#[tokio::test]
async fn a_file_opened_for_reading_takes_no_write_and_sees_those_of_others() {
    let (_folder, path, store) = fresh().await;
    let reader = Sqlite::builder(&path).read_only(true).open().await.unwrap();
    append_up_to(&store, "a", 2).await;
    assert_eq!(newest(&reader, "a").await, 2);
    assert_eq!(reader.append(vec![record("a", 3)]).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(reader.put_cell("k", "v".into(), If::Any, None).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let missing = path.with_file_name("missing.db");
    assert!(Sqlite::builder(&missing).read_only(true).open().await.is_err());
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_file_that_another_process_locks_is_unavailable_until_it_lets_go() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 1).await;
    drop(store);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let error = refused(&path).await;
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Safe), "{error}");
    drop(other);
    assert_eq!(newest(&open(&path).await, "a").await, 1);
}

#[tokio::test]
async fn a_url_opens_what_it_says() {
    let folder = folder();
    let url = format!("sqlite:{}/a%20b.db?durability=normal&namespace=eu", folder.path().display());
    let store = Sqlite::open_url(StoreUrl::parse(&url).unwrap()).await.unwrap();
    assert_eq!(store.to_string(), format!("sqlite({}/a b.db)", folder.path().display()));
    assert_eq!(store.into_store().namespace().as_str(), "eu");
    assert!(folder.path().join("a b.db").exists());
    let error = Sqlite::open_url(StoreUrl::parse("sqlite:").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// Root may write everywhere, so a child without its rights looks.
#[test]
fn files_and_folders_that_may_not_be_written_are_permission_denied() {
    if let Some(folder) = child::folder() {
        child::block_on(async {
            for place in ["file", "folder", "none"] {
                let error = refused_or_unwritable(&folder.join(place).join("store.db")).await;
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{place}: {error}");
                assert!(error.advice().is_some());
            }
        });
        return;
    }
    let folder = folder();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(folder.path(), 0o755);
    for place in ["file", "folder", "none"] {
        let place = folder.path().join(place);
        std::fs::create_dir(&place).unwrap();
        if !place.ends_with("none") {
            child::block_on(async { append_up_to(&open(&place.join("store.db")).await, "a", 1).await });
            mode(&place.join("store.db"), if place.ends_with("file") { 0o444 } else { 0o666 });
        }
        mode(&place, if place.ends_with("file") { 0o777 } else { 0o555 });
    }
    // The program may lie where only its owner may look.
    let program = folder.path().join("child");
    std::fs::copy(child::this(), &program).unwrap();
    let mut command =
        child::run_in(Command::new(&program), "opening::files_and_folders_that_may_not_be_written_are_permission_denied", folder.path());
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.current_dir(folder.path()).output().unwrap();
    for place in ["folder", "none"] {
        mode(&folder.path().join(place), 0o755);
    }
    child::check(&output);
}

/// The error of opening a store, or of the first append where that is the first to write.
async fn refused_or_unwritable(path: &Path) -> Error {
    match Sqlite::builder(path).busy_timeout(Duration::from_millis(20)).open().await {
        Err(error) => error,
        Ok(store) => store.append(vec![record("a", 2)]).await.expect_err("it must not be written"),
    }
}
