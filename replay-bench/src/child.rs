//! Processes of their own: to be killed, or to have their memory and system calls looked at.

use std::{
    collections::HashMap,
    ffi::OsStr,
    future::pending,
    io::{BufRead, BufReader, Write},
    marker,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use futures::StreamExt;
use replay::{
    OpenStore, SagaId, Store,
    saga::{Runner, Saga, StartOptions},
    storage::{SagaQuery, SnapshotQuery},
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    Outcome,
    floor::sqlite::{Bare, Sync},
    harness, job, machine,
    options::Role,
};

/// What a child says once all its sagas are stuck.
const STUCK: &str = "stuck";

/// Does what this process was started for.
pub(crate) fn run(role: Role) -> Outcome {
    let runtime = harness::threads()?;
    match role {
        Role::Stuck { url, sagas } => return runtime.block_on(stuck(&url, sagas)),
        Role::Load { url, at_once, sagas_each } => runtime.block_on(load(&url, at_once, sagas_each))?,
        Role::BareLoad { path, at_once, sagas_each } => {
            let records = runtime.block_on(job::records(&job::context(1024)))?;
            Bare::open(&path, Sync::Full)?.groups(&records, at_once, sagas_each)?;
        }
        Role::ListSagas { url, limit } => runtime.block_on(list_sagas(&url, limit))?,
        Role::ListSnapshots { url, saga, limit } => runtime.block_on(list_snapshots(&url, &saga, limit))?,
    }
    println!("{}", machine::peak_memory_mb().ok_or("this system does not tell the peak memory")?);
    Ok(())
}

/// The id of the n-th saga that is to be killed.
pub(crate) fn stuck_id(number: usize) -> Outcome<SagaId> {
    Ok(SagaId::new(format!("stuck-{number}"))?)
}

/// At which step the n-th saga is stuck: somewhere in the middle.
fn stuck_at(number: usize) -> usize {
    1 + number % (job::STEPS - 2)
}

/// A saga like the job's. Each step asks `is_stuck` before it acts, and never ends if told so.
pub(crate) fn watched<F>(is_stuck: F) -> Outcome<Saga<Value>>
where
    F: Fn(&SagaId, usize) -> bool + Clone + Send + marker::Sync + 'static,
{
    let builder = (0..job::STEPS).fold(Saga::builder("bench"), |builder, step| {
        let is_stuck = is_stuck.clone();
        builder.step_with(job::step_name(step), move |cx, mut context: Value| {
            let waits = is_stuck(cx.saga_id(), step);
            async move {
                if waits {
                    pending::<()>().await;
                }
                job::Context::reach(&mut context, step);
                Ok(context)
            }
        })
    });
    Ok(builder.build()?)
}

async fn stuck(url: &str, sagas: usize) -> Outcome {
    let store = Store::open(url).await?;
    let runner = Runner::new(store);
    let places: HashMap<SagaId, usize> = (0..sagas).map(|number| Ok((stuck_id(number)?, stuck_at(number)))).collect::<Outcome<_>>()?;
    let ready = Arc::new(Semaphore::new(0));
    let saga = watched({
        let (places, ready) = (Arc::new(places), ready.clone());
        move |id, step| {
            let waits = places.get(id) == Some(&step);
            if waits {
                ready.add_permits(1);
            }
            waits
        }
    })?;
    for number in 0..sagas {
        let (runner, saga, options) = (runner.clone(), saga.clone(), StartOptions::default().with_id(stuck_id(number)?));
        tokio::spawn(async move {
            if let Err(error) = runner.start_with(&saga, job::context(1024), options).await {
                println!("a saga did not run: {error}");
            }
        });
    }
    let _all = ready.acquire_many(u32::try_from(sagas)?).await?;
    println!("{STUCK}");
    std::io::stdout().flush()?;
    pending().await
}

async fn load(url: &str, at_once: usize, sagas_each: usize) -> Outcome {
    let runner = Runner::new(Store::open(url).await?);
    job::at_once(&runner, &job::saga(job::STEPS)?, &job::context(1024), at_once, sagas_each).await
}

async fn list_sagas(url: &str, limit: u64) -> Outcome {
    let store = Store::open(url).await?;
    let mut sagas = store.snapshots().sagas(SagaQuery::default().with_limit(limit));
    let mut count = 0;
    while let Some(saga) = sagas.next().await {
        saga?;
        count += 1;
    }
    expect(count, limit)
}

async fn list_snapshots(url: &str, saga: &str, limit: u64) -> Outcome {
    let store = Store::open(url).await?;
    let mut records = store.snapshots().list(SnapshotQuery::new(SagaId::new(saga)?).with_limit(limit));
    let mut count = 0;
    while let Some(record) = records.next().await {
        record?.decode()?;
        count += 1;
    }
    expect(count, limit)
}

fn expect(count: u64, wanted: u64) -> Outcome {
    if count == wanted { Ok(()) } else { Err(format!("{count} were listed instead of {wanted}").into()) }
}

/// This program again, in the role that `args` say.
pub(crate) fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").args(args);
    Ok(command)
}

/// Runs a child to its end and gives the peak memory that it told, in MB.
pub(crate) fn peak_memory<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome<f64> {
    let output = command(args)?.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("the child ended with {}: {said}", output.status).into());
    }
    Ok(said.trim().parse().map_err(|_| format!("the child said `{said}`"))?)
}

/// Starts a child whose sagas get stuck, and kills it with SIGKILL when all of them are.
pub(crate) fn kill_in_the_middle(url: &str, sagas: usize) -> Outcome {
    let mut child = command(["stuck", url, &sagas.to_string()])?.stdout(Stdio::piped()).spawn()?;
    let ready = wait_until_stuck(&mut child);
    child.kill()?;
    child.wait()?;
    ready
}

fn wait_until_stuck(child: &mut Child) -> Outcome {
    let Some(stdout) = child.stdout.take() else { return Err("the child has no output".into()) };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() == STUCK { Ok(()) } else { Err(format!("the child said `{}`", line.trim()).into()) }
}
