//! Stored logins: one file a profile, readable by its owner only, replaced as a whole, and locked while tokens are exchanged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use wa_core::id::{DeviceId, UserId};
use wa_transport::client::{BoxError, TokenStore, Tokens};

use crate::failure::Failure;

/// What is stored of a login.
#[derive(Serialize, Deserialize)]
pub(crate) struct Profile {
    /// The server's address.
    pub(crate) server: String,
    pub(crate) user_id: UserId,
    pub(crate) device_id: DeviceId,
    pub(crate) phone: String,
    pub(crate) tokens: Tokens,
}

/// The folder of all profiles.
#[derive(Debug, Clone)]
pub(crate) struct Profiles {
    folder: PathBuf,
}

impl Profiles {
    /// In `WA_CONFIG_DIR`, else in `wa` under the user's configuration folder.
    pub(crate) fn open() -> Result<Self, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("WA_CONFIG_DIR")
            .or_else(|| set("XDG_CONFIG_HOME").filter(|path| path.is_absolute()).map(|path| path.join("wa")))
            .or_else(|| set("APPDATA").map(|path| path.join("wa")))
            .or_else(|| set("HOME").map(|path| path.join(".config").join("wa")))
            .ok_or_else(|| Failure::general("there is no folder for logins: set WA_CONFIG_DIR or HOME"))?;
        Ok(Self { folder: folder.join("profiles") })
    }

    /// The file of a profile, which may not exist yet.
    pub(crate) fn file(&self, name: &str) -> Result<ProfileFile, Failure> {
        let is_name =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) && !name.starts_with('.');
        if !is_name {
            return Err(Failure::usage(format!("{name:?} is no profile name: use letters, digits, '-', '_' and '.'")));
        }
        Ok(ProfileFile { path: self.folder.join(format!("{name}.json")) })
    }
}

/// The file of a profile.
#[derive(Debug, Clone)]
pub(crate) struct ProfileFile {
    path: PathBuf,
}

impl ProfileFile {
    /// What it holds; `None` if there is no file.
    pub(crate) fn read(&self) -> Result<Option<Profile>, Failure> {
        self.load().map_err(|e| Failure::general(format!("the profile {} cannot be read: {e}", self.path.display())))
    }

    /// Stores a login.
    pub(crate) fn write(&self, profile: &Profile) -> Result<(), Failure> {
        self.store(profile).map_err(|e| Failure::general(format!("the profile {} cannot be written: {e}", self.path.display())))
    }

    /// Excludes other processes from this profile until the guard is dropped.
    pub(crate) fn lock(&self) -> io::Result<File> {
        self.make_folder()?;
        let file = private(OpenOptions::new().create(true).truncate(false).write(true)).open(self.path.with_extension("lock"))?;
        // The lock goes with the file when it is closed, also if the process is killed.
        file.lock()?;
        Ok(file)
    }

    fn load(&self) -> io::Result<Option<Profile>> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The new file takes the place of the old one whole: a crash leaves one or the other.
    fn store(&self, profile: &Profile) -> io::Result<()> {
        self.make_folder()?;
        let text = serde_json::to_vec_pretty(profile).map_err(io::Error::other)?;
        let fresh = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = (|| {
            let mut file = private(OpenOptions::new().create(true).truncate(true).write(true)).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        })();
        if written.is_err() {
            // What went wrong is reported; a left-over file is no further harm.
            let _ = fs::remove_file(&fresh);
        }
        written
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn make_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }
}

/// For the owner's eyes only.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[async_trait]
impl TokenStore for ProfileFile {
    async fn load(&self) -> Result<Option<Tokens>, BoxError> {
        let file = self.clone();
        Ok(spawn_blocking(move || file.load()).await??.map(|profile| profile.tokens))
    }

    async fn save(&self, tokens: &Tokens) -> Result<(), BoxError> {
        let (file, tokens) = (self.clone(), tokens.clone());
        spawn_blocking(move || {
            let profile = file.load()?.ok_or_else(|| io::Error::other("the profile was removed meanwhile"))?;
            file.store(&Profile { tokens, ..profile })
        })
        .await??;
        Ok(())
    }

    async fn clear(&self) -> Result<(), BoxError> {
        let file = self.clone();
        Ok(spawn_blocking(move || file.remove()).await??)
    }

    async fn lock(&self) -> Result<Box<dyn Send + Sync>, BoxError> {
        let file = self.clone();
        Ok(Box::new(spawn_blocking(move || file.lock()).await??))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    fn profile(token: &str) -> Profile {
        let id = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";
        Profile {
            server: "http://127.0.0.1:1".to_owned(),
            user_id: id.parse().unwrap(),
            device_id: id.parse().unwrap(),
            phone: String::new(),
            tokens: Tokens { access_token: token.to_owned(), refresh_token: None, refresh_key: String::new() },
        }
    }

    #[test]
    fn a_profile_name_cannot_leave_the_folder() {
        let profiles = Profiles { folder: PathBuf::from("x") };
        for bad in ["", ".", "..", "a/b", "../a", "a\\b", ".hidden", &"a".repeat(65)] {
            assert!(profiles.file(bad).is_err(), "{bad:?}");
        }
        for good in ["alice", "work-2", "a.b_c"] {
            assert!(profiles.file(good).is_ok(), "{good}");
        }
    }

    #[tokio::test]
    async fn stored_tokens_are_read_back_by_others_and_readable_by_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = Profiles { folder: folder.path().join("profiles") }.file("alice").unwrap();
        assert!(TokenStore::load(&file).await.unwrap().is_none());
        file.write(&profile("one")).unwrap();
        file.save(&Tokens::access_only("two")).await.unwrap();
        assert_eq!(file.read().unwrap().unwrap().tokens.access_token, "two");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(file.path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        }
        file.clear().await.unwrap();
        file.clear().await.unwrap();
        assert!(file.read().unwrap().is_none());
        assert!(file.save(&Tokens::access_only("three")).await.is_err(), "a profile that was logged out is not brought back");
    }

    #[test]
    fn a_lock_keeps_a_second_holder_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let file = Profiles { folder: folder.path().to_owned() }.file("alice").unwrap();
        let held = file.lock().unwrap();
        let second = File::open(file.path.with_extension("lock")).unwrap();
        assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(held);
        assert!(second.try_lock().is_ok());
    }
}
