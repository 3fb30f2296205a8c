//! The one list of cases, by promise. A case is a function that panics if the store breaks the promise in its name.

macro_rules! cases {
    ($promise:literal, $needs:expr; $($title:ident),+ $(; large: $($large:ident),+)? $(,)?) => {
        pub(crate) const CASES: &[$crate::runner::Case] = &[
            $(cases!(@ $promise, $needs, $title, false),)+
            $($(cases!(@ $promise, $needs, $large, true),)+)?
        ];
    };
    (@ $promise:literal, $needs:expr, $title:ident, $large:literal) => {
        $crate::runner::Case {
            promise: $promise,
            title: stringify!($title),
            needs: $needs,
            large: $large,
            run: |env| Box::pin($title(env)),
        }
    };
}

mod append;
mod blobs;
mod cells;
mod concurrency;
mod durability;
mod expiry;
mod filters;
mod frames;
mod heads;
mod histories;
mod ids;
mod list;
mod load;
mod logs;
mod namespaces;
mod payloads;
mod prune;
mod store;

use crate::runner::Case;

pub(crate) fn all() -> impl Iterator<Item = Case> {
    let promises = [
        store::CASES,
        append::CASES,
        ids::CASES,
        load::CASES,
        list::CASES,
        heads::CASES,
        filters::CASES,
        prune::CASES,
        expiry::CASES,
        payloads::CASES,
        frames::CASES,
        namespaces::CASES,
        concurrency::CASES,
        histories::CASES,
        logs::CASES,
        cells::CASES,
        cells::more::CASES,
        blobs::CASES,
        durability::CASES,
        durability::LOGS,
        durability::CELLS,
        durability::BLOBS,
        namespaces::LOGS,
        namespaces::CELLS,
        namespaces::BLOBS,
        concurrency::LOGS,
        concurrency::CELLS,
    ];
    promises.into_iter().flatten().copied()
}
