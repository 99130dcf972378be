//! `wa migrate`: for operators, moves an installation to other stores.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use wa_core::error::StoreErrorKind;
use wa_core::ports::Env;
use wa_core::time::Timestamp;
use wa_storage::OpenError;
use wa_storage::transfer::{Before, Installation, Mode, Report, Step, Transfer, TransferError};

use crate::failure::Failure;
use crate::output::Output;

/// Move an installation.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Migrate {
    Backend(Backend),
}

/// Copy everything to another database and another store of files: from one machine to a cluster, or back.
///
/// Stop the server first; the source stays as it is. What was interrupted goes on when the same command is run again. At the
/// end everything is read once more on both sides and compared, and only then a server starts on the target.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Backend {
    /// What is copied: a data directory, sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, value_name = "PLACE", env = "WA_MIGRATE_FROM", hide_env_values = true)]
    from: String,
    /// Where to: the same, and empty
    #[arg(long, value_name = "PLACE", env = "WA_MIGRATE_TO", hide_env_values = true)]
    to: String,
    /// Where its files lie: file://PATH or s3://BUCKET?endpoint=URL [default: media beside a database that is a file]
    #[arg(long, value_name = "URL", env = "WA_MIGRATE_MEDIA_FROM", hide_env_values = true)]
    media_from: Option<String>,
    /// Where the files go [default: media beside a database that is a file]
    #[arg(long, value_name = "URL", env = "WA_MIGRATE_MEDIA_TO", hide_env_values = true)]
    media_to: Option<String>,
    /// Leave the files where they are
    #[arg(long, conflicts_with_all = ["media_from", "media_to"])]
    without_media: bool,
    /// Change nothing: read the source whole, count and weigh it, and look at the target
    #[arg(long, conflicts_with = "verify")]
    dry_run: bool,
    /// Only compare what was copied before
    #[arg(long)]
    verify: bool,
}

const EXAMPLES: &str = "\
Examples:
  wa migrate backend --from ./wa-data --to postgres://wa@db.internal/wa --media-to 's3://whatsapp-media?endpoint=https://s3.internal' --dry-run
  wa migrate backend --from ./wa-data --to postgres://wa@db.internal/wa --media-to 's3://whatsapp-media?endpoint=https://s3.internal'
  wa migrate backend --from postgres://wa@db.internal/wa --to ./new-data --media-from file:///srv/media

Passwords are better kept out of the command line: set WA_MIGRATE_FROM, WA_MIGRATE_TO, WA_MIGRATE_MEDIA_FROM, WA_MIGRATE_MEDIA_TO.
What is kept in MongoDB (storage.messages) is not copied yet.";

/// The system's clock and randomness.
struct Real;

impl Env for Real {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("every system that has a server has random bytes");
    }
}

/// The database of a place, and where its files lie unless told.
fn place(text: &str) -> Result<(String, Option<String>), Failure> {
    let beside = |folder: &Path| format!("file://{}", folder.join("media").display());
    if text.starts_with("mongodb") {
        return Err(Failure::usage("what is kept in MongoDB is not copied yet; name the database (storage.database)"));
    }
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        return Ok((text.to_owned(), path.parent().map(beside)));
    }
    if text.contains("://") {
        return Ok((text.to_owned(), None));
    }
    let folder = Path::new(text);
    if folder.is_file() {
        return Err(Failure::usage(format!("{text} is a file; name its folder, or write sqlite://{text}")));
    }
    Ok((format!("sqlite://{}", folder.join("wa.db").display()), Some(beside(folder))))
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let message = error.to_string();
        match error {
            TransferError::Same { .. } | TransferError::Memory { .. } | TransferError::Foreign { .. } | TransferError::Version { .. } => Self::usage(message),
            TransferError::Absent { .. } => Self::not_found(message),
            TransferError::Open { source: OpenError::Unsupported { .. }, .. } => Self::usage(message),
            TransferError::Open { source: OpenError::Database { may_pass: true, .. } | OpenError::ObjectStoreDown { .. }, .. } => Self::unavailable(message),
            TransferError::Failed { source, .. } if source.kind == StoreErrorKind::Unavailable => Self::unavailable(message),
            _ => Self::general(message),
        }
    }
}

/// A line on stderr that says how far it is, if that is a terminal. It goes away when it is dropped.
struct Line(ProgressBar);

impl Line {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{elapsed_precise} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self(bar)
    }

    fn show(&self, step: Step) {
        let rows = |doing: &str, table: &str, rows, bytes| format!("{doing} {table}: {} rows, {}", HumanCount(rows), HumanBytes(bytes));
        let files = |doing: &str, objects, bytes| format!("{doing} files: {}, {}", HumanCount(objects), HumanBytes(bytes));
        self.0.set_message(match step {
            Step::Reading { table, rows: count, bytes } => rows("reading", table, count, bytes),
            Step::Copying { table, rows: count, bytes } => rows("copying", table, count, bytes),
            Step::Comparing { table, rows: count, bytes } => rows("comparing", table, count, bytes),
            Step::Indexing { chats } => format!("making the search index: {} chats", HumanCount(chats)),
            Step::ReadingFiles { objects, bytes } => files("looking at", objects, bytes),
            Step::CopyingFiles { objects, bytes } => files("copying", objects, bytes),
            Step::ComparingFiles { objects, bytes } => files("comparing", objects, bytes),
        });
        self.0.tick();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Migrate {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let Self::Backend(backend) = self;
        backend.run(output).await
    }
}

impl Backend {
    async fn run(self, output: Output) -> Result<(), Failure> {
        let (transfer, mode) = (self.transfer()?, self.mode());
        let line = Line::new();
        let env: Arc<dyn Env> = Arc::new(Real);
        let report = transfer.run(mode, &env, &|step| line.show(step)).await?;
        drop(line);
        let state = match (mode, report.before) {
            _ if !report.differences.is_empty() => "different",
            (Mode::DryRun, _) => "planned",
            (Mode::Verify, _) => "verified",
            (Mode::Copy, Before::Copied) => "copied before",
            (Mode::Copy, _) => "copied",
        };
        self.tell(output, &report, state)?;
        if report.differences.is_empty() {
            return Ok(());
        }
        for difference in &report.differences {
            eprintln!("{}: {}", difference.place, difference.what);
        }
        Err(Failure::general(match mode {
            Mode::Copy if report.before != Before::Copied => {
                "the copy is not what the source is: did a server change one of them after the copy began? Empty the target (wa-server migrate down --yes) and copy anew"
            }
            _ => "the target is not what the source is; that is to be expected once a server was started on one of them",
        }))
    }

    const fn mode(&self) -> Mode {
        match (self.dry_run, self.verify) {
            (true, _) => Mode::DryRun,
            (_, true) => Mode::Verify,
            _ => Mode::Copy,
        }
    }

    fn transfer(&self) -> Result<Transfer, Failure> {
        let ((from, beside), (to, there)) = (place(&self.from)?, place(&self.to)?);
        let mut media = (None, None);
        if !self.without_media {
            media = (self.media_from.clone().or(beside), self.media_to.clone().or(there));
            let say = |flag: &str| Failure::usage(format!("where are the files? Say so with {flag}, or pass --without-media if they stay where they are"));
            if media.0.is_none() {
                return Err(say("--media-from"));
            }
            if media.1.is_none() {
                return Err(say("--media-to"));
            }
        }
        Ok(Transfer { from: Installation { database: from, media: media.0 }, to: Installation { database: to, media: media.1 } })
    }

    fn tell(&self, output: Output, report: &Report, state: &str) -> Result<(), Failure> {
        let before = match report.before {
            Before::Empty => "empty",
            Before::UnderWay => "under way",
            Before::Copied => "copied",
            Before::Other => "other",
        };
        let secrets = self.secrets();
        if output.is_json() {
            let tables = report.tables.iter().map(|table| json!({ "table": table.table, "rows": table.rows, "bytes": table.bytes, "sha256": table.sha256 }));
            let differences = report.differences.iter().map(|difference| json!({ "place": difference.place, "what": difference.what }));
            return output.json_line(&json!({
                "state": state,
                "target_before": before,
                "tables": tables.collect::<Vec<_>>(),
                "files": report.objects.map(|objects| json!({ "objects": objects.objects, "bytes": objects.bytes })),
                "differences": differences.collect::<Vec<_>>(),
                "secrets_to_carry": secrets,
            }));
        }
        let mut lines: Vec<(String, u64, u64)> = report.tables.iter().map(|table| (table.table.to_owned(), table.rows, table.bytes)).collect();
        lines.extend(report.objects.map(|objects| ("files".to_owned(), objects.objects, objects.bytes)));
        output.list(&lines, ["WHAT", "COUNT", "SIZE"], |(what, count, bytes)| [what.clone(), count.to_string(), HumanBytes(*bytes).to_string()])?;
        match state {
            "different" => {}
            "planned" => eprintln!("Nothing was changed. The target is {before}, and can be copied to."),
            "verified" => eprintln!("The target is the same as the source."),
            "copied before" => eprintln!("It was copied before, and is the same as the source."),
            _ => eprintln!("Copied, and the same as the source."),
        }
        if state.starts_with("copied") && !secrets.is_empty() {
            let file = Path::new(&self.from).join("secrets.toml");
            eprintln!(
                "Carry the secrets over: on every node set {} to what {} says (WA_…_FILE keeps them out of the configuration). Without the first, all access \
                 tokens and addresses of files end at once; without the second, browsers get no more pushes.",
                secrets.join(" and "),
                file.display()
            );
        }
        Ok(())
    }

    /// The keys of the configuration that stand in the source's `secrets.toml`. Their values are nobody's business.
    fn secrets(&self) -> Vec<&'static str> {
        let folder = match self.from.strip_prefix("sqlite:") {
            Some(path) => Path::new(path.strip_prefix("//").unwrap_or(path)).parent().unwrap_or(Path::new(".")),
            None => Path::new(&self.from),
        };
        let Ok(text) = std::fs::read_to_string(folder.join("secrets.toml")) else { return Vec::new() };
        let names = [("jwt_secret", "auth.jwt_secret"), ("vapid_private_key", "push.vapid_private_key")];
        names.into_iter().filter(|(name, _)| text.lines().any(|line| line.trim_start().starts_with(name))).map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_url() {
        let found = |text: &str| place(text).ok();
        assert_eq!(found("./wa-data"), Some(("sqlite://./wa-data/wa.db".to_owned(), Some("file://./wa-data/media".to_owned()))));
        assert_eq!(found("sqlite:///var/wa/x.db"), Some(("sqlite:///var/wa/x.db".to_owned(), Some("file:///var/wa/media".to_owned()))));
        assert_eq!(found("postgres://a@b/c"), Some(("postgres://a@b/c".to_owned(), None)));
        assert_eq!(found("mongodb://a"), None);
        assert_eq!(found(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), None);
    }
}
