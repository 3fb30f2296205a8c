//! What a saga file says, once it is checked.

use std::{collections::BTreeMap, time::Duration};

use replay::{
    json::Pointer,
    saga::{RetryPolicy, SnapshotPolicy},
};
use serde_json::Value;

use super::{http_host::UrlTemplate, secrets::SecretSources};

/// A whole file.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) version: String,
    /// Searchable words, with the pointer into the first context.
    pub(super) labels: Vec<(String, String)>,
    pub(super) secrets: SecretSources,
    /// Hosts that a templated URL or a redirect may lead to, in lower case, with the port where it is not the usual one.
    pub(super) allow_hosts: Vec<String>,
    pub(super) policy: SnapshotPolicy,
    pub(super) max_concurrency: usize,
    pub(super) steps: Vec<StepDefinition>,
}

/// One step.
#[derive(Debug)]
pub(super) struct StepDefinition {
    pub(super) name: String,
    pub(super) action: Action,
    pub(super) compensation: Option<(Action, Option<RetryPolicy>)>,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) timeout: Option<Duration>,
    pub(super) needs: Option<Vec<String>>,
    pub(super) pivot: bool,
    /// Templates of further environment variables.
    pub(super) env: BTreeMap<String, String>,
}

/// What a step, or its compensation, does.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Command(Command),
    Http(Box<Http>),
}

/// A program and its arguments; never empty.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    /// Whether the file says `shell:`, so that the program is the system's shell.
    pub(super) is_shell: bool,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) method: reqwest::Method,
    pub(super) url: UrlTemplate,
    pub(super) json: Option<Value>,
    /// Header names with templates of their values.
    pub(super) headers: Vec<(reqwest::header::HeaderName, String)>,
    /// Places in the context, with the place in the response that each is taken from.
    pub(super) save: Vec<(Pointer, Pointer)>,
}
