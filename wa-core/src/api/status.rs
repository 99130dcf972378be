//! Statuses.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::StatusId;
use crate::session::Caller;
use crate::status_post::StatusView;

/// A status to be shown for a day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewStatus {
    /// `text` or `image`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "text"))]
    pub kind: String,
    /// The text, or the id of an uploaded picture.
    pub content: String,
    /// Text below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Its background, as `#rrggbb` or `#aarrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bg_color: Option<String>,
}

/// What people show their contacts for a day (contract, section 1.2).
#[async_trait]
pub trait StatusApi: Send + Sync {
    /// Shows a status to the caller's mutual contacts.
    async fn post(&self, caller: &Caller, new: NewStatus) -> Result<StatusView>;

    /// What the caller's mutual contacts show, newest first.
    async fn of_contacts(&self, caller: &Caller) -> Result<Vec<StatusView>>;

    /// The caller's own, newest first, with who has seen them.
    async fn own(&self, caller: &Caller) -> Result<Vec<StatusView>>;

    /// Takes one of the caller's own back.
    async fn delete(&self, caller: &Caller, id: StatusId) -> Result<()>;

    /// Notes that the caller has seen it. Repeating it changes nothing; seeing one's own does not count.
    async fn view(&self, caller: &Caller, id: StatusId) -> Result<()>;

    /// Deletes what expired, some of it at a time. Returns whether more may be left.
    async fn expire(&self) -> Result<bool>;
}
