//! `wa history`: what was said in a chat.

use wa_core::api::HistoryQuery;
use wa_core::chat::{ChatKind, ChatView};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{MessageKind, MessageView, cut};
use wa_transport::client::{Client, ClientError};

use crate::failure::Failure;
use crate::output::{Output, plain, when};
use crate::people;
use crate::session::Account;

/// Show what was said in a chat, oldest first.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// With whom: a phone number, a name, or the id of a user or chat.
    who: String,
    /// How many messages, the newest ones.
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

impl History {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        let me = client.me().await?.id;
        let chat = people::chat(&client, &self.who).await?;
        for message in newest(&client, chat.chat_id, self.limit).await? {
            match output.is_json() {
                true => output.json_line(&message)?,
                false => output.line(&line(&message, &speaker(&chat, me, message.sender_id), output))?,
            }
        }
        Ok(())
    }
}

/// The newest messages of a chat, oldest first.
pub(crate) async fn newest(client: &Client, chat: ChatId, limit: usize) -> Result<Vec<MessageView>, ClientError> {
    let mut messages = Vec::new();
    let mut cursor = None;
    while messages.len() < limit {
        let want = (limit - messages.len()).min(100);
        let page = client.history(chat, HistoryQuery { cursor, after_seq: None, limit: i64::try_from(want).ok() }).await?;
        cursor = page.messages.last().map(|message| message.message_id);
        messages.extend(page.messages);
        if !page.has_more {
            break;
        }
    }
    messages.reverse();
    Ok(messages)
}

/// What the sender is called in this chat.
pub(crate) fn speaker(chat: &ChatView, me: UserId, sender: UserId) -> String {
    if sender == me {
        return "you".to_owned();
    }
    let named = chat.participants.iter().find(|p| p.user_id == sender).map(|p| p.display_name.as_str());
    let peer = chat.participant.as_ref().filter(|peer| peer.id == sender).map(|peer| peer.display_name.as_str());
    match named.or(peer).map(plain) {
        Some(name) if !name.trim().is_empty() => name,
        // Of a group they may have left since.
        _ => if chat.kind == ChatKind::Group { "somebody" } else { "them" }.to_owned(),
    }
}

/// A message as a line; one of the server has no speaker.
pub(crate) fn line(message: &MessageView, speaker: &str, output: Output) -> String {
    if message.kind == MessageKind::System {
        return output.dim(&format!("{} {}", when(message.created_at), body(message)));
    }
    let mut line = format!("{} {}: ", output.dim(&when(message.created_at)), output.bold(speaker));
    if let Some(answered) = &message.reply_to_preview {
        line += &output.dim(&format!("[to {}: {}] ", plain(&answered.sender_name), plain(&cut(&answered.preview, 40))));
    }
    if message.forwarded {
        line += &output.dim("[forwarded] ");
    }
    line += &body(message);
    if message.edited_at.is_some() && !message.is_deleted {
        line += &output.dim(" (edited)");
    }
    for reaction in &message.reactions {
        line.push(' ');
        line += &plain(&reaction.emoji);
    }
    if message.is_starred {
        line += " ★";
    }
    line
}

/// What a message says, in a line.
pub(crate) fn body(message: &MessageView) -> String {
    let payload = message.payload.to_value();
    match payload.get("body").and_then(serde_json::Value::as_str) {
        Some(body) => plain(body),
        None => {
            let part = |key: &str| payload.get(key).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty()).map(plain);
            let about = [part("caption"), part("file_name").or_else(|| part("name")), part("media_id")];
            let about: Vec<String> = about.into_iter().flatten().collect();
            if about.is_empty() { format!("[{}]", message.kind.as_str()) } else { format!("[{}] {}", message.kind.as_str(), about.join(", ")) }
        }
    }
}
