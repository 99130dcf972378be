//! `wa events`: for operators, the events that no consumer could act on.

use std::path::PathBuf;

use wa_transport::nats::{DeadLetter, DeadLetterError, DeadLetters, NatsUrl, connect};

use crate::failure::Failure;
use crate::output::Output;

/// Look after the events of a cluster.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Events {
    /// Events that were put aside because a consumer could not act on them (the stream DLQ).
    Dlq {
        #[command(flatten)]
        nats: Nats,
        #[command(subcommand)]
        command: Dlq,
    },
}

/// Which NATS.
#[derive(Debug, clap::Args)]
pub(crate) struct Nats {
    /// Where NATS is, as nats://user:password@host:port [default: storage.events of the configuration]
    #[arg(long, value_name = "URL", env = "WA_STORAGE__EVENTS", hide_env_values = true, global = true)]
    nats_url: Option<String>,
    /// The server's configuration.
    #[arg(long, value_name = "FILE", default_value = "wa.toml", global = true)]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Dlq {
    /// List them, oldest first.
    List {
        /// How many at the most.
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        /// Begin with this number.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Show one, with what it says. That may be somebody's message.
    Show {
        /// Its number, from `wa events dlq list`.
        number: u64,
    },
    /// Publish some once more, for the consumer that could not act on them, and take them out of the stream.
    Replay {
        /// Their numbers, from `wa events dlq list`.
        #[arg(required_unless_present = "all")]
        numbers: Vec<u64>,
        /// All that are there now.
        #[arg(long, conflicts_with = "numbers")]
        all: bool,
        /// Only say which.
        #[arg(long)]
        dry_run: bool,
    },
}

impl From<DeadLetterError> for Failure {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Absent(_) => Self::not_found(error.to_string()),
            DeadLetterError::Nats(_) => Self::unavailable(error.to_string()),
        }
    }
}

impl Nats {
    fn url(self) -> Result<NatsUrl, Failure> {
        let url = match self.nats_url {
            Some(url) => url,
            None => {
                let text = std::fs::read_to_string(&self.config).map_err(|error| {
                    Failure::usage(format!(
                        "where is NATS? {} cannot be read ({error}); pass --config with the server's configuration, or --nats-url",
                        self.config.display()
                    ))
                })?;
                // The parser's own message would quote the line, which may hold a password.
                let config: toml::Table = text.parse().map_err(|_| Failure::usage(format!("{} is not TOML", self.config.display())))?;
                let url = config.get("storage").and_then(|storage| storage.get("events")).and_then(|url| url.as_str());
                url.ok_or_else(|| Failure::usage(format!("{} has no storage.events; pass --nats-url", self.config.display())))?.to_owned()
            }
        };
        NatsUrl::parse(&url).map_err(|error| Failure::usage(format!("the URL of NATS {error}")))
    }

    async fn letters(self) -> Result<DeadLetters, Failure> {
        Ok(DeadLetters::new(connect(&self.url()?).await.map_err(|error| Failure::unavailable(error.to_string()))?))
    }
}

fn table(output: Output, letters: &[DeadLetter]) -> Result<(), Failure> {
    output.list(letters, ["NUMBER", "AT", "CONSUMER", "SUBJECT", "TRIES", "ERROR"], |letter| {
        [letter.number.to_string(), letter.at.clone(), letter.consumer.clone(), letter.subject.clone(), letter.count.to_string(), letter.error.clone()]
    })
}

impl Events {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let Self::Dlq { nats, command } = self;
        let letters = nats.letters().await?;
        match command {
            Dlq::List { limit, from } => table(output, &letters.list(from, usize::try_from(limit).unwrap_or(usize::MAX)).await?),
            Dlq::Show { number } => {
                let letter = letters.show(number).await?;
                let says = letter.payload.to_string();
                let DeadLetter { at, consumer, subject, count, error, event_id, .. } = letter.clone();
                let fields = [
                    ("number", number.to_string()),
                    ("at", at),
                    ("consumer", consumer),
                    ("subject", subject),
                    ("tries", count.to_string()),
                    ("error", error),
                    ("event", event_id),
                    ("says", says),
                ];
                output.thing(&letter, fields)
            }
            Dlq::Replay { numbers, all, dry_run } => {
                let chosen = match all {
                    true => letters.list(0, usize::MAX).await?.into_iter().map(|letter| letter.number).collect(),
                    false => numbers,
                };
                let mut replayed = Vec::new();
                for number in chosen {
                    replayed.push(if dry_run { letters.show(number).await? } else { letters.replay(number).await? });
                }
                eprintln!("{} {}.", replayed.len(), if dry_run { "would be published once more" } else { "published once more" });
                table(output, &replayed)
            }
        }
    }
}
