//! Statuses (contract, sections 1.2 and 10): a stranger cannot tell an existing one from an absent one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::attachments::Attachments;
use super::fields::{filled_text, line};
use super::people::People;
use crate::api::{NewStatus, StatusApi};
use crate::error::{Conflict, Error, FieldError, Missing, Result};
use crate::id::{MediaId, StatusId, UserId};
use crate::limits::Limits;
use crate::media::MediaKind;
use crate::ports::{ContactStore, Env, EnvExt as _, StatusStore, UserStore};
use crate::session::Caller;
use crate::status_post::{LIFETIME, StatusContent, StatusPost, StatusView, may_see};

/// What the status service stands on.
#[derive(Clone)]
pub struct StatusDeps {
    /// Statuses and who has seen them.
    pub statuses: Arc<dyn StatusStore>,
    /// Files as statuses show them.
    pub attachments: Arc<Attachments>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
}

impl fmt::Debug for StatusDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusDeps")
    }
}

/// Statuses.
#[derive(Debug, Clone)]
pub struct StatusService {
    deps: StatusDeps,
    people: People,
}

impl StatusService {
    /// Statuses over these ports.
    #[must_use]
    pub fn new(deps: StatusDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts));
        Self { deps, people }
    }

    /// What is to be shown, or everything that is wrong with it.
    async fn checked(&self, caller: &Caller, new: &NewStatus) -> Result<(StatusContent, String, String)> {
        let limits = &self.deps.limits;
        let content = match new.kind.as_str() {
            "text" => filled_text("content", &new.content, limits.status_length).map(StatusContent::Text),
            "image" => self.picture(caller, &new.content).await?,
            _ => Err(FieldError { field: "type".to_owned(), message: "must be text or image".to_owned() }),
        };
        let caption = line("caption", new.caption.as_deref().unwrap_or_default(), limits.caption_length, true);
        let bg_color = color(new.bg_color.as_deref().unwrap_or_default());
        match (content, caption, bg_color) {
            (Ok(content), Ok(caption), Ok(bg_color)) => Ok((content, caption, bg_color)),
            (content, caption, bg_color) => Err(Error::Validation([content.err(), caption.err(), bg_color.err()].into_iter().flatten().collect())),
        }
    }

    /// A picture that the caller may show.
    async fn picture(&self, caller: &Caller, content: &str) -> Result<Result<StatusContent, FieldError>> {
        let Ok(id) = content.parse::<MediaId>() else {
            return Ok(Err(FieldError { field: "content".to_owned(), message: "must be the UUID of an uploaded picture".to_owned() }));
        };
        match self.deps.attachments.own(caller.user_id, id, MediaKind::Image, "content").await {
            Ok(_) => Ok(Ok(StatusContent::Image(id))),
            Err(Error::Validation(mut errors)) if errors.len() == 1 => Ok(Err(errors.remove(0))),
            Err(error) => Err(error),
        }
    }

    /// A status that the viewer may see.
    async fn visible(&self, viewer: UserId, id: StatusId) -> Result<StatusPost> {
        let status = self.deps.statuses.get(id, self.deps.env.now()).await?.ok_or(Error::not_found(Missing::Resource))?;
        if self.people.shows_statuses_to(status.user_id, viewer).await? { Ok(status) } else { Err(Error::not_found(Missing::Resource)) }
    }
}

/// `#rrggbb` or `#aarrggbb`, or none.
fn color(text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    let digits = text.strip_prefix('#').unwrap_or_default();
    if text.is_empty() || (matches!(digits.len(), 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Ok(text.to_owned());
    }
    Err(FieldError { field: "bg_color".to_owned(), message: "must be a colour such as \"#1e88e5\" or \"#ff1e88e5\"".to_owned() })
}

#[async_trait]
impl StatusApi for StatusService {
    async fn post(&self, caller: &Caller, new: NewStatus) -> Result<StatusView> {
        let (content, caption, bg_color) = self.checked(caller, &new).await?;
        let deps = &self.deps;
        let now = deps.env.now();
        let status =
            StatusPost { id: deps.env.new_id(), user_id: caller.user_id, content, caption, bg_color, created_at: now, expires_at: now.after(LIFETIME) };
        if !deps.statuses.create(&status, deps.limits.statuses).await? {
            return Err(Error::Conflict(Conflict::State("You show as many statuses as one can; delete one, or wait until one has expired")));
        }
        Ok(status.view(Vec::new()))
    }

    async fn of_contacts(&self, caller: &Caller) -> Result<Vec<StatusView>> {
        let deps = &self.deps;
        let contacts = deps.contacts.list(caller.user_id).await?;
        let pairs: Vec<_> = contacts.iter().filter(|contact| !contact.is_blocked).map(|contact| (caller.user_id, contact.user_id)).collect();
        let relations = deps.contacts.relations(&pairs).await?;
        let owners: Vec<UserId> = pairs.iter().filter(|pair| may_see(relations.get(pair))).map(|(_, owner)| *owner).collect();
        let statuses = deps.statuses.of(&owners, deps.env.now(), deps.limits.status_list).await?;
        Ok(statuses.into_iter().map(|status| status.view(Vec::new())).collect())
    }

    async fn own(&self, caller: &Caller) -> Result<Vec<StatusView>> {
        let deps = &self.deps;
        let statuses = deps.statuses.of(&[caller.user_id], deps.env.now(), deps.limits.statuses).await?;
        let ids: Vec<StatusId> = statuses.iter().map(|status| status.id).collect();
        let mut viewers = deps.statuses.viewers(&ids, deps.limits.status_viewers).await?;
        Ok(statuses
            .into_iter()
            .map(|status| {
                let viewers = viewers.remove(&status.id).unwrap_or_default();
                status.view(viewers)
            })
            .collect())
    }

    async fn delete(&self, caller: &Caller, id: StatusId) -> Result<()> {
        let was_there = self.deps.statuses.delete(caller.user_id, id, self.deps.env.now()).await?;
        if was_there { Ok(()) } else { Err(Error::not_found(Missing::Resource)) }
    }

    async fn view(&self, caller: &Caller, id: StatusId) -> Result<()> {
        let status = self.visible(caller.user_id, id).await?;
        // Who gives no read receipts does not tell what they have seen.
        let settings = self.people.settings(&[caller.user_id]).await?;
        let tells = settings.get(&caller.user_id).is_some_and(|settings| settings.read_receipts);
        if status.user_id != caller.user_id && tells {
            self.deps.statuses.view(id, caller.user_id, self.deps.env.now()).await?;
        }
        Ok(())
    }

    async fn expire(&self) -> Result<bool> {
        Ok(self.deps.statuses.expire(self.deps.env.now(), self.deps.limits.expiry_batch).await?)
    }
}
