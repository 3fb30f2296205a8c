//! The plan, without a runtime.

use proptest::prelude::*;

use super::*;
use crate::{OutlineStep, SagaStatus, json::Override, saga::Position};

fn id(text: &str) -> SagaId {
    SagaId::new(text).unwrap()
}

fn outline(needs: &[Vec<u32>]) -> Outline {
    let step = |(at, needs): (usize, &Vec<u32>)| {
        let mut step = OutlineStep::new(format!("s{at}"), needs.clone());
        step.has_compensation = at % 2 == 0;
        step
    };
    Outline::new("made", "1", needs.iter().enumerate().map(step).collect()).unwrap()
}

fn chain(len: u32) -> Outline {
    outline(&(0..len).map(|at| at.checked_sub(1).into_iter().collect()).collect::<Vec<_>>())
}

fn snapshot(outline: &Outline, sequence: u64, completed: &[u32]) -> SnapshotMeta {
    let outline = Arc::new(Outline::from_bytes(outline.as_bytes().clone()).unwrap());
    let mut meta = SnapshotMeta::new(id("o"), outline, sequence, DateTime::default());
    meta.completed = completed.iter().copied().collect();
    meta.status = SagaStatus::Executing;
    meta
}

#[derive(Debug)]
struct Case {
    request: ReplayRequest,
    checkpoint: SnapshotMeta,
    newest: SnapshotMeta,
    gone: BTreeSet<Arc<str>>,
    definition: Outline,
}

impl Case {
    fn new(definition: Outline, completed: &[u32]) -> Self {
        let checkpoint = snapshot(&definition, 1, completed);
        let newest = snapshot(&definition, 9, completed);
        let request = ReplayRequest::new(id("o"), crate::replay::Checkpoint::Sequence(1));
        Self { request, checkpoint, newest, gone: BTreeSet::new(), definition }
    }

    fn plan(&self) -> Result<Planned> {
        plan(&Given {
            request: &self.request,
            checkpoint: &self.checkpoint,
            newest: &self.newest,
            gone: &self.gone,
            definition: &self.definition,
            namespace: &Namespace::default(),
            new_saga: &id("n"),
            redactor: &Redactor::default(),
        })
    }
}

#[test]
fn completed_steps_are_skipped_and_compensated_ones_run_again() {
    let mut case = Case::new(chain(4), &[0, 1]);
    case.gone = BTreeSet::from(["s1".into()]);
    let planned = case.plan().unwrap();
    let actions: Vec<_> = planned.plan.steps.iter().map(|step| (&*step.name, step.action)).collect();
    assert_eq!(actions, [("s0", StepPlan::Skip), ("s1", StepPlan::RunAgain), ("s2", StepPlan::Run), ("s3", StepPlan::Run)]);
    assert_eq!(planned.completed.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(planned.plan.next_steps, ["s1".into()]);
    case.request.compensated = Compensated::Skip;
    assert_eq!(case.plan().unwrap().plan.steps_to(StepPlan::Skip), ["s0", "s1"]);
}

#[test]
fn the_origin_names_only_the_steps_whose_keys_are_unusual() {
    let mut case = Case::new(chain(1_000), &(0..900).collect::<Vec<_>>());
    assert!(case.plan().unwrap().step_key_bases.is_empty());
    case.request.keys = KeyPolicy::Fresh;
    let planned = case.plan().unwrap();
    assert_eq!((planned.key_base, planned.step_key_bases.len()), (id("o"), 100));
    let mut early = Case::new(chain(1_000), &[0]);
    early.request.keys = KeyPolicy::Fresh;
    let planned = early.plan().unwrap();
    assert_eq!((planned.key_base, planned.step_key_bases), (id("n"), BTreeMap::from([("s0".into(), id("o"))])));
}

#[test]
fn a_step_that_is_skipped_cannot_be_made_to_fail() {
    let mut case = Case::new(chain(3), &[0]);
    case.request.force_failure = ForceFailure::Step("s0".into());
    assert!(case.plan().err().unwrap().is(ErrorKind::Invalid));
    case.request.force_failure = ForceFailure::Step("s2".into());
    let planned = case.plan().unwrap();
    assert_eq!(planned.force_failure.as_deref(), Some("s2"));
    let failing = planned.plan.step("s2").unwrap();
    assert_eq!((failing.action, failing.idempotency_key.is_none()), (StepPlan::Fail, true));
}

#[test]
fn a_plan_shows_no_secret_of_the_override() {
    let mut case = Case::new(chain(2), &[]);
    case.request.context_override = Override::from_assignments(&["token=canary", "n=1"]).unwrap();
    let shown = serde_json::to_string(&case.plan().unwrap().plan).unwrap();
    assert!(!shown.contains("canary") && shown.contains("[redacted]"), "{shown}");
}

fn cases() -> impl Strategy<Value = Case> {
    (1_usize..12).prop_flat_map(|len| {
        let needs: Vec<_> = (0..len).map(|at| proptest::collection::vec(any::<bool>(), at)).collect();
        let flags = || proptest::collection::vec(any::<bool>(), len);
        (needs, flags(), flags(), flags(), any::<bool>(), any::<bool>()).prop_map(move |(needs, wanted, gone, fresh, all_fresh, skip)| {
            let needs: Vec<Vec<u32>> =
                needs.iter().map(|row| (0_u32..).zip(row).filter(|(_, wanted)| **wanted).map(|(at, _)| at).collect()).collect();
            let definition = outline(&needs);
            // What can be completed: only steps whose needs are.
            let mut completed = Vec::new();
            for at in 0..u32::try_from(len).unwrap() {
                if wanted[at as usize] && needs[at as usize].iter().all(|need| completed.contains(need)) {
                    completed.push(at);
                }
            }
            let mut case = Case::new(definition, &completed);
            let name = |at: usize| -> Arc<str> { format!("s{at}").into() };
            case.gone = (0..len).filter(|at| gone[*at]).map(name).collect();
            case.request.fresh_keys = (0..len).filter(|at| fresh[*at]).map(name).collect();
            case.request.keys = if all_fresh { KeyPolicy::Fresh } else { KeyPolicy::Inherit };
            case.request.compensated = if skip { Compensated::Skip } else { Compensated::Rerun };
            case
        })
    })
}

proptest! {
    #[test]
    fn every_step_is_planned_once_with_the_key_that_the_fork_will_have(case in cases()) {
        let planned = case.plan().unwrap();
        let mut names: Vec<&str> = planned.plan.steps.iter().map(|step| &*step.name).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), case.definition.steps().len());
        let mut origin = Origin::new(id("o"), 1, crate::ReplayId::from_uuid(uuid::Uuid::nil()), id("o"), planned.key_base.clone());
        origin.step_key_bases = planned.step_key_bases.clone();
        for step in &planned.plan.steps {
            let base = key_base(&planned.plan.new_saga, Some(&origin), &step.name).clone();
            let key = KeySource { namespace: Namespace::default(), base: base.clone(), compensation: false }.key(&step.name);
            prop_assert_eq!(step.idempotency_key.clone(), (step.action != StepPlan::Skip).then_some(key));
            let gone = case.gone.contains(&step.name);
            match step.action {
                StepPlan::Skip => {
                    prop_assert_eq!(base, id("o"));
                    prop_assert!(!gone || case.request.compensated == Compensated::Skip);
                }
                StepPlan::RunAgain => prop_assert_eq!(base, id("n")),
                _ => prop_assert_eq!(base == id("n"), gone || step.fresh_key),
            }
        }
    }

    #[test]
    fn the_engine_runs_what_is_planned_in_an_order_that_the_needs_allow(case in cases()) {
        let planned = case.plan().unwrap();
        let steps = case.definition.steps();
        let mut dependents = vec![Vec::new(); steps.len()];
        for (at, step) in (0_u32..).zip(steps) {
            step.needs.iter().for_each(|need| dependents[*need as usize].push(at));
        }
        let shared = Arc::new(Outline::from_bytes(case.definition.as_bytes().clone()).unwrap());
        let mut position = Position::at(shared, SagaStatus::Executing, planned.completed.clone(), StepRanges::default(), None);
        let names = |wave: &[u32]| wave.iter().map(|at| steps[*at as usize].name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(position.wave()), planned.plan.next_steps.clone());
        let mut ran = BTreeSet::new();
        let mut open = vec![];
        while let Some(at) = position.wave().first().copied() {
            open.clear();
            open.extend(&steps[at as usize].needs);
            // Whatever it builds on, directly or not, is skipped or has run.
            while let Some(need) = open.pop() {
                prop_assert!(ran.contains(&need) || planned.completed.contains(need));
                open.extend(&steps[need as usize].needs);
            }
            prop_assert!(ran.insert(at), "a step runs once");
            position.complete(at, &dependents);
        }
        let planned_to_run: BTreeSet<u32> =
            planned.plan.steps.iter().filter(|step| step.action != StepPlan::Skip).filter_map(|step| case.definition.index_of(&step.name)).collect();
        prop_assert_eq!(ran, planned_to_run);
    }
}
