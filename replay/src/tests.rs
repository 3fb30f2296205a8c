use replay_core::ErrorKind;

use super::*;

#[tokio::test]
async fn an_unknown_scheme_is_refused_with_what_there_is() {
    let error = Store::open("memry:").await.unwrap_err();
    assert!(error.is(ErrorKind::Invalid));
    #[cfg(feature = "memory")]
    assert!(error.advice().unwrap().contains("did you mean `memory:`"), "{error:?}");
    let error = Store::open("orders.db").await.unwrap_err();
    assert!(error.is(ErrorKind::Invalid) && error.advice().is_some());
}

#[tokio::test]
async fn a_scheme_that_was_not_compiled_in_names_its_feature() {
    let error = Backends::none().open("memory:").await.unwrap_err();
    assert!(error.advice().unwrap().contains("feature `memory`"), "{error:?}");
}

#[tokio::test]
async fn a_registered_backend_takes_the_place_of_another() {
    let refuse = |_| async { Err(Error::unsupported("open store", "not here")) };
    let backends = Backends::default().register("Memory", refuse);
    assert!(backends.open("memory:").await.unwrap_err().is(ErrorKind::Unsupported));
    assert!(format!("{backends:?}").contains("memory"));
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn an_unknown_option_is_refused() {
    let error = Store::open("memory:?namespcae=eu").await.unwrap_err();
    assert!(error.advice().unwrap().contains("namespace"), "{error:?}");
}
