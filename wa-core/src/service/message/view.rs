//! Message objects as one viewer sees them: the state over all recipients as the viewer may know it, and a line of the
//! message that is answered, if the viewer can see that one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::MessageService;
use crate::chat::Membership;
use crate::error::Missing;
use crate::error::Result;
use crate::id::{ChatId, MessageId, UserId};
use crate::message::{Message, MessageView, ReplyPreview, Seq, Source};
use crate::ports::{ChatStore, MessageStore};
use crate::privacy::{PrivacySettings, may_see_reads};
use crate::receipt::{Marks, MarksView, Status};
use crate::service::access::{Access, admit, reaches};

/// Who received and read what in some chats, and who may know of it.
pub(super) struct States {
    viewer: UserId,
    marks: BTreeMap<ChatId, BTreeMap<UserId, Marks>>,
    settings: BTreeMap<UserId, PrivacySettings>,
}

impl States {
    fn status(&self, membership: &Membership, message: &Message) -> Status {
        match self.marks.get(&message.chat_id) {
            Some(marks) => membership.weakest_status(&message.located(), marks, self.viewer, &self.settings),
            None => Status::Sent,
        }
    }

    /// The marks of everybody in a chat, reads only where the viewer may know of them.
    pub(super) fn marks(&self, membership: &Membership) -> Vec<MarksView> {
        let none = Marks::default();
        let marks = self.marks.get(&membership.chat_id);
        let settings_of = |user| (user, self.settings.get(&user));
        membership
            .everyone()
            .map(|member| {
                let marks = marks.and_then(|marks| marks.get(&member.user_id)).unwrap_or(&none);
                let reads = may_see_reads(settings_of(member.user_id), settings_of(self.viewer));
                MarksView {
                    user_id: member.user_id,
                    delivered_up_to_seq: marks.delivered_up_to,
                    read_up_to_seq: if reads { marks.read_up_to } else { Seq::ZERO },
                    delivered_beyond: marks.delivered_beyond.clone(),
                }
            })
            .collect()
    }
}

impl MessageService {
    /// The states of these chats, in two look-ups however many they are.
    pub(super) async fn states(&self, viewer: UserId, memberships: impl IntoIterator<Item = &Membership>) -> Result<States> {
        let mut people = BTreeSet::from([viewer]);
        let mut chats = Vec::new();
        for membership in memberships {
            chats.push(membership.chat_id);
            people.extend(membership.everyone().map(|member| member.user_id));
        }
        if chats.is_empty() {
            return Ok(States { viewer, marks: BTreeMap::new(), settings: BTreeMap::new() });
        }
        let marks = self.deps.receipts.marks(&chats).await?;
        let settings = self.people().settings(&people.into_iter().collect::<Vec<_>>()).await?;
        Ok(States { viewer, marks, settings })
    }

    /// The objects of messages of one chat, in their order.
    pub(super) async fn views(&self, access: &Access, messages: Vec<Message>) -> Result<Vec<MessageView>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.states(access.user_id(), [&*access.membership]).await?;
        let mut views = self.views_with(access, &states, messages).await?;
        self.deps.attachments.enrich(&mut views).await;
        Ok(views)
    }

    /// As [`Self::views`], with the states at hand; files are left to the caller, who looks them up for all chats at once.
    pub(super) async fn views_with(&self, access: &Access, states: &States, messages: Vec<Message>) -> Result<Vec<MessageView>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let previews = self.previews(access, messages.iter().filter_map(|message| message.reply_to)).await?;
        let places: Vec<Seq> = messages.iter().map(|message| message.seq).collect();
        let mut annotations = self.deps.annotations.annotations(&access.viewer(self.deps.env.now()), &places).await?;
        let sources = messages.iter().filter_map(|message| message.forwarded_from).collect();
        let readable = readable(&*self.deps.messages, &*self.deps.chats, access.user_id(), sources).await?;
        let view = |message: &Message| {
            let preview = message.reply_to.and_then(|id| previews.get(&id).cloned());
            let added = annotations.remove(&message.seq).unwrap_or_default();
            MessageView {
                reactions: added.reactions,
                is_starred: added.is_starred,
                forwarded_from: message.forwarded_from.filter(|source| readable.contains(source)),
                ..MessageView::of(message, states.status(&access.membership, message), preview)
            }
        };
        Ok(messages.iter().map(view).collect())
    }

    /// The objects of messages of many chats, in their order. Those of chats the user is not in are left out.
    pub(super) async fn views_of_many(&self, user: UserId, messages: Vec<Message>) -> Result<Vec<MessageView>> {
        let mut chats: Vec<(ChatId, Vec<Message>)> = Vec::new();
        let mut places: HashMap<ChatId, usize> = HashMap::new();
        for message in messages {
            let place = *places.entry(message.chat_id).or_insert_with(|| {
                chats.push((message.chat_id, Vec::new()));
                chats.len() - 1
            });
            chats[place].1.push(message);
        }
        let mut entered = Vec::with_capacity(chats.len());
        for (chat, messages) in chats {
            if let Ok(access) = admit(self.deps.chats.membership(chat).await?, user, Missing::Chat) {
                entered.push((access, messages));
            }
        }
        let states = self.states(user, entered.iter().map(|(access, _)| &*access.membership)).await?;
        let mut views = Vec::new();
        for (access, messages) in entered {
            views.extend(self.views_with(&access, &states, messages).await?);
        }
        self.deps.attachments.enrich(&mut views).await;
        Ok(views)
    }

    /// A line of each of these messages that the viewer can see.
    async fn previews(&self, access: &Access, ids: impl Iterator<Item = MessageId>) -> Result<HashMap<MessageId, ReplyPreview>> {
        let ids: BTreeSet<MessageId> = ids.collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<MessageId> = ids.into_iter().collect();
        let answered = self.deps.messages.get(&access.viewer(self.deps.env.now()), &ids).await?;
        let names = self.deps.names.all(&answered.iter().map(|message| message.sender_id).collect::<Vec<_>>()).await?;
        let name = |user| names.get(&user).map_or_else(String::new, ToString::to_string);
        Ok(answered.iter().map(|message| (message.id, message.reply_preview(name(message.sender_id)))).collect())
    }
}

/// Those of these messages that this user may read where they first stood.
async fn readable(messages: &dyn MessageStore, chats: &dyn ChatStore, user: UserId, sources: BTreeSet<Source>) -> Result<BTreeSet<Source>> {
    let ids: Vec<MessageId> = sources.iter().map(|source| source.message_id).collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut readable = BTreeSet::new();
    for located in messages.locate(&ids).await? {
        if chats.membership(located.chat_id).await?.is_some_and(|membership| reaches(&membership, &located, user)) {
            readable.insert(Source { chat_id: located.chat_id, message_id: located.message_id });
        }
    }
    Ok(readable)
}
