//! The suites that every backend of a port passes: one function per bullet of the port's contract, plain enough to be run
//! against backends outside this workspace. [`conformance_tests!`](crate::conformance_tests) makes a test of each.
//!
//! A case fails by panicking, with what it expected.

#![allow(clippy::missing_panics_doc, reason = "a case that fails panics; that is what it is for")]

pub mod annotation_store;
pub mod blob_store;
pub mod change_store;
pub mod chat_store;
pub mod contact_store;
pub mod device_token_store;
pub mod event_bus;
pub mod group_store;
#[cfg(feature = "media")]
pub mod hostile_media;
pub mod media_store;
pub mod media_uses;
pub mod message_store;
pub mod otp_store;
pub mod presence_store;
pub mod push_queue;
pub mod rate_limiter;
pub mod receipt_store;
pub mod search_store;
pub mod session_store;
pub mod staging;
pub mod status_store;
pub mod typing_store;
pub mod user_store;

mod people;
#[cfg(feature = "postgres")]
mod scratch;
mod subject;

#[cfg(feature = "postgres")]
pub use scratch::ScratchDatabase;
pub use subject::{Outbox, Subject};

/// Calls a macro with every port and its cases: the one list of them.
#[macro_export]
macro_rules! conformance_cases {
    ([$($callback:tt)*] $arguments:tt) => {
        $($callback)*! { $arguments
            message_store: [
                the_first_message_of_a_chat_takes_seq_one
                concurrent_appends_leave_no_gap_and_no_repeat
                a_retried_append_stores_nothing_new
                a_repeat_is_answered_whatever_the_membership
                a_key_used_for_another_message_is_a_conflict
                keys_of_different_senders_do_not_meet
                an_append_on_an_old_membership_stores_nothing
                every_append_takes_the_next_rev
                a_stored_message_leaves_one_event
                a_page_is_ordered_and_bounded
                a_page_after_a_seq_is_oldest_first
                a_viewer_sees_only_what_stands_above_their_joining
                a_withheld_message_is_never_shown_to_whom_it_is_withheld_from
                an_expired_message_is_not_shown
                a_hidden_message_is_hidden_for_its_user_only
                hiding_twice_changes_nothing
                changes_come_in_the_order_of_their_rev
                a_limited_answer_continues_without_loss
                undelivered_messages_come_oldest_first_per_chat
                undelivered_messages_past_the_limit_are_announced
                delivered_messages_are_not_undelivered
                unread_counts_only_what_others_sent_and_is_visible
                content_of_every_type_reads_back
            ]
            change_store: [
                an_edit_takes_the_next_rev_and_leaves_one_event
                an_edit_that_changes_nothing_writes_nothing
                an_edit_withheld_from_somebody_is_its_senders_alone
                a_deletion_leaves_a_tombstone_without_content_reactions_and_stars
                deleting_twice_changes_nothing
                a_tombstone_is_changed_no_more
                a_change_on_an_old_membership_writes_nothing
                a_message_that_cannot_be_seen_is_not_changed
                a_forward_reaches_all_its_chats_or_none
                a_repeated_forward_stores_nothing_new
                expired_messages_are_deleted_with_all_that_hangs_on_them
                expiry_takes_no_more_than_the_limit
            ]
            annotation_store: [
                a_reaction_takes_the_next_rev_and_leaves_one_event
                a_user_has_one_reaction_to_a_message
                reacting_alike_twice_changes_nothing
                a_withheld_reaction_is_not_shown_to_whom_it_is_withheld_from
                a_star_is_its_users_own
                starring_twice_changes_nothing
                the_starred_list_is_newest_star_first_and_pages_without_loss
                the_starred_list_holds_only_what_can_be_seen
                stars_and_reactions_come_with_the_changes_of_a_chat
            ]
            receipt_store: [
                a_delivered_receipt_covers_the_named_messages_only
                reading_covers_everything_older
                read_implies_delivered
                receipts_only_rise
                a_repeated_receipt_changes_and_announces_nothing
                own_messages_leave_no_gap_in_the_delivered_mark
                times_are_those_of_the_first_receipt
                an_unannounced_read_leaves_no_event_for_senders
                a_receipt_leaves_one_event_naming_the_senders
                concurrent_receipts_merge
                however_much_is_read_at_once_all_of_it_is_read
            ]
            chat_store: [
                a_pair_has_one_chat_also_under_concurrency
                a_new_chat_leaves_one_event
                membership_of_an_absent_chat_is_none
                a_block_makes_a_new_membership_version
                the_list_is_pinned_first_then_newest_activity
                the_list_pages_without_loss_or_repeat
                personal_settings_are_the_users_own
                a_user_knows_the_rev_of_each_of_their_chats
            ]
            group_store: [
                a_new_group_has_its_members_its_first_message_and_its_events
                a_group_with_an_unknown_user_is_not_made
                a_refused_decision_writes_nothing
                a_change_takes_a_rev_for_each_message_and_step
                a_change_of_members_makes_a_new_membership_version
                concurrent_changes_are_each_decided_on_the_one_before
                a_member_sees_from_joining_on_and_a_returning_one_from_the_return_on
                an_erased_user_is_not_let_in
                properties_roles_and_timer_read_back
                the_timer_of_a_direct_chat_is_one_for_both
                the_last_member_who_leaves_ends_the_group
                an_ended_group_is_purged_in_bounded_steps
                a_new_invite_revokes_the_one_before
                a_revoked_invite_lets_nobody_in
            ]
            user_store: [
                a_phone_has_one_account_also_under_concurrency
                an_account_without_a_phone_is_found_by_its_id
                unknown_users_are_left_out
                an_update_leaves_other_fields_alone
                last_seen_only_rises
                erasing_removes_every_personal_field
                erasing_frees_the_phone
                erasing_ends_every_session_and_leaves_their_event
                an_account_in_a_group_is_not_erased
                privacy_has_defaults_until_set
            ]
            contact_store: [
                saving_contacts_adds_and_never_removes
                a_block_alone_makes_no_contact
                unblocking_a_contact_keeps_it
                blocking_twice_is_blocking_once
                relations_tell_both_directions_apart
                a_relation_to_an_unknown_user_is_a_strangers
            ]
            search_store: [
                a_stored_message_is_found_at_once
                every_clause_must_be_met
                a_phrase_is_found_in_its_order_only
                an_open_word_finds_what_begins_with_it
                scripts_without_spaces_are_found_within_a_run
                captions_and_names_of_files_and_places_are_searched
                system_messages_are_not_searched
                terms_without_words_find_nothing
                matches_come_newest_first_and_bounded
                matches_are_bounded_per_chat_in_the_order_of_the_chats
                only_the_named_chats_are_searched
                what_the_viewer_cannot_see_is_not_found
                an_edited_message_is_found_by_its_new_words
                an_edit_of_its_sender_alone_is_found_by_both_words
                a_message_deleted_for_everyone_is_not_found
                a_bounded_catch_up_goes_on_with_the_next_search
            ]
            session_store: [
                a_refresh_token_rotates_once
                of_concurrent_rotations_one_wins
                a_repeat_with_the_same_key_in_time_is_answered_again
                a_repeat_with_another_key_or_too_late_is_reuse
                reuse_ends_the_session_and_leaves_its_event
                an_expired_or_unknown_refresh_token_is_refused
                the_token_of_an_ended_session_is_refused
                revoking_is_per_user_and_idempotent
                ended_sessions_are_not_listed
            ]
            device_token_store: [
                a_token_is_of_who_registered_it_last
                a_token_registered_again_is_the_same
                past_the_limit_the_oldest_token_goes
                removing_a_token_is_per_user_and_idempotent
                a_token_ends_with_its_session
                an_ended_session_registers_no_token
                a_token_ends_with_its_account
                a_stale_token_goes_unless_it_was_registered_since
            ]
            push_queue: [
                a_note_waits_for_every_token_of_its_user
                only_users_with_tokens_can_be_reached
                noting_again_keeps_the_time_and_the_beginning
                what_was_told_is_not_noted_again
                what_came_meanwhile_is_due_later
                a_push_that_failed_comes_back_at_its_time
                due_pushes_come_oldest_first_by_lane_and_bounded
                what_an_earlier_process_left_waits_a_little
                only_what_its_reader_may_and_has_not_read_is_told
            ]
            status_store: [
                a_status_reads_back
                statuses_of_many_come_newest_first_and_bounded
                an_expired_status_is_not_shown
                no_more_statuses_are_kept_than_a_user_may_have
                only_the_owner_deletes_a_status
                viewing_twice_is_viewing_once
                expired_statuses_are_deleted_in_bounded_steps
                statuses_and_views_go_with_their_account
            ]
            otp_store: [
                a_new_code_replaces_the_old_and_its_attempts
                attempts_are_counted_atomically
                a_code_is_consumed_once
                a_replaced_code_cannot_be_consumed
                an_expired_code_is_absent
                an_exhausted_code_stays_exhausted_until_replaced
                a_store_that_can_take_a_code_is_ready
            ]
            presence_store: [
                a_user_is_online_while_any_connection_is
                connecting_twice_is_connecting_once
                only_the_first_comes_and_only_the_last_goes
                connections_that_are_renewed_stand
            ]
            typing_store: [
                starting_again_prolongs_and_is_not_new
                stopping_what_was_not_started_is_nothing
                an_expired_notice_is_returned_once
            ]
            blob_store: [
                an_object_reads_back_whole_and_in_parts
                a_range_past_the_end_is_cut_and_one_behind_it_is_empty
                an_absent_object_reads_as_none
                putting_again_replaces
                a_deleted_object_is_gone_and_deleting_it_again_is_no_error
                a_listing_is_in_the_order_of_keys_and_goes_on_after_the_last
                a_large_file_is_put_and_read_in_pieces
                a_store_that_can_be_used_is_healthy
            ]
            staging: [
                a_staged_file_holds_what_was_written
                a_dropped_staged_file_vanishes
                a_staged_file_that_was_moved_away_stays_where_it_is
            ]
            media_store: [
                what_was_inserted_reads_back
                unknown_files_are_left_out
                using_a_file_puts_its_release_off
                a_released_file_is_gone_for_everybody_but_the_sweep
                of_a_use_and_a_release_one_wins
                unused_files_come_oldest_first_and_bounded
                a_removed_file_is_gone
            ]
            media_uses: [
                a_file_in_a_message_is_shown_to_those_who_can_see_the_message
                a_deleted_or_expired_message_shows_no_file
                profiles_and_groups_that_show_a_file_are_named
                a_user_whose_status_shows_a_file_is_named
                used_files_are_told_from_unused_ones
            ]
            rate_limiter: [
                a_full_bucket_grants_its_count_and_not_one_more
                a_bucket_refills_evenly
                a_refusal_tells_when_to_come_back
                keys_do_not_share_a_bucket
                concurrent_takers_get_no_more_than_the_count
            ]
        }
    };
}

/// Makes a module of tests for a backend, one test for each case, named `<backend>::<port>::<case>`. The expression gives
/// a fresh [`Subject`] for each; attributes such as `ignore` go on every test.
///
/// ```ignore
/// wa_storage::conformance_tests! { mine: my_subject() }
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($backend:ident: $subject:expr $(, #[$attribute:meta])*) => {
        $crate::conformance_cases! { [$crate::conformance_tests] ([$backend] [$subject] [$(#[$attribute])*]) }
    };
    (([$backend:ident] [$subject:expr] $attributes:tt) $($port:ident: [$($case:ident)*])*) => {
        mod $backend {
            use super::*;
            $(mod $port {
                use super::*;
                $($crate::conformance_test! { $attributes $port $case $subject })*
            })*
        }
    };
}

/// One test of [`conformance_tests!`](crate::conformance_tests).
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_test {
    ([$(#[$attribute:meta])*] $port:ident $case:ident $subject:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $case() {
            let subject = $subject.await;
            $crate::conformance::$port::$case(&subject).await;
            subject.close().await;
        }
    };
}
