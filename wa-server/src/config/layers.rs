//! Puts file, environment and flags on top of each other: of each key, the value that counts and where it came from.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::source::{EnvVar, Flags, SourceFile, Sources};

/// The sections of the contract, section 8.
pub(super) const SECTIONS: [&str; 10] = ["server", "storage", "auth", "limits", "push", "sms", "telemetry", "peers", "compat", "dev"];

/// Keys that may be read from a file, because they are or hold secrets.
const SECRETS: [&str; 10] = [
    "auth.jwt_secret",
    "auth.jwt_previous_secrets",
    "push.vapid_private_key",
    "sms.webhook_secret",
    "sms.webhook_url",
    "storage.database",
    "storage.messages",
    "storage.cache",
    "storage.events",
    "storage.media",
];

/// A value as it was written.
#[derive(Clone, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Raw>),
    /// Anything no key takes; what it is called.
    Other(&'static str),
}

/// A value and where it came from.
#[derive(Clone, PartialEq)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// The value that counts of every key that was set.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) values: BTreeMap<String, Given>,
    pub(super) errors: Vec<ConfigError>,
    /// Variables that would set a key if there were two underscores after the section: the name, and the key.
    pub(super) near_misses: Vec<(String, String)>,
}

impl Layers {
    pub(super) fn of(sources: &Sources) -> Self {
        let mut layers = Self { values: BTreeMap::new(), errors: sources.unreadable.clone(), near_misses: Vec::new() };
        if let Some(file) = &sources.file {
            layers.add_file(file);
        }
        layers.add_env(&sources.env);
        layers.add_flags(&sources.flags);
        layers
    }

    fn add_file(&mut self, file: &SourceFile) {
        let line_at = |offset: usize| 1 + file.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        for error in errors {
            // The error's own display quotes the line, which may hold a secret.
            self.errors.push(ConfigError {
                key: file.path.display().to_string(),
                problem: format!("is not TOML: {}", error.message().lines().next().unwrap_or("it cannot be read")),
                origin: Origin::File { path: file.path.clone(), line: line_at(error.span().map_or(0, |span| span.start)) },
                fix: "correct the line; a text stands in quotes".to_owned(),
            });
        }
        self.add_table(&file.path, "", table.get_ref(), &line_at);
    }

    fn add_table(&mut self, path: &Path, prefix: &str, table: &DeTable<'_>, line_at: &dyn Fn(usize) -> usize) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            match value.get_ref() {
                // Deeper tables are no configuration of ours; their outermost key is reported as unknown.
                DeValue::Table(inner) if prefix.matches('.').count() < 2 => self.add_table(path, &format!("{key}."), inner, line_at),
                _ => {
                    let origin = Origin::File { path: path.to_owned(), line: line_at(name.span().start) };
                    self.values.insert(key, Given { raw: raw(value), origin });
                }
            }
        }
    }

    fn add_env(&mut self, variables: &[EnvVar]) {
        let mut set: BTreeMap<String, &str> = BTreeMap::new();
        for variable in variables {
            let Some((key, raw, origin)) = self.read_variable(variable) else { continue };
            if let Some(other) = set.insert(key.clone(), &variable.name) {
                self.errors.push(ConfigError {
                    key: key.clone(),
                    problem: format!("is set twice, also by {other}"),
                    origin: origin.clone(),
                    fix: "set one of the two".to_owned(),
                });
            }
            self.values.insert(key, Given { raw, origin });
        }
    }

    /// The key and value a variable sets; `None` if it is no concern of the configuration, or unusable.
    fn read_variable(&mut self, variable: &EnvVar) -> Option<(String, Raw, Origin)> {
        let name = variable.name.strip_prefix("WA_")?;
        if !name.contains("__") {
            // WA_SERVER_BIND would be silently without effect. Others that begin with WA_ are not ours: Kubernetes tells
            // every pod of a service called wa-server by WA_SERVER_PORT and the like.
            if let Some((section, key)) = name.split_once('_') {
                self.near_misses.push((variable.name.clone(), format!("{}.{}", section.to_lowercase(), key.to_lowercase())));
            }
            return None;
        }
        let key = name.to_lowercase().replace("__", ".");
        let secret = key.strip_suffix("_file").filter(|key| SECRETS.contains(key));
        let Some((secret, content)) = secret.zip(variable.file.as_ref()) else {
            return Some((key, Raw::Text(variable.value.clone()), Origin::Env(variable.name.clone())));
        };
        let origin = Origin::EnvFile { variable: variable.name.clone(), path: variable.value.clone().into() };
        match content {
            Ok(text) => {
                let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
                Some((secret.to_owned(), Raw::Text(text.to_owned()), origin))
            }
            Err(problem) => {
                let fix = format!("let {} name a file that the server may read", variable.name);
                self.errors.push(ConfigError { key: secret.to_owned(), problem: format!("its file cannot be used: {problem}"), origin, fix });
                None
            }
        }
    }

    fn add_flags(&mut self, flags: &Flags) {
        if flags.dev {
            for key in ["dev.echo_otp", "dev.seed_demo"] {
                self.values.insert(key.to_owned(), Given { raw: Raw::Bool(true), origin: Origin::Flag("--dev") });
            }
        }
        for (key, flag, value) in [("server.bind", "--bind", &flags.bind), ("server.data_dir", "--data-dir", &flags.data_dir)] {
            if let Some(value) = value {
                self.values.insert(key.to_owned(), Given { raw: Raw::Text(value.clone()), origin: Origin::Flag(flag) });
            }
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(bool) => Raw::Bool(*bool),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Raw::Other("a number that is too large"), Raw::Integer),
        DeValue::Array(entries) => Raw::List(entries.iter().map(raw).collect()),
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
