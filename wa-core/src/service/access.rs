//! Who may enter a chat, decided from its membership alone. A stranger cannot tell an existing chat from an absent one.

use std::sync::Arc;

use crate::chat::{Member, Membership};
use crate::error::{Denied, Error, Missing, Result};
use crate::faults::planted;
use crate::id::{ChatId, UserId};
use crate::message::Seq;
use crate::ports::{ChatStore, Viewer};
use crate::receipt::Located;
use crate::time::Timestamp;

/// A chat as one of its present participants finds it.
pub(super) struct Access {
    pub(super) membership: Arc<Membership>,
    user_id: UserId,
    joined_seq: Seq,
}

impl Access {
    /// What the participant may see of the chat.
    pub(super) fn viewer(&self, now: Timestamp) -> Viewer {
        Viewer { chat_id: self.membership.chat_id, user_id: self.user_id, above: self.joined_seq, now }
    }

    /// Who the participant is.
    pub(super) const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The participant themselves.
    pub(super) fn member(&self) -> Result<&Member> {
        self.membership.present(self.user_id).ok_or(Error::not_found(Missing::Chat))
    }

    /// Whether the place of this message is one the participant was let in to.
    pub(super) fn reaches(&self, message: &Located) -> bool {
        message.chat_id == self.membership.chat_id && message.seq > self.joined_seq && message.withheld_from != Some(self.user_id)
    }
}

/// Whether this user, as one of the present participants, was let in to the place of this message.
pub(super) fn reaches(membership: &Membership, message: &Located, user: UserId) -> bool {
    message.chat_id == membership.chat_id
        && message.withheld_from != Some(user)
        && membership.present(user).is_some_and(|member| message.seq > member.joined_seq)
}

/// Lets a user into a chat by this membership.
///
/// # Errors
/// `absent` if there is no such chat or the user never was in it, NOT_CHAT_MEMBER if they once were.
pub(super) fn admit(membership: Option<Arc<Membership>>, user: UserId, absent: Missing) -> Result<Access> {
    let membership = membership.ok_or(Error::not_found(absent))?;
    let member = membership.members.get(&user).ok_or(if planted("stranger_told") { Error::Denied(Denied::NotChatMember) } else { Error::not_found(absent) })?;
    if member.left_seq.is_some() && !planted("left_let_in") {
        return Err(Error::Denied(Denied::NotChatMember));
    }
    let joined_seq = if planted("joined_seq_ignored") { Seq::ZERO } else { member.joined_seq };
    Ok(Access { membership, user_id: user, joined_seq })
}

/// As [`admit`], for a chat that the request names.
pub(super) async fn enter(chats: &dyn ChatStore, chat: ChatId, user: UserId) -> Result<Access> {
    admit(chats.membership(chat).await?, user, Missing::Chat)
}

/// As [`admit`], for a message that the request names: its chat is not told either. The message must be one the user can
/// reach.
pub(super) async fn enter_by(chats: &dyn ChatStore, message: Option<Located>, user: UserId) -> Result<(Access, Located)> {
    let message = message.ok_or(Error::not_found(Missing::Message))?;
    let access = admit(chats.membership(message.chat_id).await?, user, Missing::Message)?;
    if !access.reaches(&message) {
        return Err(Error::not_found(Missing::Message));
    }
    Ok((access, message))
}
