//! The suites that every backend of a port passes: one function per bullet of the port's contract, plain enough to be run
//! against backends outside this workspace. [`conformance_tests!`](crate::conformance_tests) makes a test of each.
//!
//! A case fails by panicking, with what it expected.

#![allow(clippy::missing_panics_doc, reason = "a case that fails panics; that is what it is for")]

pub mod message_store;

mod people;
mod subject;

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
