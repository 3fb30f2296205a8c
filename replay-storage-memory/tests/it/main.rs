//! What is particular to the memory store; the rest is what the conformance kit tests.

use replay_core::{Namespace, storage::StoreUrl};
use replay_storage_memory::Memory;

#[test]
fn a_url_gives_the_namespace_and_nothing_else() {
    let open = |url| StoreUrl::parse(url).and_then(Memory::open_url);
    assert_eq!(open("memory:").unwrap().into_store().namespace(), &Namespace::default());
    assert_eq!(open("memory:?namespace=eu").unwrap().into_store().namespace().as_str(), "eu");
    for wrong in ["memory:orders", "memory:?size=3", "memory:?namespace=", "sqlite:"] {
        assert!(open(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn it_is_shown_without_what_it_holds() {
    let memory = Memory::new();
    assert_eq!(memory.to_string(), "memory");
    assert_eq!(format!("{memory:?}"), r#"Memory { namespace: Namespace("default"), .. }"#);
}
