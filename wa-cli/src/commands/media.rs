//! `wa media`: files.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wa_core::id::MediaId;
use wa_core::media::MediaKind;

use crate::failure::Failure;
use crate::files::{Bar, ending_of, kind_of};
use crate::output::Output;
use crate::session::Account;

/// Files.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Media {
    /// Fetch a file that you sent or were sent.
    Get {
        /// Its id: `media_id` of the message, which `wa history` shows.
        id: MediaId,
        /// Where to; `-` writes to the output [default: a file of its id in this folder]
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Replace a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Upload a file without sending it.
    Put {
        /// The file.
        path: PathBuf,
        /// What it is [default: by the ending of its name]
        #[arg(long = "type", value_name = "image|video|audio|document", value_parser = kind)]
        kind: Option<MediaKind>,
    },
    /// Show what is known of a file.
    Show {
        /// Its id.
        id: MediaId,
    },
}

/// The output. Nothing else goes on meanwhile, so that it may wait.
struct Stdout;

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(io::stdout().write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(io::stdout().flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Reads what a file is.
pub(crate) fn kind(text: &str) -> Result<MediaKind, String> {
    MediaKind::parse(text).ok_or_else(|| "expected image, video, audio or document".to_owned())
}

impl Media {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        match self {
            Self::Get { id, to, force } => {
                let media = client.media(id).await?;
                if to.as_deref() == Some(Path::new("-")) {
                    if std::io::stdout().is_terminal() && media.kind != MediaKind::Document {
                        return Err(Failure::usage("this would write a file of bytes to the terminal; name a file with --to, or pipe it somewhere"));
                    }
                    client.download(id, Stdout, None).await?;
                    return Ok(());
                }
                let path = to.unwrap_or_else(|| PathBuf::from(format!("{id}.{}", ending_of(&media.mime_type))));
                if path.exists() && !force {
                    return Err(Failure::usage(format!("{} is there already; pass --force to replace it, or --to with another name", path.display())));
                }
                // Beside it first: a file of that name is always whole.
                let part = path.with_added_extension("part");
                let bar = Bar::new("Downloading", media.size_bytes);
                let fetched = async {
                    let file = tokio::fs::File::create(&part).await?;
                    client.download(id, file, Some(bar.progress())).await?;
                    tokio::fs::rename(&part, &path).await?;
                    Ok::<_, Failure>(())
                };
                if let Err(failure) = fetched.await {
                    let _ = tokio::fs::remove_file(&part).await;
                    return Err(failure);
                }
                drop(bar);
                if output.is_json() {
                    return output.json_line(&serde_json::json!({ "path": path, "media": media }));
                }
                output.line(&path.display().to_string())
            }
            Self::Put { path, kind } => {
                let size = tokio::fs::metadata(&path).await.map_or(0, |file| file.len());
                let bar = Bar::new("Uploading", size);
                let media = client.upload(&path, kind.unwrap_or_else(|| kind_of(&path)), Some(bar.progress())).await?;
                drop(bar);
                if output.is_json() { output.json_line(&media) } else { output.line(&media.media_id.to_string()) }
            }
            Self::Show { id } => {
                let media = client.media(id).await?;
                let length = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
                let fields = [
                    ("id", media.media_id.to_string()),
                    ("type", media.mime_type.clone()),
                    ("bytes", media.size_bytes.to_string()),
                    ("width", length(media.width)),
                    ("height", length(media.height)),
                    ("duration_ms", length(media.duration_ms)),
                    ("sha256", media.checksum_sha256.clone()),
                    ("url", media.url.clone()),
                ];
                output.thing(&media, fields)
            }
        }
    }
}
