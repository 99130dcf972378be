//! Brings events to the sockets they are for: asks who may get each one now, encodes it once, and queues the same bytes on
//! every recipient's socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wa_core::api::{ChatApi, FanOutApi};
use wa_core::error::{Error, Result};
use wa_core::event::{Event, Fact};
use wa_core::id::{ChatId, ConnectionId, UserId};
use wa_core::link::Links;
use wa_core::message::MessageView;
use wa_core::ports::{Env, EventHandler, FanOut as _, Stored};
use wa_core::session::Caller;
use wa_core::user::PresenceView;

use super::close::Close;
use super::event::{
    AddedMember, CreatedChat, Deletion, EditedMessage, NewMessage, ReactionChange, RemovedMember, Resync, ServerEvent as _, StarChange, StatusChange, Typing,
    UpdatedChat,
};
use super::hub::Hub;
use super::socket::Outgoing;
use crate::backend::Backend;

/// How long to wait before asking again for the recipients of an event, time after time.
const RETRIES: [Duration; 4] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(500), Duration::from_secs(1)];

/// How many users are told of a gap at a time, and the pause after them.
const GAP_TOLD: usize = 100;
const GAP_PAUSE: Duration = Duration::from_millis(100);

/// Handles events by delivering them to the hub's sockets. Subscribe it to the event bus.
pub struct Delivery {
    hub: Arc<Hub>,
    fan_out: Arc<dyn FanOutApi>,
    chats: Arc<dyn ChatApi>,
    links: Arc<Links>,
    env: Arc<dyn Env>,
}

impl Delivery {
    /// Delivers to the sockets of this hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>, backend: &Backend) -> Arc<Self> {
        Arc::new(Self { hub, fan_out: backend.fan_out.clone(), chats: backend.chats.clone(), links: backend.links.clone(), env: backend.env.clone() })
    }

    /// Tells everybody here that events may have been missed: each client then syncs. Not all at once, because each of them
    /// asks for something.
    pub async fn tell_gap(&self) {
        for users in self.hub.present().chunks(GAP_TOLD) {
            for user in users {
                let chats = match self.fan_out.chats_of(*user).await {
                    Ok(chats) => chats,
                    Err(error) => {
                        tracing::debug!(%error, "the chats of a user are not known; none is named");
                        Vec::new()
                    }
                };
                if let Some(bytes) = (Resync { chat_ids: &chats }).frame(None, self.env.now()) {
                    for socket in self.hub.sockets(&[*user], None) {
                        socket.push(Outgoing::plain(bytes.clone()));
                    }
                }
            }
            tokio::time::sleep(GAP_PAUSE).await;
        }
    }

    async fn deliver(&self, event: &Event) -> Result<()> {
        let now = self.env.now();
        match &event.fact {
            Fact::SessionsRevoked { devices, .. } => self.hub.cut(devices).await,
            Fact::Presence { user_id, online, last_seen } => {
                let watchers = self.hub.watchers(*user_id);
                if watchers.is_empty() {
                    return Ok(());
                }
                let recipients = self.fan_out.recipients(event, &watchers).await?;
                let presence = PresenceView { user_id: *user_id, online: *online, last_seen: *last_seen };
                if let Some(bytes) = presence.frame(None, now) {
                    self.hub.tell_change(*user_id, &recipients, &Outgoing::plain(bytes));
                }
            }
            Fact::ChatCreated { chat_id, created_by, group: None } => self.chat_created(event, *chat_id, *created_by).await?,
            Fact::ChatCreated { created_by, group: Some(chat), .. } => {
                self.to_recipients(event, None, || CreatedChat { chat, created_by: *created_by }.frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::ChatUpdated(updated) => {
                let mut updated = updated.clone();
                if let Some(picture) = &mut updated.changes.profile.avatar_url {
                    *picture = self.links.absolute(picture);
                }
                self.to_recipients(event, None, || UpdatedChat::from(&updated).frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::MemberAdded(added) => self.to_recipients(event, None, || AddedMember::from(added).frame(None, now).map(Outgoing::plain)).await?,
            Fact::MemberRemoved(removed) => self.to_recipients(event, None, || RemovedMember::from(removed).frame(None, now).map(Outgoing::plain)).await?,
            Fact::MessageNew(new) if wa_core::faults::planted("event_lost") && new.message.seq.get() % 5 == 0 => {}
            Fact::MessageNew(new) => {
                self.to_shares(event, new.origin, |message| {
                    let bytes = NewMessage::from(message).frame(None, now)?;
                    Some(Outgoing { bytes, message: Some((message.chat_id, message.seq, message.created_at)) })
                })
                .await?;
            }
            Fact::MessageStatus(status) => {
                self.to_recipients(event, status.origin, || StatusChange::of(status, event.at).frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::MessageDeleted(deleted) => {
                self.to_recipients(event, deleted.origin, || Deletion::of(deleted, event.at).frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::MessageEdited(edited) => {
                self.to_shares(event, edited.origin, |message| EditedMessage(message).frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::MessageReaction(reaction) => {
                self.to_recipients(event, reaction.origin, || ReactionChange::of(reaction, event.at).frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::MessageStarred(starred) => {
                self.to_recipients(event, None, || StarChange::of(starred, event.at).frame(None, now).map(Outgoing::plain)).await?;
            }
            Fact::Typing { chat_id, user_id, is_typing } => {
                let typing = Typing { chat_id: *chat_id, user_id: *user_id, is_typing: *is_typing };
                self.to_recipients(event, None, || typing.frame(None, now).map(Outgoing::plain)).await?;
            }
        }
        Ok(())
    }

    /// Encodes once, and only if somebody is here to get it.
    async fn to_recipients(&self, event: &Event, except: Option<ConnectionId>, encode: impl FnOnce() -> Option<Outgoing> + Send) -> Result<()> {
        let recipients = self.fan_out.recipients(event, &[]).await?;
        let sockets = self.hub.sockets(&recipients, except);
        if sockets.is_empty() {
            return Ok(());
        }
        if let Some(frame) = encode() {
            for socket in sockets {
                socket.push(frame.clone());
            }
        }
        Ok(())
    }

    /// As [`Self::to_recipients`], once for each group of recipients who see the same.
    async fn to_shares(&self, event: &Event, except: Option<ConnectionId>, encode: impl Fn(&MessageView) -> Option<Outgoing> + Send) -> Result<()> {
        let recipients = self.fan_out.recipients(event, &[]).await?;
        let all = self.hub.sockets(&recipients, except);
        if all.is_empty() {
            return Ok(());
        }
        let shares = self.fan_out.shares(event, &recipients).await?;
        for share in &shares {
            let Some(frame) = encode(&share.message) else { continue };
            let sockets = if shares.len() == 1 { all.clone() } else { self.hub.sockets(&share.users, except) };
            for socket in sockets {
                socket.push(frame.clone());
            }
        }
        Ok(())
    }

    /// Each side sees a direct chat in its own way.
    async fn chat_created(&self, event: &Event, chat_id: ChatId, created_by: UserId) -> Result<()> {
        for user in self.fan_out.recipients(event, &[]).await? {
            let sockets = self.hub.sockets(&[user], None);
            let Some(first) = sockets.first() else { continue };
            let caller = Caller { user_id: user, device_id: first.caller.device_id };
            let chat = match self.chats.get(&caller, chat_id).await {
                Ok(chat) => chat,
                // Not a participant any more, by now.
                Err(Error::NotFound { .. } | Error::Denied(_)) => continue,
                Err(error) => return Err(error),
            };
            if let Some(bytes) = (CreatedChat { chat: &chat, created_by }).frame(None, self.env.now()) {
                for socket in sockets {
                    socket.push(Outgoing::plain(bytes.clone()));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl EventHandler for Delivery {
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        #[cfg(feature = "planted")]
        let events: &[Arc<Event>] = &if wa_core::faults::planted("events_out_of_order") { events.iter().rev().cloned().collect() } else { events.to_vec() };
        for event in events {
            if self.hub.is_empty() {
                continue;
            }
            let mut retries = RETRIES.iter();
            while let Err(error) = self.deliver(event).await {
                if matches!(event.fact, Fact::Typing { .. } | Fact::Presence { .. }) {
                    tracing::debug!(event_id = %event.id, %error, "a transient event was not delivered");
                    break;
                }
                let Some(wait) = retries.next() else {
                    // Whom it was for is unknown, and a gap must not stay silent: everybody reconnects and syncs.
                    tracing::error!(event_id = %event.id, subject = event.subject(), ?error, "an event was not delivered: all sockets are closed");
                    self.hub.close_all(Close::Unavailable);
                    break;
                };
                tokio::time::sleep(*wait).await;
            }
        }
        Ok(())
    }
}
