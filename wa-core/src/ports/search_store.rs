//! Finding messages by their words.

use async_trait::async_trait;

use super::{Stored, Viewer};
use crate::message::{Message, Seq};
use crate::search::SearchTerms;

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchBounds {
    /// Only messages below this place; of use where a single chat is searched.
    pub below: Option<Seq>,
    /// Matches in all, at the most.
    pub limit: usize,
    /// Matches of each chat, at the most.
    pub per_chat: usize,
    /// Messages taken into the index first, at the most, if it is behind.
    pub catch_up: usize,
}

/// Finds messages by their words ([`crate::search`] says what matches). How well each fits is not the store's business.
///
/// * `a_stored_message_is_found_at_once`
/// * `every_clause_must_be_met`
/// * `a_phrase_is_found_in_its_order_only`
/// * `an_open_word_finds_what_begins_with_it`
/// * `scripts_without_spaces_are_found_within_a_run`
/// * `captions_and_names_of_files_and_places_are_searched`
/// * `system_messages_are_not_searched`
/// * `terms_without_words_find_nothing`
/// * `matches_come_newest_first_and_bounded`
/// * `matches_are_bounded_per_chat_in_the_order_of_the_chats`
/// * `only_the_named_chats_are_searched`
/// * `what_the_viewer_cannot_see_is_not_found`
/// * `an_edited_message_is_found_by_its_new_words`
/// * `an_edit_of_its_sender_alone_is_found_by_both_words`
/// * `a_message_deleted_for_everyone_is_not_found`
/// * `a_bounded_catch_up_goes_on_with_the_next_search`
#[async_trait]
pub trait SearchStore: Send + Sync {
    /// The newest messages that meet every clause, among those the viewers can see and that were not deleted: newest
    /// first, chat after chat in the order of the viewers, until the limit is reached. Whatever was stored before the
    /// call is found, unless more waits to be indexed than `catch_up` allows: then the newest messages are missing. A
    /// message may be among them for what it said, or says to others: it shows as the viewer sees it, and whoever ranks it
    /// finds out. All viewers are of one user.
    async fn matches(&self, terms: &SearchTerms, viewers: &[Viewer], bounds: SearchBounds) -> Stored<Vec<Message>>;
}
