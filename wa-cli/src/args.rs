//! What can be typed: commands, their arguments and their help.

use clap::{Parser, Subcommand};

#[cfg(feature = "migrate")]
use crate::commands::migrate;
use crate::commands::{
    bench, chat, chats, completions, contacts, devices, events, group, history, login, logout, media, messages, profile, search, send, status, tail,
};
use crate::output::{Format, Output};
use crate::session::{Account, DEFAULT_PROFILE, DEFAULT_SERVER};

/// A command line client of the chat backend.
#[derive(Debug, Parser)]
#[command(name = "wa", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Try it against a development server on this machine (make run), in two terminals:
  wa chat --as alice bob
  wa chat --as bob alice

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 login needed, 4 not found, 5 server unavailable or too many requests,
6 the same profile connected elsewhere, 130 interrupted.
Logins are stored in WA_CONFIG_DIR, or in wa/ under your configuration folder.";

/// What every command understands.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The stored login to act as.
    #[arg(long = "as", visible_alias = "profile", global = true, value_name = "PROFILE", env = "WA_PROFILE", default_value = DEFAULT_PROFILE)]
    profile: String,
    /// The server's address [default: that of the profile, or http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", env = "WA_SERVER")]
    server: Option<String>,
    /// The form of the output.
    #[arg(long, short, global = true, value_enum, default_value = "table")]
    output: Format,
}

impl Global {
    pub(crate) fn account(&self) -> Account {
        Account { profile: self.profile.clone(), server: self.server.clone() }
    }

    pub(crate) fn server(&self) -> &str {
        self.server.as_deref().unwrap_or(DEFAULT_SERVER)
    }

    pub(crate) fn output(&self) -> Output {
        Output::new(self.output)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Login(login::Login),
    Logout(logout::Logout),
    #[command(subcommand)]
    Devices(devices::Devices),
    #[command(subcommand)]
    Profile(profile::Profile),
    #[command(subcommand)]
    Contacts(contacts::Contacts),
    #[command(subcommand)]
    Chats(chats::Chats),
    #[command(subcommand)]
    Group(group::Group),
    Chat(chat::Chat),
    Send(send::Send),
    #[command(subcommand)]
    Status(status::Status),
    Tail(tail::Tail),
    History(history::History),
    Search(search::Search),
    #[command(subcommand)]
    Messages(messages::Messages),
    #[command(subcommand)]
    Media(media::Media),
    #[command(subcommand)]
    Events(events::Events),
    #[cfg(feature = "migrate")]
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    Bench(bench::Bench),
    Completions(completions::Completions),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_fit_together() {
        Args::command().debug_assert();
    }
}
