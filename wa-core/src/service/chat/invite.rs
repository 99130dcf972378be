//! Invite codes. Only their hash is stored, and a chat has one at a time.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ChatService;
use crate::error::{Error, Missing, Result};
use crate::group::{self, Change, InviteHash};
use crate::id::ChatId;
use crate::ports::{Applied, Command};
use crate::session::Caller;

/// Random bytes of a code: too many to guess.
const CODE: usize = 16;

/// Bytes of a text that is looked up as a code; longer ones are none.
const LONGEST: usize = 64;

fn unknown() -> Error {
    Error::NotFound { what: Missing::Resource, message: Some("This invite was revoked, or never was one; ask for a new one".to_owned()) }
}

impl ChatService {
    pub(super) async fn new_invite(&self, caller: &Caller, chat: ChatId) -> Result<String> {
        let mut bytes = [0; CODE];
        self.deps.env.fill(&mut bytes);
        let code = URL_SAFE_NO_PAD.encode(bytes);
        self.put_invite(caller, chat, Some(InviteHash::of(&code))).await?;
        Ok(code)
    }

    pub(super) async fn end_invite(&self, caller: &Caller, chat: ChatId) -> Result<()> {
        self.put_invite(caller, chat, None).await
    }

    /// Members are told nothing of it: only admins know of invites.
    async fn put_invite(&self, caller: &Caller, chat: ChatId, invite: Option<InviteHash>) -> Result<()> {
        let by = caller.user_id;
        let may = move |state: &group::ChatState| group::group_admin(&state.membership, by).map(|_| Change::default());
        match self.deps.groups.set_invite(self.command(by, chat, Arc::new(may)).await?, invite).await? {
            Applied::Done => Ok(()),
            Applied::Refused(error) => Err(error),
            Applied::UserGone => Err(Error::internal("nobody was to come in")),
        }
    }

    pub(super) async fn join_by(&self, caller: &Caller, code: &str) -> Result<ChatId> {
        if code.is_empty() {
            return Err(Error::invalid("code", "is required"));
        }
        if code.len() > LONGEST {
            return Err(unknown());
        }
        let invite = InviteHash::of(code);
        let chat = self.deps.groups.invited_to(invite).await?.ok_or_else(unknown)?;
        let (by, limits) = (caller.user_id, self.deps.limits.clone());
        let name = self.deps.names.of(by).await?;
        let command = self.command(by, chat, Arc::new(move |state| group::join(state, by, &name, &limits))).await?;
        match self.deps.groups.change(Command { invite: Some(invite), ..command }).await? {
            Applied::Done => Ok(chat),
            // The code was revoked in between, or the group ended.
            Applied::Refused(Error::NotFound { .. }) => Err(unknown()),
            Applied::Refused(error) => Err(error),
            Applied::UserGone => Err(Error::not_found(Missing::User)),
        }
    }
}
