//! Users as one viewer may see them. Every field goes through the one policy of [`crate::privacy`], and whoever could not
//! be looked up is not seen.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::id::UserId;
use crate::link::Links;
use crate::ports::{ContactStore, UserStore};
use crate::privacy::{Field, PrivacySettings, Relation, may_see};
use crate::status_post;
use crate::user::{Profile, User};

/// One user with what decides who sees what of them.
pub(super) struct Seen {
    pub(super) user: User,
    settings: Option<PrivacySettings>,
    relation: Option<Relation>,
}

impl Seen {
    pub(super) fn may_see(&self, field: Field) -> bool {
        self.settings.as_ref().is_some_and(|settings| may_see(field, settings, self.relation.as_ref()))
    }

    pub(super) fn avatar(&self) -> Option<String> {
        self.may_see(Field::ProfilePhoto).then(|| self.user.avatar_url.clone())
    }

    pub(super) fn status_text(&self) -> Option<String> {
        self.may_see(Field::About).then(|| self.user.status_text.clone())
    }

    pub(super) fn phone(&self) -> String {
        self.user.phone.as_ref().filter(|_| self.may_see(Field::Phone)).map_or_else(String::new, ToString::to_string)
    }

    pub(super) fn profile(&self) -> Profile {
        // Without settings the relation is withheld as well, which hides whatever can be hidden.
        let relation = self.relation.as_ref().filter(|_| self.settings.is_some());
        self.user.profile_for(&self.settings.unwrap_or_default(), relation)
    }
}

/// Looks users up for a viewer.
#[derive(Clone)]
pub(super) struct People {
    users: Arc<dyn UserStore>,
    contacts: Arc<dyn ContactStore>,
    links: Arc<Links>,
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("People")
    }
}

impl People {
    pub(super) fn new(users: Arc<dyn UserStore>, contacts: Arc<dyn ContactStore>) -> Self {
        Self { users, contacts, links: Arc::default() }
    }

    /// Shows pictures below this address.
    pub(super) fn linked(self, links: Arc<Links>) -> Self {
        Self { links, ..self }
    }

    /// The address of a picture as it leaves the server.
    pub(super) fn picture(&self, kept: &str) -> String {
        self.links.absolute(kept)
    }

    /// These users as the viewer sees them, erased ones included; unknown ones are left out.
    pub(super) async fn seen_by(&self, viewer: UserId, ids: &[UserId]) -> Result<HashMap<UserId, Seen>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let users = self.users.get(ids).await?;
        self.of(viewer, users).await
    }

    /// As [`Self::seen_by`], for users that were looked up already.
    pub(super) async fn of(&self, viewer: UserId, users: Vec<User>) -> Result<HashMap<UserId, Seen>> {
        if users.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
        let settings = self.users.privacy(&ids).await?;
        let relations = self.relations(&ids.iter().map(|id| (viewer, *id)).collect::<Vec<_>>()).await?;
        Ok(users
            .into_iter()
            .map(|user| {
                let id = user.id;
                let user = User { avatar_url: self.picture(&user.avatar_url), ..user };
                (id, Seen { settings: settings.get(&id).copied(), relation: relations.get(&(viewer, id)).copied(), user })
            })
            .collect())
    }

    /// Those of the viewers who may see this field of the owner.
    pub(super) async fn viewers_of(&self, owner: UserId, field: Field, viewers: &[UserId]) -> Result<Vec<UserId>> {
        if viewers.is_empty() {
            return Ok(Vec::new());
        }
        let settings = self.users.privacy(&[owner]).await?;
        let Some(settings) = settings.get(&owner) else {
            return Ok(Vec::new());
        };
        let relations = self.relations(&viewers.iter().map(|viewer| (*viewer, owner)).collect::<Vec<_>>()).await?;
        Ok(viewers.iter().copied().filter(|viewer| may_see(field, settings, relations.get(&(*viewer, owner)))).collect())
    }

    /// Whether the owner shows their statuses to this viewer.
    pub(super) async fn shows_statuses_to(&self, owner: UserId, viewer: UserId) -> Result<bool> {
        let relations = self.relations(&[(viewer, owner)]).await?;
        Ok(status_post::may_see(relations.get(&(viewer, owner))))
    }

    /// The privacy settings of these users.
    pub(super) async fn settings(&self, ids: &[UserId]) -> Result<BTreeMap<UserId, PrivacySettings>> {
        Ok(self.users.privacy(ids).await?)
    }

    async fn relations(&self, pairs: &[(UserId, UserId)]) -> Result<HashMap<(UserId, UserId), Relation>> {
        let (own, others): (Vec<_>, Vec<_>) = pairs.iter().copied().partition(|(viewer, owner)| viewer == owner);
        let mut relations = if others.is_empty() { HashMap::new() } else { self.contacts.relations(&others).await? };
        relations.extend(own.into_iter().map(|pair| (pair, Relation { is_self: true, ..Relation::default() })));
        Ok(relations)
    }
}
