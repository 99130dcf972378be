//! `wa messages`: what can be done with messages that were sent.

use clap::Subcommand;
use serde_json::json;
use wa_core::id::MessageId;
use wa_core::message::MessageKind;
use wa_transport::client::{Client, ClientError, Outgoing};

use super::history::line;
use crate::failure::Failure;
use crate::output::Output;
use crate::people;
use crate::session::Account;

/// Answer, edit, delete, forward, react to and star messages. `wa history -o json` shows their ids.
#[derive(Debug, Subcommand)]
pub(crate) enum Messages {
    /// Answer a message in its chat.
    Reply {
        /// The message.
        message: MessageId,
        /// In the chat with them: a phone number, a name, or the id of a user or chat.
        #[arg(long = "in", value_name = "WHO")]
        who: String,
        /// The answer; several words are joined by spaces.
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Change the text of one of your messages; of a picture, video or document the caption.
    Edit {
        /// The message.
        message: MessageId,
        /// What it says from now on; several words are joined by spaces.
        #[arg(required = true)]
        text: Vec<String>,
        /// Change the caption rather than the text.
        #[arg(long)]
        caption: bool,
    },
    /// Delete a message for yourself, or for everyone.
    Delete {
        /// The message.
        message: MessageId,
        /// For everyone: your own, and as an admin of a group anybody's.
        #[arg(long)]
        everyone: bool,
    },
    /// Send a message on to others: to all of them, or to none.
    Forward {
        /// The message.
        message: MessageId,
        /// To whom: phone numbers, names, or ids of users or chats.
        #[arg(required = true)]
        to: Vec<String>,
    },
    /// React to a message, in place of your reaction before.
    React {
        /// The message.
        message: MessageId,
        /// One emoji; without it your reaction is taken back.
        emoji: Option<String>,
    },
    /// Star a message for yourself.
    Star {
        /// The message.
        message: MessageId,
        /// Take the star back.
        #[arg(long)]
        remove: bool,
    },
    /// List your starred messages, newest star first.
    Starred {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
}

impl Messages {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        match self {
            Self::Reply { message, who, text } => {
                let chat = people::chat(&client, &who).await?;
                let sent = client.send(chat.chat_id, &Outgoing::text(text.join(" ")).in_reply_to(message)).await?;
                done(output, &sent, "Sent.")
            }
            Self::Edit { message, text, caption } => {
                let key = if caption { "caption" } else { "body" };
                let edited = client.edit(message, &json!({key: text.join(" ")})).await?;
                done(output, &edited, "Edited.")
            }
            Self::Delete { message, everyone } => {
                match everyone {
                    true => client.delete_for_everyone(message).await?,
                    false => client.delete_for_me(message).await?,
                }
                eprintln!("Deleted{}.", if everyone { " for everyone" } else { "" });
                Ok(())
            }
            Self::Forward { message, to } => {
                let mut chats = Vec::with_capacity(to.len());
                for who in &to {
                    chats.push(people::chat(&client, who).await?.chat_id);
                }
                let made = client.forward(message, &chats).await?;
                done(output, &made, &format!("Forwarded to {}.", made.len()))
            }
            Self::React { message, emoji } => Ok(client.react(message, emoji.as_deref()).await?),
            Self::Star { message, remove } => Ok(client.star(message, !remove).await?),
            Self::Starred { limit } => starred(&client, limit, output).await,
        }
    }
}

fn done(output: Output, result: &impl serde::Serialize, text: &str) -> Result<(), Failure> {
    if output.is_json() {
        return output.json_line(result);
    }
    eprintln!("{text}");
    Ok(())
}

async fn starred(client: &Client, limit: usize, output: Output) -> Result<(), Failure> {
    let me = client.me().await?.id;
    let mut cursor: Option<String> = None;
    let mut left = limit;
    while left > 0 {
        let want = u32::try_from(left.min(100)).unwrap_or(100);
        let page = client.starred(cursor.as_deref(), Some(want)).await?;
        for message in page.messages {
            left = left.saturating_sub(1);
            if output.is_json() {
                output.json_line(&message)?;
                continue;
            }
            let speaker = match message.sender_id {
                sender if sender == me => "you".to_owned(),
                _ if message.kind == MessageKind::System => String::new(),
                sender => name(client, sender).await?,
            };
            output.line(&line(&message, &speaker, output))?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

async fn name(client: &Client, user: wa_core::id::UserId) -> Result<String, ClientError> {
    let name = client.user(user).await?.display_name;
    Ok(if name.is_empty() { "somebody".to_owned() } else { crate::output::plain(&name) })
}
