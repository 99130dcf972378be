//! The chat object as one participant sees it: the chat, its people with their privacy applied, its newest message and
//! the unread count, put together from several ports in a fixed number of look-ups.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::people::{People, Seen};
use crate::chat::{ChatKind, ChatView, LastMessage, Member, Membership, Participant, Peer};
use crate::error::Result;
use crate::faults::planted;
use crate::id::{ChatId, UserId};
use crate::ports::{ChatStore, ListedChat, MessageStore, Summary, Viewer};
use crate::time::Timestamp;
use crate::user::DELETED_ACCOUNT;

/// How much of a group is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What a list shows: a group without its members, who may be many.
    Row,
    /// Everything.
    Whole,
}

/// Puts chat objects together.
#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) chats: Arc<dyn ChatStore>,
    pub(super) messages: Arc<dyn MessageStore>,
    pub(super) people: People,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// The objects of these chats, in their order. A chat that the user left in the meantime is left out.
    pub(super) async fn views(&self, user: UserId, listed: Vec<ListedChat>, detail: Detail, now: Timestamp) -> Result<Vec<ChatView>> {
        let mut present = Vec::with_capacity(listed.len());
        let mut viewers = Vec::with_capacity(listed.len());
        let mut everyone = HashSet::new();
        for chat in listed {
            let Some(membership) = self.chats.membership(chat.chat.id).await? else { continue };
            let Some(member) = membership.present(user) else { continue };
            viewers.push(Viewer { chat_id: chat.chat.id, user_id: user, above: member.joined_seq, now });
            everyone.extend(shown(&membership, detail).map(|member| member.user_id));
            present.push((chat, membership));
        }
        if present.is_empty() {
            return Ok(Vec::new());
        }
        let mut summaries: HashMap<ChatId, Summary> = self.messages.summaries(&viewers).await?.into_iter().map(|summary| (summary.chat_id, summary)).collect();
        let people = self.people.seen_by(user, &everyone.into_iter().collect::<Vec<_>>()).await?;
        let context = Context { user, all: &self.people, people: &people, detail, now };
        Ok(present.into_iter().map(|(chat, membership)| view(&context, chat, &membership, summaries.remove(&membership.chat_id))).collect())
    }
}

/// The people a chat object names. In a direct chat both, also when the other side is gone: the chat is still theirs.
fn shown(membership: &Membership, detail: Detail) -> impl Iterator<Item = &Member> {
    membership.members.values().filter(move |member| membership.kind == ChatKind::Direct || (detail == Detail::Whole && member.left_seq.is_none()))
}

/// What the objects of one answer have in common.
struct Context<'a> {
    user: UserId,
    all: &'a People,
    people: &'a HashMap<UserId, Seen>,
    detail: Detail,
    now: Timestamp,
}

fn name_and_picture(people: &HashMap<UserId, Seen>, user: UserId) -> (String, Option<String>) {
    people.get(&user).map_or_else(|| (DELETED_ACCOUNT.to_owned(), None), |seen| (seen.user.shown_name().to_owned(), seen.avatar()))
}

fn view(context: &Context<'_>, ListedChat { chat, personal }: ListedChat, membership: &Membership, summary: Option<Summary>) -> ChatView {
    let Context { user, all, people, detail, now } = *context;
    let participant = membership.peer_of(user).map(|peer| {
        let (display_name, avatar_url) = name_and_picture(people, peer.user_id);
        Peer { id: peer.user_id, display_name, avatar_url }
    });
    let participants = shown(membership, detail).map(|member| {
        let (display_name, avatar_url) = name_and_picture(people, member.user_id);
        Participant { user_id: member.user_id, display_name, avatar_url, role: member.role, joined_at: member.joined_at }
    });
    let (last_message, unread_count) = summary.map_or((None, 0), |summary| (summary.last_message, summary.unread));
    let is_own = last_message.as_ref().is_some_and(|message| message.sender_id == user);
    let unread_count = unread_count + u64::from(is_own && planted("own_unread"));
    let (name, description, avatar_url) = match (chat.group, &participant) {
        (Some(group), _) => (group.name, group.description, Some(all.picture(&group.avatar_url))),
        (None, Some(peer)) => (peer.display_name.clone(), String::new(), peer.avatar_url.clone()),
        (None, None) => (String::new(), String::new(), Some(String::new())),
    };
    let is_muted = personal.muted_at(now);
    ChatView {
        chat_id: chat.id,
        kind: chat.kind,
        name,
        description,
        avatar_url,
        participants: participants.collect(),
        participant,
        last_message: last_message.as_ref().map(LastMessage::of),
        unread_count,
        is_muted,
        mute_until: personal.mute_until.filter(|_| is_muted),
        is_pinned: personal.is_pinned,
        is_admin_only: membership.is_admin_only,
        auto_delete_timer: chat.auto_delete_timer,
        last_seq: chat.last_seq,
        rev: chat.rev,
        created_at: chat.created_at,
        updated_at: chat.updated_at,
    }
}
