//! Finding a saga's definition by what a snapshot says of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Fork, ResumeOptions, RunReport, Runner, Saga, SnapshotPolicy, StartOptions};
use crate::{Error, ErrorKind, Outline, Result, SagaId, SnapshotMeta, codec};

/// A saga of whatever context type: what replay, resume and the command line work with. The context travels as JSON.
#[async_trait]
pub trait AnySaga: fmt::Debug + Send + Sync + 'static {
    /// The definition's shape.
    fn outline(&self) -> &Arc<Outline>;

    /// What of a run is captured unless its start says otherwise.
    fn policy(&self) -> &Arc<SnapshotPolicy>;

    /// Checks that `context`, JSON text, fits the saga's context type.
    ///
    /// # Errors
    /// `Invalid`, naming the place that does not fit.
    fn check_context(&self, context: &[u8]) -> Result<()>;

    /// [Starts](Runner::start_with) it.
    async fn start(&self, runner: &Runner, context: Value, options: StartOptions) -> Result<RunReport<Value>>;

    /// [Resumes](Runner::resume_with) it.
    async fn resume(&self, runner: &Runner, id: &SagaId, options: ResumeOptions) -> Result<RunReport<Value>>;

    /// Runs a fork of it that a replay has prepared.
    #[doc(hidden)]
    async fn run_fork(&self, runner: &Runner, fork: ForkHandle) -> Result<RunReport<Value>>;
}

/// A prepared fork on its way through [`AnySaga`].
#[doc(hidden)]
#[derive(Debug)]
pub struct ForkHandle(pub(crate) Fork);

#[async_trait]
impl<C: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> AnySaga for Saga<C> {
    fn outline(&self) -> &Arc<Outline> {
        Saga::outline(self)
    }

    fn policy(&self) -> &Arc<SnapshotPolicy> {
        Saga::policy(self)
    }

    fn check_context(&self, context: &[u8]) -> Result<()> {
        codec::context::decode::<C>(context).map(drop)
    }

    async fn start(&self, runner: &Runner, context: Value, options: StartOptions) -> Result<RunReport<Value>> {
        let text = codec::context::encode(&context, 0)?;
        runner.start_with(self, codec::context::decode(&text)?, options).await.and_then(to_json)
    }

    async fn resume(&self, runner: &Runner, id: &SagaId, options: ResumeOptions) -> Result<RunReport<Value>> {
        runner.resume_with(self, id, options).await.and_then(to_json)
    }

    async fn run_fork(&self, runner: &Runner, fork: ForkHandle) -> Result<RunReport<Value>> {
        runner.run_fork(self, fork.0).await.and_then(to_json)
    }
}

fn to_json<C: Serialize>(report: RunReport<C>) -> Result<RunReport<Value>> {
    let text: Bytes = codec::context::encode(&report.context, 0)?;
    let value = codec::context::decode(&text)?;
    Ok(report.map(|_| value))
}

/// Where definitions come from.
#[async_trait]
pub trait SagaSource: fmt::Debug + Send + Sync + 'static {
    /// The definition that `snapshot` was made with: the same name and version. None if this source does not know it.
    async fn find(&self, snapshot: &SnapshotMeta) -> Result<Option<Arc<dyn AnySaga>>>;
}

#[async_trait]
impl<S: SagaSource + ?Sized> SagaSource for Arc<S> {
    async fn find(&self, snapshot: &SnapshotMeta) -> Result<Option<Arc<dyn AnySaga>>> {
        (**self).find(snapshot).await
    }
}

/// Definitions by name and version, kept in memory.
#[derive(Default, Clone)]
pub struct Registry(BTreeMap<(Arc<str>, Arc<str>), Arc<dyn AnySaga>>);

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same registry with `saga`, instead of any other of the same name and version.
    #[must_use]
    pub fn with(mut self, saga: impl AnySaga) -> Self {
        self.register(Arc::new(saga));
        self
    }

    /// Adds a definition, instead of any other of the same name and version.
    pub fn register(&mut self, saga: Arc<dyn AnySaga>) {
        let outline = saga.outline();
        self.0.insert((outline.name().clone(), outline.version().clone()), saga);
    }

    /// The definition of this name and version.
    pub fn get(&self, name: &str, version: &str) -> Option<&Arc<dyn AnySaga>> {
        self.0.get(&(name.into(), version.into()))
    }

    /// The latest registered definition of this name; versions are compared as text.
    pub fn latest(&self, name: &str) -> Option<&Arc<dyn AnySaga>> {
        self.0.iter().rev().find(|((n, _), _)| **n == *name).map(|(_, saga)| saga)
    }

    /// Every definition, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnySaga>> {
        self.0.values()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[async_trait]
impl SagaSource for Registry {
    async fn find(&self, snapshot: &SnapshotMeta) -> Result<Option<Arc<dyn AnySaga>>> {
        Ok(self.get(snapshot.saga_name(), snapshot.saga_version()).cloned())
    }
}

/// Asks `source` and checks the answer.
///
/// # Errors
/// `NotFound` if it does not know the definition, `Refused` if it gives another one than was asked for.
pub(crate) async fn find(source: &dyn SagaSource, snapshot: &SnapshotMeta) -> Result<Arc<dyn AnySaga>> {
    let (name, version) = (snapshot.saga_name(), snapshot.saga_version());
    let Some(saga) = source.find(snapshot).await? else {
        return Err(Error::new(ErrorKind::NotFound, "find definition")
            .message(format!("no definition of saga `{name}` version `{version}` is known here"))
            .hint("register it, or name the file that defines it")
            .with("saga", &snapshot.saga_id));
    };
    let found = saga.outline();
    if **found.name() != *name || **found.version() != *version {
        return Err(Error::new(ErrorKind::Refused, "find definition")
            .message(format!(
                "asked for saga `{name}` version `{version}`, the source gave `{}` version `{}`",
                found.name(),
                found.version()
            ))
            .with("saga", &snapshot.saga_id));
    }
    Ok(saga)
}
