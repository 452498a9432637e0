//! One suite for every implementation: what the traits say, as sentences.
//!
//! Each case is an async function over a fresh, empty store. [`conformance_tests!`](crate::conformance_tests) makes
//! one `#[tokio::test]` of each for one implementation. A case that fails panics.

pub mod changes;
pub mod commits;
pub mod coordinators;
pub mod fixture;
pub mod garbage;
pub mod hand_over;
pub mod leases;
pub mod log_starts;
pub mod reads;
pub mod replacements;
pub mod resolution;
pub mod sessions;
pub mod topics;

/// Instantiates every case as a `#[tokio::test]`. `$make` is an async function without arguments that returns the
/// store and whatever must live as long as it (a temporary folder, or `()`).
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_tests! { @cases $make;
            topics: [
                a_created_topic_is_listed_as_stored,
                a_name_is_taken_once_and_the_taker_is_returned,
                names_that_make_one_metric_name_collide,
                organizations_do_not_share_names,
                the_default_organization_has_its_name,
                a_deleted_topic_is_gone_and_its_name_is_free,
                an_unknown_or_deleted_topic_cannot_be_deleted,
                partitions_are_added_but_never_taken_away,
                added_partitions_can_be_leased_from_offset_zero,
                an_unknown_or_deleted_topic_gets_no_partitions,
                configs_are_replaced_if_they_are_what_was_expected,
                an_unknown_or_deleted_topic_keeps_its_configs,
                a_recreated_name_starts_above_the_old_epoch,
                a_recreated_name_starts_above_the_old_epoch_also_after_purge,
                partitions_added_to_a_recreated_name_start_above_the_old_epoch,
                purge_is_bounded_and_ends_at_zero,
                purge_touches_only_deleted_topics,
            ],
            sessions: [
                a_new_store_is_empty_until_the_first_session,
                the_cluster_id_does_not_change,
                sessions_are_never_reused_and_node_ids_are_stable,
                a_second_session_of_an_agent_fences_the_first,
                a_clean_close_leaves_nothing_to_fence,
                a_closed_session_is_fenced_and_close_is_idempotent,
                only_active_sessions_are_listed_by_node_id,
                a_registration_can_be_refreshed,
                producer_id_blocks_are_disjoint,
            ],
            leases: [
                an_acquisition_raises_the_epoch_and_returns_the_row,
                a_lease_of_a_live_session_is_not_taken,
                a_lease_of_a_closed_session_is_taken,
                a_lease_of_a_fenced_session_is_taken,
                the_holder_acquires_again_with_a_new_epoch,
                deleted_and_unknown_partitions_are_not_acquired,
                a_fenced_session_acquires_nothing,
                an_acquisition_at_the_same_offset_replaces_the_former_epoch,
                the_epoch_history_ascends,
                confirmation_follows_the_lease,
                the_next_holder_continues_where_the_last_one_stopped,
                a_thousand_leases_in_one_call,
            ],
            changes: [
                everything_is_told_at_first,
                what_changed_is_told_and_nothing_else,
                commits_and_renewals_do_not_raise_the_version,
                sessions_raise_the_version,
                a_suspicion_stands_until_the_session_renews,
                a_lane_report_stands_until_the_session_renews,
                a_session_that_stands_still_is_fenced,
            ],
            hand_over: [
                a_partition_changes_hands,
                only_what_is_held_is_given,
                both_sessions_must_be_active,
            ],
            garbage: [
                an_orphan_is_claimed_for_ever,
                an_object_with_records_is_never_claimed,
                an_object_of_an_unknown_session_is_not_touched,
                an_object_whose_slot_is_taken_is_garbage,
                segments_without_ranges_are_retired,
                a_retired_segment_is_told_of_when_its_grace_is_over,
                a_retired_segment_is_forgotten_while_its_session_lives,
                claims_are_limited,
                a_tombstone_outlives_its_session,
                a_fenced_session_collects_nothing,
            ],
            log_starts: [
                ranges_below_a_log_start_go,
                a_log_start_never_goes_back,
                a_log_start_moves_to_the_end_but_not_beyond,
                ranges_go_only_below_a_snapshot,
                a_newer_snapshot_is_kept,
                a_move_is_done_in_bounded_steps,
                the_epoch_history_is_trimmed,
                each_move_is_checked_alone,
                a_fenced_session_moves_no_log_start,
                a_segment_is_retired_with_its_last_range,
                the_last_object_is_known_until_it_is_forgotten,
                the_next_leader_is_told_how_far_a_log_was_compacted,
            ],
            replacements: [
                ranges_take_the_place_of_others,
                any_number_of_ranges_becomes_any_other,
                what_does_not_fit_is_stale,
                each_replacement_is_checked_alone,
                the_last_range_stays,
                a_snapshot_must_cover_what_is_replaced,
                an_object_without_any_replacement_is_retired,
                an_object_may_come_in_parts,
                what_was_planned_before_its_rows_came_is_stale,
                a_part_that_comes_after_its_object_is_gone_is_stale,
                a_taken_slot_makes_everything_stale,
                a_fenced_session_replaces_nothing,
                a_lost_reply_is_settled,
                rewrites_are_no_segments_of_the_lane,
            ],
            commits: [
                a_commit_moves_the_partition_and_makes_a_range,
                a_fenced_session_commits_nothing,
                a_range_at_the_wrong_offset_is_rejected_alone,
                a_range_under_an_old_epoch_is_rejected_alone,
                a_range_of_a_partition_without_lease_is_rejected,
                a_range_of_a_deleted_topic_is_rejected_also_after_purge,
                a_later_segment_sees_the_former_of_the_same_call,
                a_rejected_segment_still_has_its_row,
                the_same_segment_twice_commits_once,
                segments_of_several_organizations_share_a_lane_sequence,
                append_time_never_goes_down,
                the_two_newest_snapshots_stay,
                a_thousand_ranges_in_one_segment,
                an_empty_commit_of_an_active_session_is_fine,
            ],
            coordinators: [
                the_sequence_counts_the_writes,
                a_write_out_of_sequence_is_refused,
                only_the_leader_under_its_epoch_writes,
                a_write_to_a_deleted_topic_is_refused,
                a_fenced_session_writes_no_rows,
                rows_are_kept_replaced_and_deleted,
                the_last_change_of_a_key_counts,
                rows_come_in_the_order_of_their_keys,
                keys_have_a_greatest_length,
                a_value_may_be_long,
                each_write_is_accepted_or_refused_alone,
                ten_thousand_changes_in_one_call,
                the_next_leader_goes_on_where_the_last_one_stopped,
                a_write_of_a_session_that_was_fenced_is_refused,
                segment_commits_and_writes_of_rows_do_not_meet,
                the_rows_of_a_deleted_topic_are_purged,
            ],
            resolution: [
                a_segment_that_never_came_is_failed_and_never_commits,
                a_committed_segment_resolves_to_its_ranges,
                resolving_twice_tells_the_same,
                only_accepted_ranges_are_in_a_resolution,
                a_fenced_session_resolves_nothing,
                several_segments_resolve_in_order,
                a_slot_taken_by_another_object_is_a_failure,
            ],
            reads: [
                ranges_begin_with_the_one_that_holds_the_offset,
                ranges_are_limited,
                a_partition_without_ranges_answers_nothing,
                a_timestamp_finds_the_first_range_that_reaches_it,
                the_first_range_with_the_greatest_timestamp_wins,
                producer_history_starts_at_the_newest_snapshot,
                last_segments_count_committed_ones_only,
            ],
        }
    };
    (@cases $make:path; $($group:ident: [$($case:ident),* $(,)?],)*) => {
        $(mod $group {
            $(#[tokio::test]
            async fn $case() {
                let (store, _guard) = $make().await;
                $crate::conformance::$group::$case(&store).await;
            })*
        })*
    };
}
