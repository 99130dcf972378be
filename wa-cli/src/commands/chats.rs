//! `wa chats`: the chat list.

use wa_core::chat::ChatKind;

use crate::failure::Failure;
use crate::output::{Output, when};
use crate::people;
use crate::session::Account;

/// Your chats.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Chats {
    /// List your chats, pinned first, then newest activity.
    List,
}

impl Chats {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let Self::List = self;
        let client = account.client().await?;
        let chats = people::all_chats(&client).await?;
        output.list(&chats, ["CHAT", "NAME", "UNREAD", "LAST", ""], |chat| {
            let unread = if chat.unread_count == 0 { String::new() } else { chat.unread_count.to_string() };
            let (at, preview) = chat.last_message.as_ref().map(|last| (when(last.timestamp), last.preview.clone())).unwrap_or_default();
            let name = if chat.kind == ChatKind::Group { format!("{} (group)", chat.name) } else { chat.name.clone() };
            let name = if chat.is_pinned { format!("{name} (pinned)") } else { name };
            [chat.chat_id.to_string(), name, unread, at, preview]
        })
    }
}
