//! Uploads under way, as files of a folder that is emptied when the store opens.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};
use wa_core::ports::{StagedFile, Staging, Stored};

use super::{blocking, failed, make_empty};

/// Bytes of an upload that are held before they are written; all an upload needs of memory, twice.
const BUFFER: usize = 128 << 10;

/// A folder for uploads under way.
#[derive(Debug)]
pub(crate) struct LocalStaging {
    folder: PathBuf,
}

impl LocalStaging {
    /// Takes this folder, and deletes what an earlier process left there.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        make_empty(&folder, PREFIX)?;
        Ok(Self { folder })
    }
}

const PREFIX: &str = "upload-";

#[async_trait]
impl Staging for LocalStaging {
    async fn stage(&self) -> Stored<Box<dyn StagedFile>> {
        let folder = self.folder.clone();
        let (file, path) = blocking(move || Ok(tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)?.into_parts())).await?;
        let mut file = File::from_std(file);
        file.set_max_buf_size(BUFFER);
        Ok(Box::new(LocalStagedFile { file: BufWriter::with_capacity(BUFFER, file), path }))
    }
}

/// A file that is removed when it is dropped, unless it is somewhere else by then.
struct LocalStagedFile {
    file: BufWriter<File>,
    path: TempPath,
}

#[async_trait]
impl StagedFile for LocalStagedFile {
    async fn write(&mut self, bytes: &[u8]) -> Stored<()> {
        self.file.write_all(bytes).await.map_err(failed)
    }

    async fn finish(&mut self) -> Stored<()> {
        self.file.flush().await.map_err(failed)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
