//! Statuses: what somebody shows their contacts for a day (contract, section 1.2).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{MediaId, StatusId, UserId};
use crate::privacy::Relation;
use crate::time::Timestamp;

/// How long a status is shown.
pub const LIFETIME: Duration = Duration::from_secs(86_400);

/// What a status shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusContent {
    /// A text.
    Text(String),
    /// An uploaded picture.
    Image(MediaId),
}

impl StatusContent {
    /// Its type, as it is written on the wire and in storage.
    #[must_use]
    pub const fn kind(&self) -> StatusKind {
        match self {
            Self::Text(_) => StatusKind::Text,
            Self::Image(_) => StatusKind::Image,
        }
    }

    /// The text, or the id of the picture.
    #[must_use]
    pub fn as_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Image(id) => id.to_string(),
        }
    }
}

/// The types of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StatusKind {
    /// A text.
    Text,
    /// A picture.
    Image,
}

impl StatusKind {
    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
        }
    }
}

/// A status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPost {
    /// Its id.
    pub id: StatusId,
    /// Whose it is.
    pub user_id: UserId,
    /// What it shows.
    pub content: StatusContent,
    /// Text below it; may be empty.
    pub caption: String,
    /// Its background, as `#rrggbb` or `#aarrggbb`; may be empty.
    pub bg_color: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it disappears.
    pub expires_at: Timestamp,
}

impl StatusPost {
    /// The object the outside sees. `viewers` is for the owner alone.
    #[must_use]
    pub fn view(self, viewers: Vec<UserId>) -> StatusView {
        StatusView {
            id: self.id,
            user_id: self.user_id,
            kind: self.content.kind(),
            content: self.content.as_text(),
            caption: self.caption,
            bg_color: self.bg_color,
            viewers,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

/// A status, as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Status))]
pub struct StatusView {
    /// Its id.
    pub id: StatusId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: StatusKind,
    /// The text, or the id of the picture.
    pub content: String,
    /// Text below it.
    pub caption: String,
    /// Its background.
    pub bg_color: String,
    /// Who has seen it, in the order in which they did; empty for everybody but the owner.
    pub viewers: Vec<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it disappears.
    pub expires_at: Timestamp,
}

/// Whether a viewer who stands so to the owner may see their statuses: each has the other in their contacts, and neither has
/// blocked the other. `None`: the relation is not known.
#[must_use]
pub fn may_see(relation: Option<&Relation>) -> bool {
    relation.is_some_and(|relation| {
        let is_mutual = relation.viewer_is_contact && relation.owner_is_contact;
        relation.is_self || (is_mutual && !relation.owner_blocked_viewer && !relation.viewer_blocked_owner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutual_contacts_see_statuses_unless_either_blocked_the_other() {
        let mutual = Relation { viewer_is_contact: true, owner_is_contact: true, ..Relation::default() };
        assert!(may_see(Some(&mutual)));
        assert!(may_see(Some(&Relation { is_self: true, ..Relation::default() })));
        for other in [
            Relation::default(),
            Relation { viewer_is_contact: true, ..Relation::default() },
            Relation { owner_is_contact: true, ..Relation::default() },
            Relation { owner_blocked_viewer: true, ..mutual },
            Relation { viewer_blocked_owner: true, ..mutual },
        ] {
            assert!(!may_see(Some(&other)), "{other:?}");
        }
        assert!(!may_see(None));
    }
}
