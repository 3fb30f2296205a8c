//! Listing a million: the memory that it takes must not depend on how many there are.

use std::sync::Arc;

use bytes::Bytes;
use replay::{OpenStore, Outline, SagaId, Store};
use serde_json::Value;

use super::url;
use crate::{
    Outcome, child,
    floor::sqlite::Sync,
    harness::{self, Bench, Samples},
    history, job,
    report::Row,
};

const SAGAS: &str = "sqlite/listing-sagas-memory";
const SNAPSHOTS: &str = "sqlite/listing-snapshots-memory";

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    let total = bench.count(1_000_000, 2000);
    let few = bench.count(10_000, 200);
    let runtime = harness::threads()?;
    let outline: Arc<Outline> = job::saga::<Value>(1)?.outline().clone();
    let context = Bytes::from_static(br#"{"order_id":"ord_0192f3c4","step":0}"#);
    if bench.wants(&[SAGAS]) {
        let url = url(&bench.new_file(), Sync::Normal);
        runtime.block_on(async { history::heads(&Store::open(&url).await?, &outline, &context, total).await })?;
        let row = Row::less(SAGAS, &format!("peak memory of a listing of {total} sagas"), "MB").ratio_must(1.1);
        let list = |limit: usize| child::peak_memory(["list-sagas", &url, &limit.to_string()]);
        push(bench, row, list, total, few)?;
    }
    if bench.wants(&[SNAPSHOTS]) {
        let url = url(&bench.new_file(), Sync::Normal);
        let id = SagaId::new("long")?;
        runtime.block_on(async { history::long_saga(&Store::open(&url).await?, &id, &outline, &context, total).await })?;
        let row = Row::less(SNAPSHOTS, &format!("peak memory of a listing of {total} snapshots of a saga"), "MB").ratio_must(1.1);
        let list = |limit: usize| child::peak_memory(["list-snapshots", &url, "long", &limit.to_string()]);
        push(bench, row, list, total, few)?;
    }
    Ok(())
}

fn push(bench: &mut Bench, row: Row, list: impl Fn(usize) -> Outcome<f64>, total: usize, few: usize) -> Outcome {
    let measured = (Samples(vec![list(total)?]), Samples(vec![list(few)?]));
    bench.push(row.measured(&measured, &format!("the same listing ended after {few}")));
    Ok(())
}
