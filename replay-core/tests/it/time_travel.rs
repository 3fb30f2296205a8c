//! Looking into the past.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use replay_core::{
    Digest, ErrorKind, Outline, OutlineStep, Phase, Result, SagaStatus, SnapshotMeta, SnapshotRecord, StepRanges, Store,
    json::Pointer,
    saga::Disposition,
    storage::{At, Capabilities, PruneReport, PruneRequest, PruneScope, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage, TimeRange},
    time_travel::{Agreement, Direction, KeyHistoryQuery, Lookup, StateChangesQuery, TimeTravel, parse_instant},
};
use serde_json::{Value, json};

use crate::support::*;

fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A history of `contexts`, one a second, before step 1, 2, …; the last one is the end.
fn records(saga: &str, contexts: &[Value]) -> Vec<SnapshotRecord> {
    let steps = (0_u32..).take(contexts.len().max(2) - 1);
    let steps = steps.map(|at| OutlineStep::new(format!("s{at}"), at.checked_sub(1).into_iter().collect())).collect();
    let outline = Arc::new(Outline::new("made", "1", steps).unwrap());
    let mut prev = Digest::ZERO;
    let mut records = Vec::new();
    for (at, context) in (0_u32..).zip(contexts) {
        let created_at = start() + TimeDelta::seconds(i64::from(at));
        let mut meta = SnapshotMeta::new(id(saga), outline.clone(), u64::from(at) + 1, created_at);
        let is_last = at as usize == outline.steps().len();
        meta.completed = (0..at).collect();
        meta.prev_digest = prev;
        meta.status = if is_last { SagaStatus::Completed } else { SagaStatus::Executing };
        meta.phase = if is_last { Phase::Completion } else { Phase::BeforeStep };
        if !is_last {
            (meta.step, meta.next) = (Some(at), StepRanges::one(at));
        }
        let record = SnapshotRecord::seal(meta, serde_json::to_vec(context).unwrap().into());
        prev = record.digest();
        records.push(record);
    }
    records
}

async fn keep(store: &Store, records: Vec<SnapshotRecord>) {
    store.snapshots().append(records).await.unwrap();
}

/// Counts reads, and the contexts in listings.
#[derive(Debug)]
struct Counting(Arc<dyn SnapshotStorage>, AtomicU64, Arc<AtomicU64>);

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counting({})", self.0)
    }
}

#[async_trait]
impl SnapshotStorage for Counting {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        self.0.append(records).await
    }

    async fn load(&self, saga: &replay_core::SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.load(saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.1.fetch_add(1_000_000, Ordering::SeqCst);
        let contexts = self.2.clone();
        let count = move |record: &SnapshotRecord| {
            contexts.fetch_add(u64::from(record.has_payload()), Ordering::SeqCst);
        };
        self.0.list(query).inspect_ok(count).boxed()
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.1.fetch_add(1_000_000, Ordering::SeqCst);
        self.0.sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.0.prune(request).await
    }
}

#[tokio::test]
async fn tt1_the_state_at_any_instant_of_10_000_snapshots_takes_one_read() {
    let contexts: Vec<Value> = (0..10_000).map(|n| json!({"n": n})).collect();
    let store = store().await;
    keep(&store, records("o", &contexts)).await;
    let counting = Counting(store.snapshots().clone(), AtomicU64::new(0), Arc::default());
    let mut random = 12_345_u64;
    for read in 1..=1000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let micros = i64::try_from(random % 10_010_000_000).unwrap();
        let state = counting.state_at(&id("o"), start() + TimeDelta::microseconds(micros)).await.unwrap().unwrap();
        let expected = (micros / 1_000_000).min(9_999);
        assert_eq!(state.context().unwrap(), json!({"n": expected}));
        assert_eq!(counting.1.load(Ordering::SeqCst), read);
    }
}

#[tokio::test]
async fn tt2_an_instant_takes_the_newest_snapshot_that_is_not_later() {
    let store = store().await;
    keep(&store, records("o", &[json!(0), json!(1), json!(2)])).await;
    let at = async |offset_us: i64| {
        let state = store.snapshots().state_at(&id("o"), start() + TimeDelta::microseconds(offset_us)).await.unwrap();
        state.map(|state| (state.sequence, state.status))
    };
    assert_eq!(at(-1).await, None);
    assert_eq!(at(0).await, Some((1, SagaStatus::Executing)));
    assert_eq!(at(999_999).await, Some((1, SagaStatus::Executing)));
    assert_eq!(at(1_000_000).await, Some((2, SagaStatus::Executing)));
    assert_eq!(at(1_000_000_000_000).await, Some((3, SagaStatus::Completed)));
    assert!(store.snapshots().state_at(&id("none"), start()).await.unwrap().is_none());
}

#[tokio::test]
async fn tt3_an_instant_of_another_zone_is_the_same_and_one_without_is_refused() {
    let store = store().await;
    keep(&store, records("o", &[json!(0), json!(1)])).await;
    let instant = parse_instant("2026-01-01T05:30:00.5+05:30").unwrap();
    let state = store.snapshots().state_at(&id("o"), instant).await.unwrap().unwrap();
    assert_eq!((state.sequence, state.created_at), (1, start()));
    assert!(parse_instant("2026-01-01T00:00:00").unwrap_err().is(ErrorKind::Invalid));
}

#[tokio::test]
async fn tt4_changes_are_paged_through_by_cursor_while_the_saga_goes_on() {
    let contexts: Vec<Value> = (0..10_000).map(|n| json!({ "n": n / 2 })).collect();
    let all = records("o", &contexts);
    let store = store().await;
    keep(&store, all[..5_000].to_vec()).await;
    let mut rest = all[5_000..].chunks(250);
    let mut query = StateChangesQuery::new(id("o")).with_limit(333);
    let mut seen = Vec::new();
    loop {
        let page = store.snapshots().state_changes(query.clone()).await.unwrap();
        assert!(page.changes.len() <= 333);
        seen.extend(page.changes);
        if let Some(more) = rest.next() {
            keep(&store, more.to_vec()).await;
        }
        match page.next_cursor {
            Some(cursor) => query = query.with_cursor(cursor),
            None => break,
        }
    }
    assert_eq!(seen.iter().map(|change| change.sequence).collect::<Vec<_>>(), (1..=10_000).collect::<Vec<_>>());
    assert_eq!(seen[7].completed.iter().map(|name| &**name).collect::<Vec<_>>(), ["s6"]);
    assert_eq!(seen[333].previous_status, Some(SagaStatus::Executing), "the first of a page knows what was before it");
    assert_eq!(seen[333].completed.len(), 1);
    assert!(seen.iter().skip(1).all(|change| change.context_changed == (change.sequence % 2 == 1)));
    assert_eq!(seen[9_999].status, SagaStatus::Completed);
    assert!(store.snapshots().state_changes(query.with_cursor("x")).await.unwrap_err().is(ErrorKind::Invalid));
}

#[tokio::test]
async fn tt4_changes_are_limited_to_a_range_and_told_as_patches() {
    let store = store().await;
    keep(&store, records("o", &[json!({"a": 1}), json!({"a": 2}), json!({"a": 2, "b": null})])).await;
    let range = TimeRange { from: Some(start() + TimeDelta::seconds(1)), until: None };
    let query = StateChangesQuery::new(id("o")).with_range(range).with_patches(true);
    let page = store.snapshots().state_changes(query).await.unwrap();
    let patches: Vec<Value> = page.changes.iter().map(|change| serde_json::to_value(&change.patch).unwrap()).collect();
    assert_eq!(patches[0], json!([{"op": "replace", "path": "/a", "value": 2}]));
    assert_eq!(patches[1], json!([{"op": "add", "path": "/b", "value": null}]));
    assert_eq!(page.next_cursor, None);
}

#[tokio::test]
async fn tt4_a_change_after_a_pruned_one_does_not_guess_what_was_before() {
    let store = store().await;
    let all = records("o", &[json!(1), json!(2), json!(3), json!(4)]);
    keep(&store, all.clone()).await;
    let prune = PruneRequest::new(PruneScope::Record(all[1].id()));
    assert_eq!(store.snapshots().prune(prune).await.unwrap().records, 1);
    let page = store.snapshots().state_changes(StateChangesQuery::new(id("o")).with_patches(true)).await.unwrap();
    let known: Vec<_> =
        page.changes.iter().map(|change| (change.sequence, change.previous_status.is_some(), change.patch.is_some())).collect();
    assert_eq!(known, [(1, false, false), (3, false, false), (4, true, true)]);
}

#[tokio::test]
async fn tt5_a_missing_place_is_null_but_not_taken_for_one() {
    let store = store().await;
    keep(&store, records("o", &[json!({"a": {"b": null}, "list": [1, 2]}), json!({})])).await;
    let look = async |at: DateTime<Utc>, pointer: &str| {
        store.snapshots().context_at(&id("o"), at, &Pointer::parse(pointer).unwrap()).await.unwrap()
    };
    assert_eq!(look(start(), "/list/1").await, Lookup::Found { sequence: 1, value: json!(2) });
    let null = look(start(), "a.b").await;
    let missing = look(start(), "a.c").await;
    assert_eq!(null, Lookup::Found { sequence: 1, value: Value::Null });
    assert_eq!(missing, Lookup::Missing { sequence: 1 });
    assert_eq!((null.value(), missing.value()), (Some(&Value::Null), None));
    assert_eq!((null.into_value(), missing.into_value()), (Value::Null, Value::Null));
    assert_eq!(look(start() - TimeDelta::seconds(1), "").await, Lookup::NoSnapshot);
}

#[tokio::test]
async fn tt6_the_diff_of_two_states_applied_gives_the_second() {
    let large = |salt: u64| -> Value { (0..20_000).map(|n| json!({"id": n, "value": format!("{:x}", n * salt)})).collect() };
    let contexts = [json!({"items": large(1), "x": 1}), json!({"items": large(3), "y": [null]}), json!({"items": large(1), "x": 1})];
    let store = store().await;
    keep(&store, records("o", &contexts)).await;
    let position = |at: usize| At::Sequence(at as u64 + 1);
    for (from, to) in [(0, 1), (1, 0), (1, 2), (0, 2)] {
        let diff = store.snapshots().diff(&id("o"), position(from), position(to)).await.unwrap();
        let mut context = contexts[from].clone();
        diff.context.apply(&mut context).unwrap();
        assert_eq!(context, contexts[to]);
    }
    let diff = store.snapshots().diff(&id("o"), At::Time(start()), At::Latest).await.unwrap();
    assert_eq!(diff.completed.len(), 2);
    assert_eq!((diff.from.status, diff.to.status), (SagaStatus::Executing, SagaStatus::Completed));
    assert!(diff.context.is_empty() && !diff.is_empty());
    let back = store.snapshots().diff(&id("o"), At::Latest, At::Sequence(1)).await.unwrap();
    assert_eq!(back.no_longer_completed.len(), 2);
    let error = store.snapshots().diff(&id("o"), At::Sequence(9), At::Latest).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound) && error.to_string().contains("sequence 9"), "{error}");
}

#[tokio::test]
async fn tt7_two_runs_differ_first_at_the_step_that_failed_in_one() {
    let (store, journal) = (store().await, Journal::default());
    let (runner, saga) = (runner(&store), order(&journal));
    runner.start_with(&saga, json!({}), named("a")).await.unwrap();
    runner.start_with(&saga, json!({"fail": "charge"}), named("b")).await.unwrap();
    runner.start_with(&saga, json!({}), named("c")).await.unwrap();

    let diff = store.snapshots().diff_runs(&id("a"), &id("b")).await.unwrap();
    assert_eq!(serde_json::to_value(&diff.start).unwrap(), json!([{"op": "add", "path": "/fail", "value": "charge"}]));
    let first = diff.first.as_ref().unwrap();
    assert_eq!((&*first.step_name, first.direction, first.index), ("reserve", Direction::Forward, 0), "its context has another input");
    let described: Vec<_> = diff.steps.iter().map(|step| (&*step.step_name, step.direction, step.agreement)).collect();
    assert_eq!(
        described,
        [
            ("reserve", Direction::Forward, Agreement::Differs),
            ("charge", Direction::Forward, Agreement::Differs),
            ("ship", Direction::Forward, Agreement::OnlyA),
            ("reserve", Direction::Compensation, Agreement::OnlyB),
        ]
    );
    assert_eq!(diff.steps[1].b.as_ref().unwrap().disposition, Disposition::Failed);
    assert_eq!((diff.a.status, diff.b.status), (SagaStatus::Completed, SagaStatus::RolledBack));

    let same = store.snapshots().diff_runs(&id("a"), &id("c")).await.unwrap();
    assert_eq!((same.first.is_none(), same.start.is_empty(), same.end.is_empty(), same.steps.len()), (true, true, true, 3));
    assert!(store.snapshots().diff_runs(&id("a"), &id("none")).await.unwrap_err().is(ErrorKind::NotFound));
}

#[tokio::test]
async fn tt7_two_runs_of_one_input_differ_first_where_their_contexts_part() {
    let store = store().await;
    keep(&store, records("a", &[json!({}), json!({"x": 1}), json!({"x": 1, "y": 2}), json!({"x": 1, "y": 3})])).await;
    keep(&store, records("b", &[json!({}), json!({"x": 1}), json!({"x": 1, "y": 9}), json!({"x": 1, "y": 3})])).await;
    let diff = store.snapshots().diff_runs(&id("a"), &id("b")).await.unwrap();
    let first = diff.first.unwrap();
    assert_eq!((&*first.step_name, first.index), ("s1", 1));
    assert_eq!(serde_json::to_value(first.context).unwrap(), json!([{"op": "replace", "path": "/y", "value": 9}]));
    assert_eq!(diff.steps.iter().filter(|step| step.agreement == Agreement::Same).count(), 2);
}

#[tokio::test]
async fn tt8_the_history_of_one_key_is_its_values_one_after_another() {
    let store = store().await;
    let values =
        [json!({}), json!({"k": null}), json!({"k": null, "o": 1}), json!({"k": 1}), json!({"k": 1, "o": 2}), json!({"k": 2}), json!({})];
    keep(&store, records("o", &values)).await;
    let mut query = KeyHistoryQuery::new(id("o"), Pointer::parse("/k").unwrap()).with_limit(2);
    let mut changes = Vec::new();
    loop {
        let page = store.snapshots().key_history(query.clone()).await.unwrap();
        changes.extend(page.changes);
        match page.next_cursor {
            Some(cursor) => query = query.with_cursor(cursor),
            None => break,
        }
    }
    let told: Vec<_> = changes.iter().map(|change| (change.sequence, change.from.clone(), change.to.clone())).collect();
    assert_eq!(
        told,
        [
            (2, None, Some(Value::Null)),
            (4, Some(Value::Null), Some(json!(1))),
            (6, Some(json!(1)), Some(json!(2))),
            (7, Some(json!(2)), None)
        ]
    );
    assert!(serde_json::to_value(&changes[0]).unwrap().get("from").is_none());
}

#[tokio::test]
async fn listings_of_changes_and_comparisons_of_runs_read_no_more_contexts_than_they_show() {
    let store = store().await;
    let contexts = |last: u64| (0..300).map(|n| json!({"n": if n == 299 { last } else { n }})).collect::<Vec<Value>>();
    keep(&store, records("a", &contexts(1))).await;
    keep(&store, records("b", &contexts(2))).await;
    let counting = Counting(store.snapshots().clone(), AtomicU64::new(0), Arc::default());
    let page = counting.state_changes(StateChangesQuery::new(id("a")).with_limit(200)).await.unwrap();
    assert_eq!((page.changes.len(), counting.2.load(Ordering::SeqCst)), (200, 0));
    let patched = counting.state_changes(StateChangesQuery::new(id("a")).with_limit(3).with_patches(true)).await.unwrap();
    assert_eq!(serde_json::to_value(&patched.changes[1].patch).unwrap(), json!([{"op": "replace", "path": "/n", "value": 1}]));
    let before = counting.2.load(Ordering::SeqCst);
    let runs = counting.diff_runs(&id("a"), &id("b")).await.unwrap();
    assert_eq!(serde_json::to_value(&runs.end).unwrap(), json!([{"op": "replace", "path": "/n", "value": 2}]));
    assert!(runs.start.is_empty());
    assert_eq!(counting.2.load(Ordering::SeqCst) - before, 2, "the two oldest");
}
