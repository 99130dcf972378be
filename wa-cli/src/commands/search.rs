//! `wa search`: messages by their words.

use std::collections::HashMap;

use wa_core::api::SearchRequest;
use wa_core::chat::ChatView;
use wa_core::id::ChatId;

use super::history::{line, speaker};
use crate::failure::Failure;
use crate::output::{Output, plain};
use crate::people;
use crate::session::Account;

/// Find messages by their words, best first.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Words that must all occur; "in quotes" in this order, wor* as a beginning.
    #[arg(required = true)]
    words: Vec<String>,
    /// Only in the chat with them: a phone number, a name, or the id of a user or chat.
    #[arg(long = "in", value_name = "WHO")]
    who: Option<String>,
    /// How many messages.
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
}

impl Search {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        let me = client.me().await?.id;
        let chat = match &self.who {
            Some(who) => Some(people::chat(&client, who).await?),
            None => None,
        };
        let mut chats: HashMap<ChatId, ChatView> = chat.iter().map(|chat| (chat.chat_id, chat.clone())).collect();
        let mut request = SearchRequest { chat: chat.as_ref().map(|chat| chat.chat_id), query: self.words.join(" "), cursor: None, limit: None };
        let mut left = self.limit;
        while left > 0 {
            request.limit = i64::try_from(left.min(100)).ok();
            let page = client.search(&request).await?;
            for hit in page.results.into_iter().take(left) {
                left -= 1;
                if output.is_json() {
                    output.json_line(&hit)?;
                    continue;
                }
                let id = hit.message.chat_id;
                if let std::collections::hash_map::Entry::Vacant(entry) = chats.entry(id) {
                    entry.insert(client.chat(id).await?);
                }
                let Some(found_in) = chats.get(&id) else { continue };
                let line = line(&hit.message, &speaker(found_in, me, hit.message.sender_id), output);
                match chat {
                    Some(_) => output.line(&line)?,
                    None => output.line(&format!("{}  {line}", output.dim(&plain(&found_in.name))))?,
                }
            }
            match page.next_cursor {
                Some(next) => request.cursor = Some(next),
                None => break,
            }
        }
        Ok(())
    }
}
