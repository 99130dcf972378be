//! Profiles, contacts, blocks and privacy settings (contract, sections 1.2, 7 and 10).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::attachments::Attachments;
use super::chat::Departure;
use super::fields::{self, avatar_url, line};
use super::names::Names;
use super::people::People;
use crate::api::{PrivacyUpdate, Provision, UserApi};
use crate::error::{Conflict, Error, Missing, Result};
use crate::id::UserId;
use crate::limits::Limits;
use crate::link::Links;
use crate::phone::Phone;
use crate::ports::{ChatStore, ContactStore, Env, EnvExt, Erased, FanOut, GroupStore, NewUser, UserStore};
use crate::privacy::PrivacySettings;
use crate::session::Caller;
use crate::user::{ContactView, Profile, ProfileUpdate, RegisteredUser, User};

/// What the user service stands on.
#[derive(Clone)]
pub struct UserDeps {
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// Groups, which an erased account leaves.
    pub groups: Arc<dyn GroupStore>,
    /// Names kept at hand, shared with the message service.
    pub names: Arc<Names>,
    /// The sockets of this process.
    pub fan_out: Arc<dyn FanOut>,
    /// Files, and where people reach the server.
    pub attachments: Arc<Attachments>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
}

impl fmt::Debug for UserDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserDeps")
    }
}

/// Profiles, contacts, blocks and privacy settings.
#[derive(Debug, Clone)]
pub struct UserService {
    deps: UserDeps,
    people: People,
}

impl UserService {
    /// Users over these ports.
    #[must_use]
    pub fn new(deps: UserDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts)).linked(deps.attachments.links());
        Self { deps, people }
    }

    /// An account that exists and was not erased.
    async fn existing(&self, id: UserId) -> Result<User> {
        self.deps.users.get(&[id]).await?.into_iter().find(|user| !user.is_deleted).ok_or(Error::not_found(Missing::User))
    }

    /// A user as this viewer sees them.
    async fn seen(&self, viewer: UserId, id: UserId) -> Result<Profile> {
        let seen = self.people.seen_by(viewer, &[id]).await?.remove(&id);
        Ok(seen.filter(|seen| !seen.user.is_deleted).ok_or(Error::not_found(Missing::User))?.profile())
    }
}

fn checked(update: &ProfileUpdate, links: &Links, limits: &Limits) -> Result<ProfileUpdate> {
    let [display_name, status_text, avatar_url] = fields::all([
        update.display_name.as_deref().map(|text| line("display_name", text, limits.display_name_length, false)),
        update.status_text.as_deref().map(|text| line("status_text", text, limits.status_text_length, true)),
        update.avatar_url.as_deref().map(|url| avatar_url(links.kept(url))),
    ])?;
    Ok(ProfileUpdate { display_name, status_text, avatar_url })
}

#[async_trait]
impl UserApi for UserService {
    async fn provision(&self, user: Provision) -> Result<Profile> {
        let phone = user.phone.as_deref().map(str::parse::<Phone>).transpose().map_err(|error| Error::invalid("phone", error.to_string()))?;
        let display_name =
            line("display_name", &user.display_name, self.deps.limits.display_name_length, false).map_err(|error| Error::Validation(vec![error]))?;
        let (registered, _) = self.deps.users.register(NewUser { id: user.id, phone, display_name, at: self.deps.env.now() }).await?;
        if registered.id != user.id {
            return Err(Error::Conflict(Conflict::State("Another account has this phone number")));
        }
        if registered.is_deleted {
            return Err(Error::Conflict(Conflict::State("This account was erased; give the user a new id")));
        }
        self.seen(user.id, user.id).await
    }

    async fn me(&self, caller: &Caller) -> Result<Profile> {
        self.seen(caller.user_id, caller.user_id).await
    }

    async fn update_me(&self, caller: &Caller, update: ProfileUpdate) -> Result<Profile> {
        let update = checked(&update, &self.deps.attachments.links(), &self.deps.limits)?;
        if update != ProfileUpdate::default() {
            let renamed = update.display_name.is_some();
            let replaced = match &update.avatar_url {
                Some(_) => self.deps.users.get(&[caller.user_id]).await?.into_iter().next().map(|user| user.avatar_url),
                None => None,
            };
            if let Some(picture) = update.avatar_url.as_ref().filter(|picture| replaced.as_ref() != Some(picture)) {
                self.deps.attachments.may_show(caller.user_id, picture).await?;
            }
            let updated = self.deps.users.update(caller.user_id, update, self.deps.env.now()).await;
            if renamed {
                // Also after an error: the change may have been committed.
                self.deps.names.forget(caller.user_id);
            }
            let updated = updated?.ok_or(Error::not_found(Missing::User))?;
            if let Some(replaced) = replaced.filter(|replaced| *replaced != updated.avatar_url) {
                self.deps.attachments.let_go(&replaced).await;
            }
        }
        self.me(caller).await
    }

    async fn delete_me(&self, caller: &Caller, confirm: &str) -> Result<()> {
        let user = self.existing(caller.user_id).await?;
        let (is_confirmed, rule) = match &user.phone {
            Some(phone) => (Phone::normalise(confirm).is_ok_and(|confirm| confirm == *phone), "must be your own phone number"),
            // Users of a host with its own login may have none.
            None => (confirm.parse() == Ok(user.id), "must be your own user id"),
        };
        if !is_confirmed {
            return Err(Error::invalid("confirm", rule));
        }
        let deps = &self.deps;
        let departure = Departure { chats: &*deps.chats, groups: &*deps.groups, names: &deps.names, env: &*deps.env };
        for _ in 0..deps.limits.send_decisions {
            let erased = deps.users.erase(user.id, deps.env.new_id(), deps.env.now()).await;
            deps.names.forget(user.id);
            match erased? {
                Erased::Done(devices) => {
                    deps.fan_out.cut(&devices).await;
                    deps.attachments.let_go(&user.avatar_url).await;
                    return Ok(());
                }
                // Should this end half-way, the account stands, and a repetition leaves the rest.
                Erased::InGroups(groups) => {
                    for group in groups {
                        departure.leave(user.id, group).await?;
                    }
                }
            }
        }
        Err(Error::unavailable("the user was added to groups all the time"))
    }

    async fn profile(&self, caller: &Caller, id: UserId) -> Result<Profile> {
        self.seen(caller.user_id, id).await
    }

    async fn sync_contacts(&self, caller: &Caller, phone_numbers: &[String]) -> Result<Vec<RegisteredUser>> {
        let most = self.deps.limits.contacts_sync_numbers;
        if phone_numbers.is_empty() || phone_numbers.len() > most {
            return Err(Error::invalid("phone_numbers", format!("must have 1 to {most} entries")));
        }
        let mut phones: Vec<Phone> = phone_numbers.iter().filter_map(|text| Phone::normalise(text).ok()).collect();
        phones.sort_unstable();
        phones.dedup();
        if phones.is_empty() {
            return Ok(Vec::new());
        }
        let mut users = self.deps.users.by_phones(&phones).await?;
        users.retain(|user| user.id != caller.user_id && !user.is_deleted);
        let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
        if !ids.is_empty() {
            self.deps.contacts.save(caller.user_id, &ids, self.deps.env.now()).await?;
        }
        let seen = self.people.of(caller.user_id, users).await?;
        let by_phone: HashMap<&Phone, _> = seen.values().filter_map(|seen| Some((seen.user.phone.as_ref()?, seen))).collect();
        // In the order of the numbers, so that the same address book gives the same answer.
        let found = phones.iter().filter_map(|phone| {
            let seen = by_phone.get(phone)?;
            Some(RegisteredUser {
                phone: phone.to_string(),
                user_id: seen.user.id,
                display_name: seen.user.shown_name().to_owned(),
                avatar_url: seen.avatar(),
                status_text: seen.status_text(),
            })
        });
        Ok(found.collect())
    }

    async fn contacts(&self, caller: &Caller) -> Result<Vec<ContactView>> {
        let contacts = self.deps.contacts.list(caller.user_id).await?;
        let ids: Vec<UserId> = contacts.iter().map(|contact| contact.user_id).collect();
        let seen = self.people.seen_by(caller.user_id, &ids).await?;
        let views = contacts.into_iter().filter_map(|contact| {
            let seen = seen.get(&contact.user_id).filter(|seen| !seen.user.is_deleted)?;
            Some(ContactView {
                user_id: contact.user_id,
                phone: seen.phone(),
                nickname: contact.nickname,
                display_name: seen.user.shown_name().to_owned(),
                avatar_url: seen.avatar(),
                is_blocked: contact.is_blocked,
                created_at: contact.created_at,
            })
        });
        Ok(views.collect())
    }

    async fn set_blocked(&self, caller: &Caller, target: UserId, blocked: bool) -> Result<()> {
        if target == caller.user_id {
            return Err(Error::BadRequest("You cannot block yourself".to_owned()));
        }
        self.existing(target).await?;
        Ok(self.deps.contacts.set_blocked(caller.user_id, target, blocked, self.deps.env.now()).await?)
    }

    async fn privacy(&self, caller: &Caller) -> Result<PrivacySettings> {
        let settings = self.deps.users.privacy(&[caller.user_id]).await?;
        Ok(settings.get(&caller.user_id).copied().unwrap_or_default())
    }

    async fn set_privacy(&self, caller: &Caller, update: PrivacyUpdate) -> Result<PrivacySettings> {
        let present = self.privacy(caller).await?;
        let settings = PrivacySettings {
            last_seen: update.last_seen.unwrap_or(present.last_seen),
            profile_photo: update.profile_photo.unwrap_or(present.profile_photo),
            about: update.about.unwrap_or(present.about),
            read_receipts: update.read_receipts.unwrap_or(present.read_receipts),
        };
        if settings != present {
            self.deps.users.set_privacy(caller.user_id, settings, self.deps.env.now()).await?;
        }
        Ok(settings)
    }
}
