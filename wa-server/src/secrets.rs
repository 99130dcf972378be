//! Secrets that nobody configured: made once and kept in `secrets.toml` in the data directory, for this user's eyes only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wa_core::ports::Env;
use wa_transport::push::VapidKey;

use crate::config::{SHORTEST_JWT_SECRET, Secret};

const FILE: &str = "secrets.toml";

/// Larger files are not ours.
const LARGEST: u64 = 64 << 10;

/// The secrets cannot be had. Their values are not in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// The file can be neither read nor made.
    #[error("cannot {action} {}: {source}; make it readable and its folder writable for this user, or set auth.jwt_secret", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("{} can be read by other users (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold what it should.
    #[error("{} is damaged: {reason}; restore it from a backup, or remove it to have new secrets made, which logs everybody out", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

#[derive(Deserialize)]
struct Contents {
    jwt_secret: Option<String>,
    vapid_private_key: Option<String>,
}

/// What is in the file, checked.
struct Secrets {
    jwt_secret: Option<Secret>,
    vapid_private_key: Option<VapidKey>,
    text: String,
}

/// The secret that signs access tokens, made now if there is none yet. Of servers that start at once, all get the same.
pub(crate) fn jwt_secret(data_dir: &Path, env: &dyn Env) -> Result<Secret, SecretsError> {
    one(
        data_dir,
        env,
        |secrets| secrets.jwt_secret,
        || {
            let mut random = [0; 32];
            env.fill(&mut random);
            format!("# Made once by the chat server. Whoever can read this file can log in as anybody.\njwt_secret = \"{}\"\n", hex(&random))
        },
    )
}

/// The private key of Web Push, made now if there is none yet. Whoever subscribed to an older one gets no more pushes.
pub(crate) fn vapid_key(data_dir: &Path, env: &dyn Env) -> Result<VapidKey, SecretsError> {
    one(
        data_dir,
        env,
        |secrets| secrets.vapid_private_key,
        || {
            let key = std::iter::repeat_with(|| {
                let mut random = [0; 32];
                env.fill(&mut random);
                VapidKey::of(&random).ok()
            });
            // All but about one number of 2^32 are a key.
            let key = key.flatten().next().map(|key| key.reveal()).unwrap_or_default();
            format!("# Browsers subscribe to pushes of this key.\nvapid_private_key = \"{key}\"\n")
        },
    )
}

/// One secret of the file; if it is missing, `line` makes what is to be added.
fn one<T>(data_dir: &Path, env: &dyn Env, pick: impl Fn(Secrets) -> Option<T>, line: impl Fn() -> String) -> Result<T, SecretsError> {
    let path = data_dir.join(FILE);
    let io = |action| {
        let path = path.clone();
        move |source| SecretsError::Io { action, path, source }
    };
    // Whoever makes the file at the same time may make it for another secret.
    for _ in 0..3 {
        match read(&path)? {
            None => create(data_dir, &path, &line(), env).map_err(io("make"))?,
            Some(secrets) => {
                let text = format!("{}\n{}", secrets.text.trim_end(), line());
                if let Some(secret) = pick(secrets) {
                    return Ok(secret);
                }
                replace(data_dir, &path, &text, env).map_err(io("add to"))?;
            }
        }
    }
    let found = read(&path)?.and_then(pick);
    found.ok_or(SecretsError::Damaged { path, reason: "it was changed while the server started" })
}

fn read(path: &Path) -> Result<Option<Secrets>, SecretsError> {
    let io = |source| SecretsError::Io { action: "read", path: path.to_owned(), source };
    let damaged = |reason| SecretsError::Damaged { path: path.to_owned(), reason };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    check_permissions(path, &file)?;
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).map_err(io)?;
    let text = String::from_utf8(text).map_err(|_| damaged("it is not text"))?;
    // The parser's own error would quote the line.
    let contents: Contents = toml::from_str(&text).map_err(|_| damaged("it holds no jwt_secret = \"…\""))?;
    if contents.jwt_secret.is_none() && contents.vapid_private_key.is_none() {
        return Err(damaged("it holds no secret"));
    }
    if contents.jwt_secret.as_ref().is_some_and(|secret| secret.len() < SHORTEST_JWT_SECRET) {
        return Err(damaged("its jwt_secret is shorter than 32 bytes"));
    }
    let vapid_private_key = contents.vapid_private_key.as_deref().map(VapidKey::parse).transpose().map_err(|_| damaged("its vapid_private_key is none"))?;
    Ok(Some(Secrets { jwt_secret: contents.jwt_secret.map(Secret::new), vapid_private_key, text }))
}

#[cfg(unix)]
fn check_permissions(path: &Path, file: &File) -> Result<(), SecretsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata().map_err(|source| SecretsError::Io { action: "read", path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 { Err(SecretsError::Exposed { path: path.to_owned(), mode }) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_permissions(_path: &Path, _file: &File) -> Result<(), SecretsError> {
    Ok(())
}

/// Writes a file beside it and links it into place: whoever looks sees the whole file or none, and the first to come wins.
fn create(data_dir: &Path, path: &Path, text: &str, env: &dyn Env) -> io::Result<()> {
    let draft = write_draft(data_dir, text, env)?;
    let placed = match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        placed => placed,
    };
    std::fs::remove_file(&draft)?;
    placed?;
    // The name must survive a crash as well, or the next start would make another secret.
    sync_folder(data_dir)
}

/// Writes a file beside it that takes its place: whoever looks sees the one or the other. One server at a time does so, the
/// one that has the database.
fn replace(data_dir: &Path, path: &Path, text: &str, env: &dyn Env) -> io::Result<()> {
    let draft = write_draft(data_dir, text, env)?;
    std::fs::rename(&draft, path)?;
    sync_folder(data_dir)
}

/// A file of its own, for this user's eyes only, durable.
fn write_draft(data_dir: &Path, text: &str, env: &dyn Env) -> io::Result<PathBuf> {
    let mut tag = [0; 8];
    env.fill(&mut tag);
    let draft = data_dir.join(format!(".{FILE}.{}", hex(&tag)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // It is of no use to anybody; what went wrong is told.
        let _ = std::fs::remove_file(&draft);
    }
    written.map(|()| draft)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    let _ = folder;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEnv;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn put(directory: &tempfile::TempDir, text: &[u8], mode: u32) {
        let path = directory.path().join(FILE);
        std::fs::write(&path, text).expect("written");
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_secret_is_made_once_and_kept() {
        let directory = directory();
        let first = jwt_secret(directory.path(), &SystemEnv).expect("made");
        assert_eq!(jwt_secret(directory.path(), &SystemEnv).expect("read"), first);
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_of_web_push_is_made_once_also_beside_a_secret_that_was_there() {
        let directory = directory();
        put(&directory, b"jwt_secret = \"0123456789abcdef0123456789abcdef\" # mine", 0o600);
        let first = vapid_key(directory.path(), &SystemEnv).expect("made");
        assert_eq!(vapid_key(directory.path(), &SystemEnv).expect("read").reveal(), first.reveal());
        assert_eq!(jwt_secret(directory.path(), &SystemEnv).expect("kept").reveal(), "0123456789abcdef0123456789abcdef");
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "no draft is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(directory.path().join(FILE)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = directory();
        jwt_secret(directory.path(), &SystemEnv).expect("made");
        let mode = std::fs::metadata(directory.path().join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn servers_that_start_at_once_get_the_same_secret() {
        let directory = directory();
        let secrets: Vec<Secret> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| jwt_secret(directory.path(), &SystemEnv).expect("had"))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = directory();
        put(&directory, b"jwt_secret = \"0123456789abcdef0123456789abcdef\"", 0o644);
        let error = jwt_secret(directory.path(), &SystemEnv).expect_err("refused").to_string();
        assert!(error.contains("mode 644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_refused_without_showing_it_and_left_alone() {
        for text in [
            b"".as_slice(),
            b"jwt_secret = \"hunter2\"",
            b"jwt_secret = hunter2",
            b"[jwt_secret]",
            b"jwt_secret = \"0123456789abcdef0123456789abcdef\"\nvapid_private_key = \"hunter2\"",
            b"\xff\xfehunter2",
        ] {
            let directory = directory();
            put(&directory, text, 0o600);
            let error = jwt_secret(directory.path(), &SystemEnv).expect_err("refused").to_string();
            assert!(error.contains("is damaged") && !error.contains("hunter2"), "{error}");
            assert_eq!(std::fs::read(directory.path().join(FILE)).expect("there"), text);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = jwt_secret(Path::new("/nowhere/at/all"), &SystemEnv).expect_err("refused").to_string();
        assert!(error.contains("cannot make /nowhere/at/all/secrets.toml"), "{error}");
    }
}
