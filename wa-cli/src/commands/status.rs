//! `wa status`: what you and your contacts show for a day.

use wa_core::api::NewStatus;
use wa_core::id::StatusId;
use wa_core::status_post::StatusView;

use crate::failure::Failure;
use crate::output::{Output, when};
use crate::session::Account;

/// Statuses: what you and your contacts show for a day.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Status {
    /// Show a text to those who have you in their contacts and whom you have in yours.
    Post {
        /// The text.
        text: String,
        /// Its background, such as "#1e88e5".
        #[arg(long, value_name = "COLOR")]
        color: Option<String>,
    },
    /// List what your contacts show, newest first.
    List,
    /// List your own, with how many have seen them.
    Mine,
    /// Tell its owner that you have seen a status.
    View {
        /// Its id, from `wa status list`.
        status: StatusId,
    },
    /// Take one of your own back.
    Delete {
        /// Its id, from `wa status mine`.
        status: StatusId,
    },
}

impl Status {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        match self {
            Self::Post { text, color } => {
                let new = NewStatus { kind: "text".to_owned(), content: text, caption: None, bg_color: color };
                let posted = client.post_status(&new).await?;
                output.thing(&posted, [("status", posted.id.to_string()), ("until", when(posted.expires_at)), ("shows", posted.content.clone())])
            }
            Self::List => list(output, &client.statuses().await?),
            Self::Mine => list(output, &client.own_statuses().await?),
            Self::View { status } => Ok(client.view_status(status).await?),
            Self::Delete { status } => {
                client.delete_status(status).await?;
                eprintln!("The status is gone.");
                Ok(())
            }
        }
    }
}

fn list(output: Output, statuses: &[StatusView]) -> Result<(), Failure> {
    output.list(statuses, ["STATUS", "FROM", "UNTIL", "SEEN BY", "SHOWS"], |status| {
        [status.id.to_string(), status.user_id.to_string(), when(status.expires_at), status.viewers.len().to_string(), status.content.clone()]
    })
}
