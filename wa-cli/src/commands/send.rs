//! `wa send`: one message, a text or a file, over REST.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use wa_core::media::MediaKind;
use wa_core::message::MessageKind;
use wa_transport::client::{Client, Outgoing};

use crate::failure::Failure;
use crate::files::{Bar, kind_of};
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
    /// The text, or what stands below a file; several words are joined by spaces, `-` reads it from the input, and `--` goes
    /// before one that begins with a hyphen.
    #[arg(required_unless_present = "file")]
    text: Vec<String>,
    /// A file to send.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What the file is [default: by the ending of its name]
    #[arg(long = "type", value_name = "image|video|audio|document", value_parser = super::media::kind, requires = "file")]
    kind: Option<MediaKind>,
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
        let mut message = match &self.file {
            None => Outgoing::text(text),
            Some(path) => self.with_file(&client, path, &text).await?,
        };
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

    /// Uploads the file and makes the message that shows it.
    async fn with_file(&self, client: &Client, path: &Path, caption: &str) -> Result<Outgoing, Failure> {
        let kind = self.kind.unwrap_or_else(|| kind_of(path));
        if kind == MediaKind::Audio && !caption.is_empty() {
            return Err(Failure::usage("nothing can stand below a voice note or music; send the text by itself, or the file with --type document"));
        }
        let size = tokio::fs::metadata(path).await.map_or(0, |file| file.len());
        let bar = Bar::new("Uploading", size);
        let media = client.upload(path, kind, Some(bar.progress())).await?;
        drop(bar);
        let mut payload = json!({ "media_id": media.media_id });
        if !caption.is_empty() {
            payload["caption"] = caption.into();
        }
        if let (MediaKind::Document, Some(name)) = (kind, path.file_name()) {
            payload["filename"] = name.to_string_lossy().into();
        }
        let kind = match kind {
            MediaKind::Image => MessageKind::Image,
            MediaKind::Video => MessageKind::Video,
            MediaKind::Audio => MessageKind::Audio,
            MediaKind::Document => MessageKind::Document,
        };
        Ok(Outgoing::new(kind, payload))
    }
}
