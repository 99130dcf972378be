//! The command line of the server.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors, Flags};

/// A chat server: REST, WebSocket and a built-in web client, in one process.
#[derive(Debug, Parser)]
#[command(name = "wa-server", version, after_help = "Every key of the configuration can be set in wa.toml or as WA_<SECTION>__<KEY> in the environment.")]
pub struct Command {
    /// The configuration file; ./wa.toml or the one in your configuration directory, if not given.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// For trying it out: serves on loopback only, tells login codes, makes two demo users.
    #[arg(long)]
    dev: bool,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<String>,
    /// Where the data lies.
    #[arg(long, value_name = "DIRECTORY", global = true)]
    data_dir: Option<String>,
    /// Checks the configuration, and ends.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    subcommand: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Changes the schema of the database; the server itself brings it up to date when it starts.
    Migrate {
        #[command(subcommand)]
        direction: Direction,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Direction {
    /// Makes all tables, or brings them up to date.
    Up,
    /// Makes the indexes of the MongoDB that storage.messages names.
    #[cfg(feature = "cluster")]
    MongoIndexes,
    /// Drops all tables and everything in them.
    Down {
        /// Really.
        #[arg(long)]
        yes: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    Serve,
    /// Say that the configuration is in order.
    CheckConfig,
    /// Bring the schema up to date.
    MigrateUp,
    /// Make the indexes of MongoDB.
    #[cfg(feature = "cluster")]
    MongoIndexes,
    /// Drop all tables; the person said that they mean it.
    MigrateDown {
        /// Whether they said so.
        yes: bool,
    },
}

impl Command {
    /// The command line of this process; help, version and mistakes in it end the process, as is usual.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse()
    }

    /// What it asks for.
    #[must_use]
    pub fn action(&self) -> Action {
        match &self.subcommand {
            _ if self.check_config => Action::CheckConfig,
            None => Action::Serve,
            Some(Sub::Migrate { direction: Direction::Up }) => Action::MigrateUp,
            #[cfg(feature = "cluster")]
            Some(Sub::Migrate { direction: Direction::MongoIndexes }) => Action::MongoIndexes,
            Some(Sub::Migrate { direction: Direction::Down { yes } }) => Action::MigrateDown { yes: *yes },
        }
    }

    /// The configuration it leads to.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn config(&self) -> Result<Config, ConfigErrors> {
        let flags = Flags { dev: self.dev, bind: self.bind.clone(), port: self.port, data_dir: self.data_dir.clone() };
        Config::of_process(self.config.as_deref(), flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let action = |line: &str| Command::try_parse_from(line.split(' ')).map(|command| command.action()).map_err(|error| error.kind());
        assert_eq!(action("wa-server"), Ok(Action::Serve));
        assert_eq!(action("wa-server --dev --port 0 --data-dir x"), Ok(Action::Serve));
        assert_eq!(action("wa-server --check-config"), Ok(Action::CheckConfig));
        assert_eq!(action("wa-server migrate up --config x"), Ok(Action::MigrateUp));
        #[cfg(feature = "cluster")]
        assert_eq!(action("wa-server migrate mongo-indexes"), Ok(Action::MongoIndexes));
        assert_eq!(action("wa-server migrate down"), Ok(Action::MigrateDown { yes: false }));
        assert_eq!(action("wa-server --port 99999"), Err(clap::error::ErrorKind::ValueValidation));
        assert_eq!(action("wa-server --prot 1"), Err(clap::error::ErrorKind::UnknownArgument));
    }
}
