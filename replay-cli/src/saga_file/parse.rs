//! From YAML to a checked definition. Every error names file, line and column.

mod place;
mod raw;
mod step;

use std::collections::HashSet;

use replay::{Result, json::Pointer, saga::SnapshotPolicy};

use self::place::Place;
use super::{http_host::allowed_host, model::Definition, secrets::SecretSources};

/// Reads and checks the text of a saga file; `file` is what errors call it.
///
/// # Errors
/// `Invalid`, with file, line and column.
pub(super) fn definition(file: &str, text: &str) -> Result<Definition> {
    let place = Place::new(file, text);
    let raw: raw::File = place.read()?;
    if raw.steps.value.is_empty() {
        return Err(place.error(&raw.steps, "a saga has at least one step"));
    }
    let mut allow_hosts = Vec::new();
    for host in &raw.allow_hosts {
        allow_hosts.push(allowed_host(&host.value).map_err(|why| place.error(host, why))?);
    }
    let mut labels = Vec::new();
    for (key, pointer) in raw.labels {
        Pointer::parse(&pointer.value).map_err(|error| place.error(&pointer, error.detail().unwrap_or("not a JSON pointer")))?;
        labels.push((key, pointer.value));
    }
    let mut steps = Vec::new();
    let mut names = HashSet::new();
    for raw_step in raw.steps.value {
        let step = step::check(&place, raw_step, &allow_hosts, &names)?;
        names.insert(step.name.clone());
        steps.push(step);
    }
    Ok(Definition {
        name: raw.name.value,
        version: raw.version.map_or_else(|| "1".to_owned(), |version| version.0),
        labels,
        secrets: secrets(&place, raw.secrets)?,
        allow_hosts,
        policy: policy(&place, raw.strategy, raw.retention, raw.max_snapshots)?,
        max_concurrency: raw.max_concurrency.map_or(16, usize::from),
        steps,
    })
}

fn secrets(place: &Place<'_>, raw: raw::Map) -> Result<SecretSources> {
    let source = |(name, from): (String, raw::Text)| {
        let legal = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let variable = if from.value == "env" { Some(name.as_str()) } else { from.value.strip_prefix("env:") };
        match variable.filter(|variable| legal(variable) && legal(&name)) {
            Some(variable) => Ok((name.clone(), variable.to_owned())),
            None => Err(place
                .error(&from, format!("the secret `{name}` needs a source"))
                .hint("write NAME: env, or NAME: env:OTHER_VARIABLE; a secret itself never stands in a saga file")),
        }
    };
    raw.into_iter().map(source).collect()
}

fn policy(
    place: &Place<'_>,
    strategy: Option<raw::Text>,
    retention: Option<raw::Text>,
    max_snapshots: Option<u64>,
) -> Result<SnapshotPolicy> {
    let mut policy = SnapshotPolicy::default();
    if let Some(strategy) = strategy {
        policy = policy.with_strategy(strategy.value.parse().map_err(|error| place.wrap(&strategy, &error))?);
    }
    if let Some(retention) = retention {
        policy = policy.with_retention(place.duration(&retention)?);
    }
    if let Some(max) = max_snapshots {
        policy = policy.with_max_snapshots(max);
    }
    Ok(policy)
}
