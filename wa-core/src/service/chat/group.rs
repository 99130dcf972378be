//! Groups: the request is checked and whom it names looked up; what it changes is decided by `group.rs` of the core, inside
//! the transaction that makes it true.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ChatService;
use crate::api::CreateGroup;
use crate::chat::{AutoDeleteTimer, ChatKind, ChatView, LastMessage, Participant, Role};
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::group::{self, NamesOf, ProfileChange};
use crate::id::{ChatId, MessageId, UserId};
use crate::message::{Content, Seq};
use crate::ports::{Applied, ChatStore, Command, Decide, Env, EnvExt, FirstMember, GroupStore, NewGroup};
use crate::service::access::enter;
use crate::service::fields::{self, avatar_url, filled_line, line};
use crate::service::names::Names;
use crate::session::Caller;

/// Unknown users that an error names; of more the first are enough to see what is wrong.
const NAMED: usize = 10;

/// What leaving a group stands on.
pub(in crate::service) struct Departure<'a> {
    pub(in crate::service) chats: &'a dyn ChatStore,
    pub(in crate::service) groups: &'a dyn GroupStore,
    pub(in crate::service) names: &'a Names,
    pub(in crate::service) env: &'a dyn Env,
}

impl Departure<'_> {
    /// Lets a user leave a group; who is not in it, or no longer, has left.
    pub(in crate::service) async fn leave(&self, user: UserId, chat: ChatId) -> Result<()> {
        match self.remove(user, chat, user).await {
            Ok(()) | Err(Error::NotFound { .. } | Error::Denied(Denied::NotChatMember)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, by: UserId, chat: ChatId, user: UserId) -> Result<()> {
        let access = enter(self.chats, chat, by).await?;
        // One of them may be the next admin.
        let named: Vec<UserId> = if by == user { access.membership.everyone().map(|member| member.user_id).collect() } else { vec![by, user] };
        let names = self.names.all(&named).await?;
        let decide: Decide = Arc::new(move |state| group::remove(state, by, user, &names));
        let by_name = self.names.of(by).await?.to_string();
        match self.groups.change(Command { chat_id: chat, by, by_name, at: self.env.now(), invite: None, decide }).await? {
            Applied::Done => Ok(()),
            Applied::Refused(error) => Err(error),
            Applied::UserGone => Err(Error::internal("nobody was to come in")),
        }
    }
}

impl ChatService {
    pub(super) async fn make_group(&self, caller: &Caller, request: CreateGroup) -> Result<ChatView> {
        let limits = &self.deps.limits;
        let [name, description] = fields::all([
            Some(filled_line("name", &request.name, limits.group_name_length)),
            Some(line("description", &request.description, limits.group_description_length, true)),
        ])?;
        let (name, description) = (name.unwrap_or_default(), description.unwrap_or_default());
        let others = others(caller.user_id, &request.participant_ids);
        if others.is_empty() {
            return Err(Error::invalid("participant_ids", "must name at least one other user"));
        }
        if others.len() >= limits.group_size {
            return Err(Error::Conflict(Conflict::GroupFull));
        }
        for _ in 0..limits.send_decisions {
            let names = self.may_add(caller.user_id, &others).await?;
            let group = self.new_group(caller.user_id, &name, &description, &others, &names);
            let view = Arc::clone(&group.view);
            match self.deps.groups.create(group).await? {
                // As it was made, but with everybody as the caller may see them.
                Applied::Done => return self.view(caller, view.chat_id).await,
                Applied::Refused(error) => return Err(error),
                Applied::UserGone => {}
            }
        }
        Err(Error::unavailable("accounts were erased all the time"))
    }

    fn new_group(&self, by: UserId, name: &str, description: &str, others: &[UserId], names: &NamesOf) -> NewGroup {
        let env = &self.deps.env;
        let (at, chat_id, note_id): (_, ChatId, MessageId) = (env.now(), env.new_id(), env.new_id());
        let called = |user: UserId| names.get(&user).map(ToString::to_string).unwrap_or_default();
        let note = group::created(&called(by), name);
        let members: Vec<FirstMember> = std::iter::once((by, Role::Admin))
            .chain(others.iter().map(|user| (*user, Role::Member)))
            .map(|(user_id, role)| FirstMember { user_id, role, name: called(user_id) })
            .collect();
        // The same for everybody, so without what depends on who looks: people's pictures.
        let participants = members.iter().map(|FirstMember { user_id, role, name }| Participant {
            user_id: *user_id,
            display_name: name.clone(),
            avatar_url: None,
            role: *role,
            joined_at: at,
        });
        let content = Content::System(note.clone());
        let seq = Seq::ZERO.next();
        let view = ChatView {
            chat_id,
            kind: ChatKind::Group,
            name: name.to_owned(),
            description: description.to_owned(),
            avatar_url: Some(String::new()),
            participant: None,
            participants: participants.collect(),
            last_message: Some(LastMessage { message_id: note_id, sender_id: by, kind: content.kind(), preview: content.preview(), timestamp: at, seq }),
            unread_count: 0,
            is_muted: false,
            mute_until: None,
            is_pinned: false,
            is_admin_only: false,
            auto_delete_timer: AutoDeleteTimer::Off,
            last_seq: seq,
            rev: NewGroup::REV,
            created_at: at,
            updated_at: at,
        };
        NewGroup { view: Arc::new(view), members, created_by: by, note_id, note }
    }

    pub(super) async fn change_profile(&self, caller: &Caller, chat: ChatId, change: ProfileChange) -> Result<()> {
        let access = enter(&*self.deps.chats, chat, caller.user_id).await?;
        group::group_admin(&access.membership, caller.user_id)?;
        let (limits, links) = (&self.deps.limits, self.deps.attachments.links());
        let [name, description, avatar_url] = fields::all([
            change.name.as_deref().map(|text| filled_line("name", text, limits.group_name_length)),
            change.description.as_deref().map(|text| line("description", text, limits.group_description_length, true)),
            change.avatar_url.as_deref().map(|url| avatar_url(links.kept(url))),
        ])?;
        let wanted = ProfileChange { name, description, avatar_url, is_admin_only: change.is_admin_only };
        let (by, by_name) = (caller.user_id, self.deps.names.of(caller.user_id).await?);
        let picture = wanted.avatar_url.clone();
        let replaced = match &picture {
            Some(_) => self.deps.chats.get(by, &[chat]).await?.into_iter().next().and_then(|listed| listed.chat.group).map(|group| group.avatar_url),
            None => None,
        };
        if let Some(picture) = picture.as_ref().filter(|picture| replaced.as_ref() != Some(picture)) {
            self.deps.attachments.may_show(by, picture).await?;
        }
        self.apply(by, chat, Arc::new(move |state| group::set_profile(state, by, &by_name, wanted.clone()))).await?;
        if let Some(replaced) = replaced.filter(|replaced| Some(replaced) != picture.as_ref()) {
            self.deps.attachments.let_go(&replaced).await;
        }
        Ok(())
    }

    pub(super) async fn add(&self, caller: &Caller, chat: ChatId, users: &[UserId]) -> Result<()> {
        let by = caller.user_id;
        let limits = &self.deps.limits;
        if users.is_empty() {
            return Err(Error::invalid("user_ids", "must name at least one user"));
        }
        let users = others(by, users);
        for _ in 0..limits.send_decisions {
            let access = enter(&*self.deps.chats, chat, by).await?;
            group::group_admin(&access.membership, by)?;
            if users.len() > limits.group_size {
                return Err(Error::Conflict(Conflict::GroupFull));
            }
            let new: Vec<UserId> = users.iter().copied().filter(|user| access.membership.present(*user).is_none()).collect();
            let names = self.may_add(by, &new).await?;
            let command = {
                let (new, limits) = (new.clone(), Arc::clone(limits));
                self.command(by, chat, Arc::new(move |state| group::add(state, by, &new, &names, &limits))).await?
            };
            match self.deps.groups.change(command).await? {
                Applied::Done => return Ok(()),
                Applied::Refused(error) => return Err(error),
                Applied::UserGone => {}
            }
        }
        Err(Error::unavailable("accounts were erased all the time"))
    }

    pub(super) async fn remove(&self, caller: &Caller, chat: ChatId, user: UserId) -> Result<()> {
        let deps = &self.deps;
        Departure { chats: &*deps.chats, groups: &*deps.groups, names: &deps.names, env: &*deps.env }.remove(caller.user_id, chat, user).await
    }

    pub(super) async fn change_role(&self, caller: &Caller, chat: ChatId, user: UserId, role: Role) -> Result<()> {
        let by = caller.user_id;
        let names = self.deps.names.all(&[user]).await?;
        self.apply(by, chat, Arc::new(move |state| group::set_role(state, by, user, role, &names))).await
    }

    pub(super) async fn change_timer(&self, caller: &Caller, chat: ChatId, timer: AutoDeleteTimer) -> Result<()> {
        let (by, by_name) = (caller.user_id, self.deps.names.of(caller.user_id).await?);
        self.apply(by, chat, Arc::new(move |state| group::set_timer(state, by, &by_name, timer))).await
    }

    pub(super) async fn command(&self, by: UserId, chat_id: ChatId, decide: Decide) -> Result<Command> {
        Ok(Command { chat_id, by, by_name: self.deps.names.of(by).await?.to_string(), at: self.deps.env.now(), invite: None, decide })
    }

    /// Makes a change that lets nobody in.
    async fn apply(&self, by: UserId, chat: ChatId, decide: Decide) -> Result<()> {
        match self.deps.groups.change(self.command(by, chat, decide).await?).await? {
            Applied::Done => Ok(()),
            Applied::Refused(error) => Err(error),
            Applied::UserGone => Err(Error::internal("nobody was to come in")),
        }
    }

    /// Whether this user may add those: they exist, and no block stands between, in either direction. Returns what they and
    /// the user are called.
    async fn may_add(&self, by: UserId, users: &[UserId]) -> Result<NamesOf> {
        let mut names: NamesOf = [(by, self.deps.names.of(by).await?)].into();
        if users.is_empty() {
            return Ok(names);
        }
        for user in self.deps.users.get(users).await? {
            if !user.is_deleted {
                names.insert(user.id, user.shown_name().into());
            }
        }
        let unknown: Vec<String> = users.iter().filter(|user| !names.contains_key(user)).take(NAMED).map(ToString::to_string).collect();
        if !unknown.is_empty() {
            return Err(Error::NotFound { what: Missing::User, message: Some(format!("There is no user {}", unknown.join(", "))) });
        }
        let pairs: Vec<(UserId, UserId)> = users.iter().map(|user| (by, *user)).collect();
        let relations = self.deps.contacts.relations(&pairs).await?;
        // Whoever could not be looked up is not added.
        if pairs.iter().any(|pair| relations.get(pair).is_none_or(|relation| relation.owner_blocked_viewer || relation.viewer_blocked_owner)) {
            return Err(Error::Denied(Denied::Forbidden("You cannot add one of these people; invite them instead")));
        }
        Ok(names)
    }
}

/// These users, each once, in order, but for the one who names them.
fn others(by: UserId, users: &[UserId]) -> Vec<UserId> {
    let mut seen = BTreeSet::from([by]);
    users.iter().copied().filter(|user| seen.insert(*user)).collect()
}
