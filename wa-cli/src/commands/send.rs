//! `wa send`: one message, over REST.

use std::io::Read as _;

use wa_transport::client::Outgoing;

use crate::failure::Failure;
use crate::output::Output;
use crate::people;
use crate::session::Account;

/// What is read from the input at the most; far above what a message may hold.
const MAX_INPUT: u64 = 1 << 20;

/// Send a message.
#[derive(Debug, clap::Args)]
pub(crate) struct Send {
    /// To whom: a phone number, a name, or the id of a user or chat.
    who: String,
    /// The text; several words are joined by spaces, `-` reads it from the input, and `--` goes before one that begins with a hyphen.
    #[arg(required = true)]
    text: Vec<String>,
    /// The message's own key: sending again with the same key sends nothing twice.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Send {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let text = if self.text == ["-"] {
            let mut text = String::new();
            std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            self.text.join(" ")
        };
        let client = account.client().await?;
        let chat = people::chat(&client, &self.who).await?;
        let mut message = Outgoing::text(text);
        if let Some(key) = self.key {
            message = message.with_key(key);
        }
        let sent = client.send(chat.chat_id, &message).await?;
        if output.is_json() {
            return output.json_line(&sent);
        }
        eprintln!("Sent to {}.", crate::output::plain(&chat.name));
        Ok(())
    }
}
