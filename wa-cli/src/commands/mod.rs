//! The commands, one a file.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod chats;
pub(crate) mod completions;
pub(crate) mod contacts;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod group;
pub(crate) mod history;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod media;
pub(crate) mod messages;
#[cfg(feature = "migrate")]
pub(crate) mod migrate;
pub(crate) mod profile;
pub(crate) mod search;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod tail;

use crate::args::{Args, Command};
use crate::failure::Failure;

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let (account, output) = (args.global.account(), args.global.output());
    let server = args.global.server().to_owned();
    match args.command {
        Command::Login(command) => command.run(&account, output).await,
        Command::Logout(command) => command.run(&account).await,
        Command::Devices(command) => command.run(&account, output).await,
        Command::Profile(command) => command.run(&account, output).await,
        Command::Contacts(command) => command.run(&account, output).await,
        Command::Chats(command) => command.run(&account, output).await,
        Command::Group(command) => command.run(&account, output).await,
        Command::Chat(command) => command.run(&account, output).await,
        Command::Send(command) => command.run(&account, output).await,
        Command::Status(command) => command.run(&account, output).await,
        Command::Tail(command) => command.run(&account, output).await,
        Command::Search(command) => command.run(&account, output).await,
        Command::Messages(command) => command.run(&account, output).await,
        Command::Media(command) => command.run(&account, output).await,
        #[cfg(feature = "migrate")]
        Command::Migrate(command) => command.run(output).await,
        Command::Events(command) => command.run(output).await,
        Command::Bench(command) => command.run(&server, output).await,
        Command::History(command) => command.run(&account, output).await,
        Command::Completions(command) => command.run(output),
    }
}
