//! The port `MediaInspector`: looks at files on threads of their own, a bounded number at once.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wa_core::media::{Format, MediaKind};
use wa_core::ports::{InspectError, Inspected, MediaInspector};

use super::ffmpeg::Ffmpeg;
use super::picture::thumbnail_of_png;
use super::{FfmpegConfig, Refusal, examine};

/// How files are looked at.
#[derive(Debug, Clone)]
pub struct InspectorConfig {
    /// Files looked at at the same time; each takes up to 64 MB.
    pub at_once: usize,
    /// How long a file waits for its turn before it is refused as unavailable.
    pub wait: Duration,
    /// How small pictures of films are made; none without.
    pub ffmpeg: Option<FfmpegConfig>,
}

impl Default for InspectorConfig {
    fn default() -> Self {
        Self { at_once: 2, wait: Duration::from_secs(60), ffmpeg: Some(FfmpegConfig::default()) }
    }
}

/// Tells what uploaded files are.
pub struct Inspector {
    turns: Arc<Semaphore>,
    wait: Duration,
    ffmpeg: Option<Ffmpeg>,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").field("ffmpeg", &self.ffmpeg.is_some()).finish_non_exhaustive()
    }
}

impl Inspector {
    /// Warns once if FFmpeg is wanted and not there.
    #[must_use]
    pub fn new(config: InspectorConfig) -> Self {
        Self { turns: Arc::new(Semaphore::new(config.at_once.max(1))), wait: config.wait, ffmpeg: config.ffmpeg.and_then(Ffmpeg::find) }
    }

    /// Runs in its turn on a thread of its own. It keeps its turn until it ends, also if nobody waits for it any more.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, InspectError> {
        let turn = match timeout(self.wait, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(error)) => return Err(InspectError::Unavailable(Box::new(error))),
            Err(error) => return Err(InspectError::Unavailable(Box::new(error))),
        };
        let run = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        match run.await {
            Ok(result) => Ok(result?),
            Err(error) if error.is_panic() => {
                tracing::error!("a reader of media panicked; the file is refused");
                Err(InspectError::Invalid("The file cannot be read; it may be damaged".to_owned()))
            }
            Err(error) => Err(InspectError::Unavailable(Box::new(error))),
        }
    }

    async fn picture_of_film(&self, film: &Path, format: Format, width: u32) -> Option<Vec<u8>> {
        let frame = match self.ffmpeg.as_ref()?.first_frame(film, format, width).await {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(%error, format = format.extension(), "no thumbnail of a video by FFmpeg");
                return None;
            }
        };
        match self.in_turn(move || thumbnail_of_png(&mut Cursor::new(frame), width)).await {
            Ok(thumbnail) => thumbnail,
            Err(error) => {
                tracing::warn!(%error, format = format.extension(), "no thumbnail of a video: what FFmpeg made is no picture");
                None
            }
        }
    }
}

#[async_trait]
impl MediaInspector for Inspector {
    async fn inspect(&self, file: &Path, declared: MediaKind, thumbnail_width: u32) -> Result<Inspected, InspectError> {
        let path = file.to_owned();
        let mut inspected = self.in_turn(move || examine(&mut File::open(path)?, declared, thumbnail_width)).await?;
        if declared == MediaKind::Video {
            inspected.thumbnail = self.picture_of_film(file, inspected.format, thumbnail_width).await;
        }
        Ok(inspected)
    }
}
