//! Collects what is configured where: the file, the environment, the flags. The only part of the configuration that
//! touches the outside; what the values mean is decided by `parse`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};

/// Longer files are not configuration.
const LARGEST_FILE: u64 = 1 << 20;

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--dev`.
    pub dev: bool,
    /// `--bind`.
    pub bind: Option<String>,
    /// `--port`: the port of `server.bind`, whatever its address is.
    pub port: Option<u16>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
}

/// A configuration file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, for messages.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// An environment variable whose name begins with `WA_`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Of a variable that ends in `_FILE`: what the file says, or why it cannot be read.
    pub file: Option<Result<String, String>>,
}

/// Everything a configuration is made of, read but not understood.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<SourceFile>,
    /// The environment variables that concern the server.
    pub env: Vec<EnvVar>,
    /// The command line.
    pub flags: Flags,
    /// What could not even be read.
    pub unreadable: Vec<ConfigError>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values may be secrets.
        let file = self.file.as_ref().map(|file| &file.path);
        let env: Vec<_> = self.env.iter().map(|var| &var.name).collect();
        f.debug_struct("Sources").field("file", &file).field("env", &env).field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl Sources {
    /// Only this text, as if it were the file `wa.toml`.
    #[must_use]
    pub fn from_toml(text: impl Into<String>) -> Self {
        Self { file: Some(SourceFile { path: PathBuf::from("wa.toml"), text: text.into() }), ..Self::default() }
    }

    /// What is configured for this process: the file named by `--config`, else `./wa.toml`, else `wa/wa.toml` in the
    /// user's configuration directory; the environment; the flags. What cannot be read is noted, not returned.
    #[must_use]
    pub fn of_process(config: Option<&Path>, flags: Flags) -> Self {
        let mut sources = Self { flags, ..Self::default() };
        if let Some(path) = config {
            // A file that was asked for must be there.
            sources.read_file(path, true);
        } else if !sources.read_file(Path::new("wa.toml"), false)
            && let Some(path) = user_config_file()
        {
            sources.read_file(&path, false);
        }
        sources.read_env(std::env::vars_os());
        sources
    }

    /// Returns whether there is such a file.
    fn read_file(&mut self, path: &Path, required: bool) -> bool {
        let problem = match read_bounded(path) {
            Ok(text) => {
                self.file = Some(SourceFile { path: path.to_owned(), text });
                return true;
            }
            Err(Unread::Absent) if !required => return false,
            Err(Unread::Absent) => "there is no such file".to_owned(),
            Err(Unread::Because(problem)) => problem,
        };
        let origin = if required { Origin::Flag("--config") } else { Origin::Default };
        let fix = if required { "name a file that exists and can be read" } else { "make the file readable, or remove it" };
        self.unreadable.push(ConfigError { key: path.display().to_string(), problem, origin, fix: fix.to_owned() });
        true
    }

    fn read_env(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with("WA_")).map(ToOwned::to_owned) else { continue };
            let Ok(value) = value.into_string() else {
                self.unreadable.push(ConfigError {
                    key: name.clone(),
                    problem: "its value is not UTF-8".to_owned(),
                    origin: Origin::Env(name),
                    fix: "set it to UTF-8 text".to_owned(),
                });
                continue;
            };
            let file = (name.contains("__") && name.ends_with("_FILE")).then(|| {
                read_bounded(Path::new(&value)).map_err(|unread| match unread {
                    Unread::Absent => "there is no such file".to_owned(),
                    Unread::Because(problem) => problem,
                })
            });
            self.env.push(EnvVar { name, value, file });
        }
        // The order of the environment means nothing.
        self.env.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

enum Unread {
    Absent,
    Because(String),
}

fn read_bounded(path: &Path) -> Result<String, Unread> {
    use std::io::Read as _;
    let because = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Unread::Absent,
        _ => Unread::Because(format!("cannot be read: {error}")),
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(because)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(because)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Unread::Because("is larger than 1 MB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| Unread::Because("is not UTF-8".to_owned()))
}

/// `wa/wa.toml` where the system keeps a user's configuration.
fn user_config_file() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = if cfg!(windows) {
        absolute("APPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        // XDG Base Directory Specification: relative values are ignored.
        absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))
    };
    directory.map(|directory| directory.join("wa").join("wa.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_the_file_its_variable_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, "s3cret\n").expect("written");
        let mut sources = Sources::default();
        sources.read_env(
            [("WA_AUTH__JWT_SECRET_FILE", path.as_os_str()), ("WA_SMS__WEBHOOK_SECRET_FILE", "/nowhere/at/all".as_ref()), ("HOME", "/root".as_ref())]
                .map(|(name, value)| (name.into(), value.to_owned()))
                .into_iter(),
        );
        let read: Vec<_> = sources.env.iter().map(|var| (var.name.as_str(), var.file.clone())).collect();
        assert_eq!(
            read,
            [("WA_AUTH__JWT_SECRET_FILE", Some(Ok("s3cret\n".to_owned()))), ("WA_SMS__WEBHOOK_SECRET_FILE", Some(Err("there is no such file".to_owned())))]
        );
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sources = Sources::default();
        assert!(!sources.read_file(&directory.path().join("wa.toml"), false));
        assert!(sources.unreadable.is_empty());
        sources.read_file(&directory.path().join("wa.toml"), true);
        // A directory in place of a file is no missing file.
        sources.read_file(directory.path(), false);
        std::fs::write(directory.path().join("binary"), [0xff, 0xfe]).expect("written");
        sources.read_file(&directory.path().join("binary"), true);
        let problems: Vec<_> = sources.unreadable.iter().map(|error| error.problem.as_str()).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], "there is no such file");
        assert!(problems[1].starts_with("cannot be read"), "{problems:?}");
        assert_eq!(problems[2], "is not UTF-8");
    }
}
