//! The floor of a store in memory: serialise and copy into a map.

use std::{collections::HashMap, time::Instant};

use futures::future::try_join_all;
use serde::Serialize;

use crate::{
    Outcome, harness,
    job::{Context, STEPS},
};

/// Microseconds per step of `to_vec` and a copy of its bytes into a map, before each step and at the end.
pub(crate) fn alone<C: Context>(context: &C, sagas: usize) -> Outcome<f64> {
    let start = Instant::now();
    let map = copy(context, sagas)?;
    let took = start.elapsed();
    drop(map);
    Ok(harness::micros_each(took, sagas * STEPS))
}

/// Steps per second of the same in so many tasks, each with a map of its own.
pub(crate) async fn at_once<C: Context>(context: &C, tasks: usize, each: usize) -> Outcome<f64> {
    let start = Instant::now();
    let task = || {
        let context = context.clone();
        tokio::spawn(async move { copy(&context, each) })
    };
    let maps: Vec<_> = try_join_all((0..tasks).map(|_| task())).await?;
    let took = start.elapsed();
    drop(maps);
    Ok(harness::per_second(took, tasks * each * STEPS))
}

fn copy<C: Context>(context: &C, sagas: usize) -> Outcome<HashMap<(usize, usize), Vec<u8>>> {
    let mut map = HashMap::new();
    for saga in 0..sagas {
        let mut context = context.clone();
        for step in 0..=STEPS {
            let text = to_vec(&context)?;
            map.insert((saga, step), text.clone());
            context.reach(step);
        }
    }
    Ok(map)
}

fn to_vec<C: Serialize>(context: &C) -> Outcome<Vec<u8>> {
    Ok(serde_json::to_vec(context)?)
}
