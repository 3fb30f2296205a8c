//! Planted bugs: what shows that the kit would notice.

use std::sync::Arc;

use async_trait::async_trait;
use replay_core::{ManualClock, Namespace, Result, Store};

use crate::{
    cases,
    env::{Env, Place},
    reference::Reference,
    runner::failure,
};

macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident => $case:literal,)+) => {
        /// A bug that is planted into a store that is right otherwise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Mutant { $($(#[$doc])+ $name,)+ }

        impl Mutant {
            /// Every planted bug.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The case that exists for this bug, as in `append::refuses_a_gap`.
            pub fn case(self) -> &'static str {
                match self { $(Self::$name => $case),+ }
            }
        }
    };
}

mutants! {
    /// Says that it is shared between processes, though that is not what was pinned.
    ClaimsWhatIsNotPinned => "store::has_its_pinned_capabilities",
    /// Takes a record whose sequence is not the next one.
    AcceptsSequenceGap => "append::refuses_a_gap",
    /// Takes a record that follows another one than the newest.
    IgnoresPredecessor => "append::refuses_a_record_that_does_not_follow_the_newest",
    /// Takes any sequence for a saga that has no record.
    AcceptsAnyFirstSequence => "append::refuses_a_saga_that_does_not_begin_at_one",
    /// Refuses a record that is stored already.
    RefusesRepeatedAppend => "append::takes_the_same_record_again",
    /// Recognises a repeated append of the newest record only.
    RecognisesOnlyTheNewest => "append::takes_an_older_record_again",
    /// Takes a record that was read without its payload.
    TakesRecordsWithoutPayload => "append::refuses_a_record_without_its_payload",
    /// Takes any record at a taken sequence for the one that is stored.
    ForgetsDigestCompare => "append::refuses_another_record_at_the_newest_sequence",
    /// Lets a record replace the one at its sequence.
    OverwritesTakenSequence => "append::refuses_another_record_at_an_older_sequence",
    /// Advises to repeat an append that conflicted.
    AdvisesToRepeatConflicts => "append::a_conflict_is_never_worth_a_retry",
    /// Stores the part of a list that comes before a conflict.
    TearsLists => "append::a_list_with_a_gap_is_refused_whole",
    /// Loses the last record of a list.
    DropsLastOfList => "append::takes_several_records_of_one_saga",
    /// Stores only the first run of a saga's records in a mixed list.
    LosesMixedRecords => "append::takes_records_of_several_sagas_mixed",
    /// Moves the head although the append is refused.
    MovesHeadOnRefusal => "append::a_refusal_changes_no_head",
    /// Names the wrong next sequence in a conflict.
    NamesWrongExpected => "append::a_list_with_a_gap_is_refused_whole",
    /// Keeps one definition per name and version.
    SharesDefinitionsByName => "append::sagas_may_share_a_name_and_differ_in_definition",
    /// Refuses to append to a saga that has ended.
    RefusesAfterTheEnd => "append::goes_on_after_the_saga_has_ended",
    /// Takes no history whose beginning was pruned.
    RefusesRemnants => "append::what_pruning_left_of_a_history_may_be_appended",
    /// Takes the first record that is left for the start of the saga.
    RemnantStartsAnew => "append::a_saga_that_begins_late_started_when_it_is_said",
    /// Takes what pruning left of a history after any record.
    RemnantIgnoresPredecessor => "append::what_pruning_left_follows_only_the_record_that_it_names",
    /// Takes a record that is marked as what pruning left though it follows another one than the newest.
    RemnantSkipsChain => "append::what_pruning_left_without_a_hole_follows_like_any_other",
    /// Compares ids without regard to case.
    FoldsCaseOfIds => "ids::ids_that_look_alike_are_different_sagas",
    /// Drops blanks around ids.
    TrimsIds => "ids::ids_that_look_like_paths_patterns_and_statements_are_just_ids",
    /// Cuts ids at 254 bytes.
    CutsLongIds => "ids::an_id_may_have_255_bytes",
    /// Leaves out the record at the very instant.
    TimeIsExclusive => "load::at_an_instant_the_newest_not_after_it",
    /// Takes the oldest of several records at one instant.
    TimeTakesOldestOfEqual => "load::of_several_at_one_instant_the_newest",
    /// Rounds an instant up to the next microsecond.
    TimeRoundsUp => "load::an_instant_finer_than_a_microsecond",
    /// Gives the oldest record before a step.
    BeforeStepTakesOldest => "load::the_newest_record_before_a_step",
    /// Looks only at the first of the steps that run next.
    BeforeStepSeesOneStep => "load::a_step_that_runs_with_others",
    /// Gives the nearest older record for a sequence that is not there.
    SequenceTakesNearest => "load::no_record_beyond_either_end",
    /// Looks only at the newest 100 records.
    SeesNewestHundredOnly => "load::large_histories_are_answered_from_anywhere",
    /// Shows the last record of a page again on the next one.
    ListRepeatsAtPageEdge => "list::long_histories_come_whole",
    /// Leaves out the first record of every further page.
    ListSkipsAtPageEdge => "list::long_histories_come_whole",
    /// Takes a limit of 0 for no limit.
    ListLimitOfNoneIsAll => "list::limits_of_none_one_and_the_maximum",
    /// Applies the limit before the direction.
    ListLimitsBeforeOrder => "list::a_limit_counts_from_the_end_that_is_read_first",
    /// Takes the end of a time range as part of it.
    ListUntilIsInclusive => "list::a_range_of_time_is_half_open",
    /// Leaves the last sequence of a range out.
    ListLastIsExclusive => "list::a_range_of_sequences",
    /// Keeps bounds in 63 bits.
    ListOverflowsAtMaximum => "list::a_range_of_sequences",
    /// Rounds the start of a time range down to the microsecond.
    ListRoundsFromDown => "list::ends_of_time_finer_than_a_microsecond",
    /// Gives payloads though they are not asked for.
    ListIgnoresPayloads => "list::without_payloads_come_the_same_headers_alone",
    /// Gives an empty payload where none is asked for.
    ListGivesEmptyPayloads => "list::without_payloads_come_the_same_headers_alone",
    /// Orders sagas by their last change.
    HeadsByLastChange => "heads::the_latest_started_comes_first",
    /// Orders sagas that started together by ascending id.
    HeadsTieAscending => "heads::sagas_that_started_together_are_in_descending_order_of_their_bytes",
    /// Does not update labels in the head.
    HeadKeepsFirstLabels => "heads::a_head_follows_each_append",
    /// Takes the oldest remaining record for the start of the saga.
    HeadStartMoves => "heads::the_start_stays_when_the_first_record_is_pruned",
    /// Begins a page with the saga that the cursor names.
    PageRepeatsCursor => "heads::pages_have_no_gap_and_no_repeat",
    /// Begins a page with the next start time, past sagas that started together.
    PageSkipsTies => "heads::pages_have_no_gap_and_no_repeat",
    /// Applies the limit before the filters.
    LimitsBeforeFilters => "heads::limits_of_none_one_and_the_maximum",
    /// Reads `%` and `_` in an id prefix as wildcards.
    PrefixIsPattern => "filters::a_prefix_is_no_pattern",
    /// Wants only one of the labels to hold.
    LabelsHoldAnyOf => "filters::by_labels_all_of_which_must_hold",
    /// Looks only at the first status that is asked for.
    OnlyFirstStatus => "filters::by_one_status_or_several",
    /// Matches labels that any record of the saga has had.
    FiltersSeeOldRecords => "filters::a_filter_sees_the_newest_record_only",
    /// Matches the first saga of a lineage as origin.
    OriginMatchesRoot => "filters::by_the_saga_that_it_was_replayed_from",
    /// Filters by the start where the last change is asked for.
    UpdatedMeansStarted => "filters::by_when_the_newest_record_was_created",
    /// Removes the newest records first.
    PruneNewestFirst => "prune::goes_in_steps_of_the_limit_the_oldest_first",
    /// Removes in a dry run.
    DryRunDeletes => "prune::a_dry_run_says_what_the_run_does_and_does_nothing",
    /// Removes the newest checkpoint of a live saga.
    PruneDropsCheckpoint => "prune::a_live_saga_keeps_its_newest_checkpoint",
    /// Keeps the newest checkpoint of an ended saga.
    PruneKeepsCheckpointOfEnded => "prune::an_ended_saga_keeps_no_checkpoint",
    /// Takes a parked saga for an ended one.
    ParkedIsEnded => "prune::a_parked_saga_is_alive",
    /// Removes the newest record of an ended saga that has others.
    PruneDropsNewest => "prune::a_record_that_must_stay_stays",
    /// Never says that there is more.
    PruneNeverHasMore => "prune::goes_in_steps_of_the_limit_the_oldest_first",
    /// Says that there is more whenever the limit is reached.
    PruneHasMoreAtLimit => "prune::says_exactly_whether_there_is_more",
    /// Ignores the limit.
    PruneIgnoresLimit => "prune::goes_in_steps_of_the_limit_the_oldest_first",
    /// Leaves the head of a saga that is gone.
    PruneLeavesHead => "prune::removes_a_whole_saga",
    /// Keeps by sequence instead of by count.
    KeepsBySequence => "prune::counts_records_not_sequences",
    /// Does not count bytes.
    PruneCountsNoBytes => "prune::removes_one_record",
    /// Derives the next sequence from the number of records that are left.
    PruneForgetsFence => "prune::a_saga_goes_on_after_it",
    /// Takes a record that was pruned for one that is stored.
    PrunedMayReturn => "prune::a_pruned_record_is_not_taken_again",
    /// Keeps a record at the instant of its expiry.
    ExpiryIsExclusive => "expiry::a_record_expires_at_the_very_instant",
    /// Takes records without retention for expired.
    NoRetentionIsExpired => "expiry::what_has_no_retention_never_expires",
    /// Removes the newest record when it has expired, though an older one is kept.
    ExpiryDropsNewest => "expiry::the_newest_record_stays_while_an_older_one_is_kept",
    /// Drops blanks in contexts.
    NormalisesContexts => "payloads::text_comes_back_byte_for_byte",
    /// Cuts contexts at 512 KiB.
    CutsLargeContexts => "payloads::a_context_of_a_megabyte",
    /// Turns an empty context into `null`.
    EmptyContextIsNull => "payloads::a_context_may_be_empty_or_no_json_at_all",
    /// Keeps the payload of a record that comes encoded, but not its frame.
    LosesFrames => "frames::a_record_that_comes_encoded_is_kept_whole",
    /// Removes a frame with the record that it was made from.
    FrameGoesWithItsRecord => "frames::each_is_readable_without_the_first",
    /// Removes a frame with any record that is a change of it.
    FrameGoesWithAnyRecord => "frames::each_is_readable_alone",
    /// Removes a frame with a saga, though another saga has the same one.
    FramesAreSharedUncounted => "frames::a_saga_is_readable_though_another_like_it_is_gone",
    /// Keeps all namespaces in one.
    NamespacesLeak => "namespaces::one_saga_id_is_two_sagas",
    /// Joins namespace and id with a bare separator.
    NamespacesAreJoined => "namespaces::names_that_look_alike_are_different",
    /// Prunes the other namespaces along.
    PruneCrossesNamespaces => "namespaces::a_prune_stays_in_its_own",
    /// Lets another writer in between the check and the append.
    ChecksThenAppends => "concurrency::of_64_writers_one_wins_each_sequence",
    /// Counts a record before it is stored, so that a dropped call leaves the count behind.
    CountsBeforeItStores => "concurrency::an_append_that_is_dropped_leaves_no_gap",
    /// Gives each handle data of its own.
    HandlesDoNotShare => "concurrency::two_handles_see_each_other",
    /// Forgets everything when it is opened anew.
    ForgetsOnRestart => "durability::histories_and_heads_are_there_after_a_restart",
    /// Appends to a log whatever length was expected.
    LogIgnoresLength => "logs::refuses_another_length_and_names_the_real_one",
    /// Refuses a repeated append to a log.
    LogRefusesRepeats => "logs::the_same_append_again_counts_as_done",
    /// Takes any entries of the same number for a repeated append.
    LogComparesCountOnly => "logs::other_entries_at_a_taken_position_are_refused",
    /// Takes entries that overlap in part for a repeated append.
    LogAcceptsOverlap => "logs::an_append_that_overlaps_in_part_is_refused",
    /// Makes a stream without entries.
    LogMakesEmptyStreams => "logs::an_empty_list_changes_nothing",
    /// Counts entries from 1 when it reads.
    LogReadsFromOne => "logs::reads_from_an_index_at_most_so_many",
    /// Says when an entry is read instead of when it was taken.
    LogShowsTimeOfReading => "logs::entries_bear_the_stores_time",
    /// Reads `%` and `_` in a stream prefix as wildcards.
    LogPrefixIsPattern => "logs::a_prefix_is_no_pattern",
    /// Takes a deleted stream's name for a prefix.
    LogDeletesByPrefix => "logs::a_deleted_stream_is_gone_and_may_begin_anew",
    /// Writes a cell although there is one.
    CellIgnoresAbsent => "cells::absent_holds_only_where_there_is_none",
    /// Takes any version that is not newer for the current one.
    CellAcceptsOlderVersions => "cells::a_version_holds_only_for_that_version",
    /// Names no version for a cell that is absent.
    CellNamesZeroForAbsent => "cells::a_refusal_names_the_current_version",
    /// Numbers the versions of a key from 1.
    CellVersionsFromOne => "cells::a_version_is_at_least_the_stores_clock",
    /// Takes the clock alone for the version.
    CellVersionIsClock => "cells::a_version_grows_though_the_clock_steps_back",
    /// Lets a cell live on at the instant of its expiry.
    CellExpiresLate => "cells::a_cell_expires_at_the_very_instant",
    /// Takes an expired cell for present when it writes.
    CellExpiryIgnoredByPut => "cells::an_expired_cell_is_as_good_as_absent",
    /// Keeps the expiry of the previous value.
    CellKeepsOldExpiry => "cells::a_write_sets_the_expiry_anew",
    /// Shows expired cells in a scan.
    CellScanShowsExpired => "cells::a_scan_leaves_out_expired_cells",
    /// Reads `%` and `_` in a key prefix as wildcards.
    CellPrefixIsPattern => "cells::a_scan_goes_by_prefix_which_is_no_pattern",
    /// Lets a cell that is deleted expire instead.
    CellDeleteIsExpiry => "cells::a_deleted_cell_stays_gone_though_the_clock_steps_back",
    /// Deletes a cell whatever its version.
    CellDeleteIgnoresVersion => "cells::a_delete_with_another_version_is_refused",
    /// Takes values of any size.
    CellTakesAnySize => "cells::a_value_may_be_any_bytes_up_to_64_kib",
    /// Lets another writer in between the check and the write of a cell.
    CellChecksThenWrites => "concurrency::of_64_claims_of_one_cell_one_wins",
    /// Hands out a blob without looking at what it hands out.
    BlobIsNotVerified => "blobs::what_is_handed_out_has_the_digest_that_was_asked_for",
    /// Wants a blob deleted as often as it was put.
    BlobCountsPuts => "blobs::putting_the_same_bytes_again_changes_nothing",
    /// Says that it deleted a blob that was not there.
    BlobDeleteAlwaysSucceeds => "blobs::deleting_says_whether_there_was_anything",
}

impl Mutant {
    /// What the case of this bug belongs to, as in `append`.
    pub fn promise(self) -> &'static str {
        self.case().split("::").next().unwrap_or_default()
    }
}

/// The cases of a promise (such as `append`) that fail on a store with this bug; none = on a store without any.
///
/// Cases that take long are left out, but for the one that exists for the bug.
pub fn failing(bug: Option<Mutant>, promise: &str) -> Vec<String> {
    let wanted = cases::all().filter(|case| case.promise == promise);
    let wanted = wanted.filter(|case| !case.large || bug.is_some_and(|bug| bug.case() == case.name()));
    wanted.filter(|case| failure(case, env(bug)).is_some()).map(|case| case.name()).collect()
}

/// The promises that there are cases for.
pub fn promises() -> Vec<&'static str> {
    let mut promises: Vec<_> = cases::all().map(|case| case.promise).collect();
    promises.dedup();
    promises
}

#[expect(clippy::unused_async, reason = "a case awaits its place")]
async fn env(bug: Option<Mutant>) -> Env {
    let clock = ManualClock::default();
    let planted = Planted { reference: Reference::with_bug(clock.clone(), bug), bug };
    Env::at(Arc::new(planted), clock, Reference::pinned())
}

struct Planted {
    reference: Reference,
    bug: Option<Mutant>,
}

#[async_trait]
impl Place for Planted {
    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let forgets = matches!(self.bug, Some(Mutant::HandlesDoNotShare | Mutant::ForgetsOnRestart));
        let reference = if forgets { self.reference.emptied() } else { self.reference.clone() };
        Ok(Store::from_backend(namespace.clone(), reference.in_namespace(&namespace)))
    }
}
