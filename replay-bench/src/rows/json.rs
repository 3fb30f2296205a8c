//! Finding and applying the difference of two large contexts.

use std::{hint::black_box, time::Instant};

use replay::json;
use serde_json::{Value, json};

use crate::{Outcome, harness::Bench, job, report::Row};

const NAME: &str = "json/diff-patch-1mb";

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    if !bench.wants(&[NAME]) {
        return Ok(());
    }
    let size = bench.count(1 << 20, 1 << 14);
    let from = job::context(size);
    let to = changed(&from);
    let figure = || {
        let start = Instant::now();
        let patch = json::diff(&from, &to);
        let mut patched = from.clone();
        patch.apply(&mut patched)?;
        let took = start.elapsed().as_secs_f64() * 1e3;
        if patched == to { Ok(took) } else { Err("the patch does not lead to the other context".into()) }
    };
    let texts = (from.to_string(), to.to_string());
    let floor = || {
        let start = Instant::now();
        black_box(serde_json::from_str::<Value>(&texts.0)?);
        black_box(serde_json::from_str::<Value>(&texts.1)?);
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let measured = bench.rounds(figure, floor)?;
    let row = Row::less(NAME, "the difference of two contexts of 1 MB, and applying it", "ms").must(100.0);
    bench.push(row.measured(&measured, "parsing both texts"));
    Ok(())
}

/// The same context with something changed, added and removed in every tenth line.
fn changed(from: &Value) -> Value {
    let mut to = from.clone();
    if let Some(lines) = to["lines"].as_array_mut() {
        for line in lines.iter_mut().step_by(10) {
            line["quantity"] = json!(7);
            line["gift"] = json!(true);
            if let Some(line) = line.as_object_mut() {
                line.remove("name");
            }
        }
    }
    to
}
