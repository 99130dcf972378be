//! `wa tail`: everything that happens, as it happens.

use wa_transport::client::{ConnectOptions, ServerEvent, Start};

use super::history::body;
use crate::failure::Failure;
use crate::output::{Output, when};
use crate::session::Account;

/// Show everything that happens in your account until Ctrl-C. With `--output json` one event a line.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    /// Begin with the messages that have not been delivered yet.
    #[arg(long)]
    undelivered: bool,
    /// Do not tell the senders that their messages were delivered.
    #[arg(long)]
    silent: bool,
}

impl Tail {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        let start = if self.undelivered { Start::Undelivered } else { Start::Now };
        let connection = client.connect_with(ConnectOptions { start, acknowledge: !self.silent, ..ConnectOptions::default() }).await?;
        let told = async {
            loop {
                let event = connection.next().await?;
                match output.is_json() {
                    true => output.json_line(&event)?,
                    false => match line(&event) {
                        Some(line) => output.line(&line)?,
                        None => status(&event),
                    },
                }
            }
        };
        let outcome = tokio::select! {
            outcome = told => outcome,
            Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
        };
        connection.close().await;
        outcome
    }
}

fn line(event: &ServerEvent) -> Option<String> {
    Some(match event {
        ServerEvent::Message(m) => format!("{} message in {} from {}: {}", when(m.created_at), m.chat_id, m.sender_id, body(m)),
        ServerEvent::MessageChanged(m) => format!("{} message {} changed: {}", when(m.updated_at), m.message_id, body(m)),
        ServerEvent::MessageDeleted(d) => format!("message {} in {} deleted", d.message_id, d.chat_id),
        ServerEvent::Reaction(r) => match &r.emoji {
            Some(emoji) => format!("{} by {} to message {} in {}", crate::output::plain(emoji), r.user_id, r.message_id, r.chat_id),
            None => format!("no reaction any more by {} to message {} in {}", r.user_id, r.message_id, r.chat_id),
        },
        ServerEvent::Starred(s) => format!("message {} in {} {}", s.message_id, s.chat_id, if s.is_starred { "starred" } else { "no longer starred" }),
        ServerEvent::Receipt(r) => {
            let status = serde_json::to_value(r.status).ok()?;
            let what = match (r.up_to_seq, r.message_id) {
                (Some(seq), _) => format!("up to {seq}"),
                (None, Some(id)) => id.to_string(),
                (None, None) => return None,
            };
            format!("{} in {} by {}: {what}", status.as_str()?, r.chat_id, r.user_id)
        }
        ServerEvent::Typing(t) => format!("{} {} in {}", t.user_id, if t.is_typing { "types" } else { "stopped typing" }, t.chat_id),
        ServerEvent::Presence(p) => format!("{} is {}", p.user_id, if p.online { "online" } else { "offline" }),
        ServerEvent::Chat(c) => format!("chat {} {}", c.chat_id, crate::output::plain(&c.name)),
        ServerEvent::ChatRemoved { chat_id } => format!("chat {chat_id} is gone"),
        ServerEvent::HistoryFrom { chat_id, seq } => format!("the history of {chat_id} begins at {seq}"),
        _ => return None,
    })
}

/// What concerns the connection, for the person.
fn status(event: &ServerEvent) {
    match event {
        ServerEvent::Connected => eprintln!("Connected."),
        ServerEvent::Disconnected { reason, retry_in } => eprintln!("Disconnected: {reason}. Trying again in {} s.", retry_in.as_secs().max(1)),
        _ => {}
    }
}
