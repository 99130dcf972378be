//! Pictures of users and groups: stable addresses that work without a token. Who may see a picture is told its address, and
//! who may not is told null; a picture that was replaced or removed is gone from its address at once.

use super::MediaService;
use crate::api::AvatarOf;
use crate::error::Result;
use crate::group::{ProfileChange, group_admin};
use crate::link::avatar_path;
use crate::ports::AVATAR_WIDTH;
use crate::service::access::enter;
use crate::session::Caller;
use crate::upload::Upload;
use crate::user::ProfileUpdate;

impl MediaService {
    /// Whether the caller may set this picture, before any of it comes in; it is decided again when it is set.
    pub(super) async fn may_set_avatar(&self, caller: &Caller, of: AvatarOf) -> Result<()> {
        let AvatarOf::Group(chat) = of else { return Ok(()) };
        let access = enter(&*self.deps.chats, chat, caller.user_id).await?;
        group_admin(&access.membership, caller.user_id).map(|_| ())
    }

    pub(super) async fn replace_avatar(&self, caller: &Caller, of: AvatarOf, upload: Upload) -> Result<String> {
        let media = self.keep_avatar(caller.user_id, upload, AVATAR_WIDTH).await?;
        let address = avatar_path(media.id);
        let set = match of {
            AvatarOf::Caller => {
                let update = ProfileUpdate { avatar_url: Some(address.clone()), ..ProfileUpdate::default() };
                self.deps.user_api.update_me(caller, update).await.map(|_| ())
            }
            AvatarOf::Group(chat) => {
                let change = ProfileChange { avatar_url: Some(address.clone()), ..ProfileChange::default() };
                self.deps.chat_api.update(caller, chat, change).await.map(|_| ())
            }
        };
        // After an error it may be set all the same, or be about to: if it is not, the sweep finds it.
        set?;
        Ok(self.deps.attachments.links().absolute(&address))
    }
}
