//! The plan of a replay: a pure function of what is recorded, the definition and the request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Compensated, ForceFailure, KeyPolicy, ReplayRequest};
use crate::{
    Digest, Error, ErrorKind, Namespace, Origin, Outline, Result, SagaId, SnapshotMeta, StepRanges,
    json::Redactor,
    saga::{KeySource, outline_change},
};

/// What a replay does with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepPlan {
    /// It is completed, and is not executed.
    Skip,
    /// It is completed, but was compensated since, so it runs again.
    RunAgain,
    /// It runs.
    Run,
    /// It fails without being executed, as the request wants it.
    Fail,
}

impl fmt::Display for StepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Skip => "skip",
            Self::RunAgain => "run_again",
            Self::Run => "run",
            Self::Fail => "fail",
        })
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct PlannedStep {
    /// The step's name.
    pub name: Arc<str>,
    /// What is done with it.
    pub action: StepPlan,
    /// The idempotency key that its action hands on; none if it is not executed.
    pub idempotency_key: Option<String>,
    /// Whether that key is not the one that the original's step had.
    pub fresh_key: bool,
    /// Whether it has a compensation, which runs if the replay fails after the step, also if it is skipped.
    pub has_compensation: bool,
    /// Whether it is irreversible.
    pub pivot: bool,
    /// Whether its effect was compensated, by the original or by another replay that had skipped it.
    pub compensated: bool,
}

/// How the definition that is used differs from the recorded one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DefinitionChange {
    /// The fingerprint at the checkpoint.
    pub recorded: Digest,
    /// The fingerprint of the definition that is used.
    pub used: Digest,
    /// Whether they differ.
    pub changed: bool,
    /// Steps that only the definition that is used has.
    pub added: Vec<Arc<str>>,
    /// Steps that only the recorded one has.
    pub removed: Vec<Arc<str>>,
}

/// Why a replay is refused: what [`replay`](super::SagaReplay::replay) fails with, if it is the first of its plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// The error in one line, with its facts.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.to_string(), hint: error.advice().map(str::to_owned) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a replay will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplayPlan {
    /// The saga to replay.
    pub original: SagaId,
    /// The id of the new saga. A replay that is given this id has the keys that are shown.
    pub new_saga: SagaId,
    /// The name of the saga's definition.
    pub saga_name: Arc<str>,
    /// The sequence of the checkpoint.
    pub sequence: u64,
    /// When the checkpoint was captured.
    pub created_at: DateTime<Utc>,
    /// The steps that run first.
    pub next_steps: Vec<Arc<str>>,
    /// Every step: the skipped ones in order of completion, then the others in order of definition.
    pub steps: Vec<PlannedStep>,
    /// How the definition differs.
    pub definition: DefinitionChange,
    /// How the context differs, without its secrets, as [`Override`](crate::json::Override) is serialised.
    pub context_override: Value,
    /// Why the replay is refused, in the order of the checks; only a dry run shows them. Empty: it would run.
    pub refusals: Vec<Refusal>,
    /// What its reader should know before it runs.
    pub warnings: Vec<String>,
}

impl ReplayPlan {
    /// The names of the steps with which `action` is done, in order.
    pub fn steps_to(&self, action: StepPlan) -> Vec<&str> {
        self.steps.iter().filter(|step| step.action == action).map(|step| &*step.name).collect()
    }

    /// What is done with the step `name`.
    pub fn step(&self, name: &str) -> Option<&PlannedStep> {
        self.steps.iter().find(|step| &*step.name == name)
    }
}

/// What a plan is made of.
pub(crate) struct Given<'a> {
    pub(crate) request: &'a ReplayRequest,
    pub(crate) checkpoint: &'a SnapshotMeta,
    /// The newest record of the original.
    pub(crate) newest: &'a SnapshotMeta,
    /// Steps whose effect, as the original knows it, was compensated anywhere in its lineage.
    pub(crate) gone: &'a BTreeSet<Arc<str>>,
    pub(crate) definition: &'a Outline,
    pub(crate) namespace: &'a Namespace,
    pub(crate) new_saga: &'a SagaId,
    pub(crate) redactor: &'a Redactor,
}

/// A plan, and what the fork needs of it in the engine's terms.
pub(crate) struct Planned {
    pub(crate) plan: ReplayPlan,
    pub(crate) completed: StepRanges,
    pub(crate) key_base: SagaId,
    pub(crate) step_key_bases: BTreeMap<Arc<str>, SagaId>,
    pub(crate) force_failure: Option<Arc<str>>,
}

/// Whose idempotency key the step `name` of a saga has.
pub(crate) fn key_base<'a>(saga: &'a SagaId, origin: Option<&'a Origin>, name: &str) -> &'a SagaId {
    origin.map_or(saga, |origin| origin.step_key_bases.get(name).unwrap_or(&origin.key_base))
}

/// Plans a replay.
///
/// # Errors
/// `Refused` if completed steps no longer exist, `Invalid` for a step that the request names and that cannot do what it wants.
pub(crate) fn plan(given: &Given<'_>) -> Result<Planned> {
    let Given { request, checkpoint, definition, .. } = given;
    let carried = outline_change::carry(&checkpoint.outline, definition, &checkpoint.completed)?;
    let is_gone = |at: u32| definition.step(at).is_some_and(|step| given.gone.contains(&step.name));
    let rerun = request.compensated == Compensated::Rerun;
    let completed: StepRanges = carried.iter().filter(|at| !(rerun && is_gone(*at))).collect();
    let forced = forced(given, &completed)?;
    for name in &request.fresh_keys {
        known_step(definition, name)?;
    }
    let was_completed: HashSet<u32> = carried.iter().collect();
    let skipped: HashSet<u32> = completed.iter().collect();
    let all = 0..u32::try_from(definition.steps().len()).unwrap_or(u32::MAX);
    let order = completed.iter().chain(all.filter(|at| !skipped.contains(at)));
    let mut steps = Vec::with_capacity(definition.steps().len());
    let mut bases = Vec::with_capacity(definition.steps().len());
    for at in order {
        let Some(step) = definition.step(at) else { continue };
        let action = match () {
            () if skipped.contains(&at) => StepPlan::Skip,
            () if forced.as_ref() == Some(&step.name) => StepPlan::Fail,
            () if was_completed.contains(&at) => StepPlan::RunAgain,
            () => StepPlan::Run,
        };
        let inherited = key_base(&given.newest.saga_id, given.newest.origin.as_deref(), &step.name);
        let fresh =
            action != StepPlan::Skip && (is_gone(at) || request.keys == KeyPolicy::Fresh || request.fresh_keys.contains(&step.name));
        let base = if fresh { given.new_saga } else { inherited };
        let runs = matches!(action, StepPlan::Run | StepPlan::RunAgain);
        let key = KeySource { namespace: given.namespace.clone(), base: base.clone(), compensation: false };
        bases.push((step.name.clone(), base));
        steps.push(PlannedStep {
            name: step.name.clone(),
            action,
            idempotency_key: runs.then(|| key.key(&step.name)),
            fresh_key: runs && fresh,
            has_compensation: step.has_compensation,
            pivot: step.pivot,
            compensated: is_gone(at),
        });
    }
    let (key_base, step_key_bases) = compact(&bases, given.new_saga);
    let plan = ReplayPlan {
        original: checkpoint.saga_id.clone(),
        new_saga: given.new_saga.clone(),
        saga_name: definition.name().clone(),
        sequence: checkpoint.sequence,
        created_at: checkpoint.created_at,
        next_steps: first_wave(definition, &skipped),
        definition: definition_change(&checkpoint.outline, definition),
        context_override: request.context_override.redacted(given.redactor),
        refusals: Vec::new(),
        warnings: warnings(given, &steps),
        steps,
    };
    Ok(Planned { plan, completed, key_base, step_key_bases, force_failure: forced })
}

/// The steps that nothing keeps from running at once, as the engine sees it.
fn first_wave(definition: &Outline, completed: &HashSet<u32>) -> Vec<Arc<str>> {
    let mut settled = Vec::with_capacity(definition.steps().len());
    let mut first = Vec::new();
    for (at, step) in (0_u32..).zip(definition.steps()) {
        let open = step.needs.iter().any(|need| settled.get(*need as usize) != Some(&true));
        let done = completed.contains(&at);
        if !open && !done {
            first.push(step.name.clone());
        }
        settled.push(!open && done);
    }
    first
}

/// The most frequent base once, and the steps that have another, so that the origin in each snapshot stays small.
fn compact(bases: &[(Arc<str>, &SagaId)], new_saga: &SagaId) -> (SagaId, BTreeMap<Arc<str>, SagaId>) {
    let mut counts: HashMap<&SagaId, usize> = HashMap::new();
    for (_, base) in bases {
        *counts.entry(*base).or_default() += 1;
    }
    let usual = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))).map_or(new_saga, |(base, _)| base);
    let others = bases.iter().filter(|(_, base)| *base != usual).map(|(name, base)| (name.clone(), (*base).clone()));
    (usual.clone(), others.collect())
}

fn forced(given: &Given<'_>, completed: &StepRanges) -> Result<Option<Arc<str>>> {
    let name = match &given.request.force_failure {
        ForceFailure::Never => return Ok(None),
        ForceFailure::Step(name) => name.clone(),
        ForceFailure::Checkpoint => match &given.request.checkpoint {
            super::Checkpoint::Step(name) => name.clone(),
            _ => given.checkpoint.next_steps().iter().next().unwrap_or_default().into(),
        },
    };
    let at = known_step(given.definition, &name)?;
    if completed.contains(at) {
        return Err(Error::invalid("replay saga", format!("step `{name}` is skipped, so it cannot be made to fail"))
            .hint("name a step that runs, or replay from an earlier checkpoint")
            .with("step", name));
    }
    Ok(Some(name))
}

fn known_step(definition: &Outline, name: &str) -> Result<u32> {
    definition.index_of(name).ok_or_else(|| unknown_step(definition, name))
}

/// There never was such a step.
pub(crate) fn unknown_step(outline: &Outline, name: &str) -> Error {
    let names: Vec<&str> = outline.steps().iter().map(|step| &*step.name).collect();
    let near = names.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let shown = names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 20 { format!(" and {} more", names.len() - 20) } else { String::new() };
    let hint = match near {
        Some(near) if strsim::jaro_winkler(near, name) > 0.8 => format!("did you mean `{near}`? steps: {shown}{more}"),
        _ => format!("steps: {shown}{more}"),
    };
    Error::invalid("replay saga", format!("saga `{}` has no step `{name}`", outline.name())).hint(hint).with("step", name)
}

fn definition_change(recorded: &Outline, used: &Outline) -> DefinitionChange {
    let missing = |of: &Outline, from: &Outline| -> Vec<Arc<str>> {
        of.steps().iter().filter(|step| from.index_of(&step.name).is_none()).map(|step| step.name.clone()).collect()
    };
    DefinitionChange {
        recorded: recorded.fingerprint(),
        used: used.fingerprint(),
        changed: recorded != used,
        added: missing(used, recorded),
        removed: missing(recorded, used),
    }
}

fn warnings(given: &Given<'_>, steps: &[PlannedStep]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |names: Vec<&str>, what: &str| {
        if !names.is_empty() {
            let shown = names.iter().take(10).copied().collect::<Vec<_>>().join(", ");
            let more = if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
            warnings.push(format!("{shown}{more}: {what}"));
        }
    };
    let pick = |wanted: &dyn Fn(&PlannedStep) -> bool| steps.iter().filter(|step| wanted(step)).map(|step| &*step.name).collect();
    let stands: HashSet<&str> = given.newest.completed_steps().iter().collect();
    let again = |step: &PlannedStep| step.action == StepPlan::Run && stands.contains(&*step.name) && !step.compensated;
    warn(pick(&|step| step.action == StepPlan::RunAgain), "compensated since the checkpoint, so the effect is made again");
    warn(pick(&|step| step.action == StepPlan::Skip && step.compensated), "skipped although the effect was compensated");
    warn(pick(&|step| again(step) && !step.fresh_key), "completed in the original and executed again, with the same idempotency key");
    warn(pick(&|step| again(step) && step.fresh_key), "completed in the original and executed again, with a fresh idempotency key");
    if !given.newest.status.is_terminal() && given.newest.status != crate::SagaStatus::Parked {
        warnings.push(format!("the original is {}: what it does from now on is not seen by the replay", given.newest.status));
    }
    if given.definition.fingerprint() != given.checkpoint.fingerprint() {
        warnings.push("the definition has changed since the checkpoint".to_owned());
    }
    warnings
}

/// The refusal of a changed definition.
pub(crate) fn changed_definition(change: &DefinitionChange) -> Error {
    let list = |names: &[Arc<str>]| names.iter().take(10).map(|name| &**name).collect::<Vec<_>>().join(", ");
    let mut error = Error::new(ErrorKind::Refused, "replay saga")
        .message("the definition has changed since the checkpoint")
        .hint("allow a changed definition if that is meant")
        .with("recorded", change.recorded)
        .with("used", change.used);
    for (key, names) in [("added", &change.added), ("removed", &change.removed)] {
        if !names.is_empty() {
            error = error.with(key, list(names));
        }
    }
    error
}

#[cfg(test)]
mod tests;
