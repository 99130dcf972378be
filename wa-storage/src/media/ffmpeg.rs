//! The first frame of a film, by FFmpeg in a process of its own: with limits on its memory and time, on the local file alone,
//! and by the one reader that fits the format that was found. Whatever goes wrong there, the upload goes on without a picture.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wa_core::media::Format;

/// What a small picture in PNG may take.
const MAX_OUTPUT: u64 = 4 << 20;
/// Sets limits for itself, then becomes the program, so that it never runs without them.
const LIMITED: &str = "ulimit -v \"$1\" && ulimit -t \"$2\" && shift 2 && exec \"$@\"";
/// Where programs and libraries are found; nothing else of the environment, which may hold secrets, is passed on.
const ENVIRONMENT: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR", "HOME"];

/// How FFmpeg is run.
#[derive(Debug, Clone)]
pub struct FfmpegConfig {
    /// The program, with or without folders; without, it is looked for as the shell does.
    pub program: PathBuf,
    /// How long one run may take, and how long one waits for its turn.
    pub timeout: Duration,
    /// Bytes of address space that one run may take.
    pub memory: u64,
    /// Runs at the same time.
    pub at_once: usize,
}

impl Default for FfmpegConfig {
    fn default() -> Self {
        Self { program: "ffmpeg".into(), timeout: Duration::from_secs(10), memory: 1 << 30, at_once: 1 }
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoFrame {
    #[error("it had no turn in time")]
    Busy,
    #[error("it took longer than {0:?} and was ended")]
    Slow(Duration),
    #[error("it failed: {0}")]
    Failed(std::process::ExitStatus),
    #[error("what it made is too large or nothing")]
    Output,
    #[error("it could not be run: {0}")]
    NotRun(#[from] std::io::Error),
}

/// FFmpeg, as it was found.
pub(super) struct Ffmpeg {
    config: FfmpegConfig,
    turns: Semaphore,
}

impl Ffmpeg {
    /// Looks for the program; none, with one warning, where there is none.
    pub(super) fn find(mut config: FfmpegConfig) -> Option<Self> {
        let Some(program) = locate(&config.program) else {
            tracing::warn!(program = %config.program.display(), "FFmpeg was not found: videos get no thumbnails; install it to have them, and start again");
            return None;
        };
        config.program = program;
        Some(Self { turns: Semaphore::new(config.at_once.max(1)), config })
    }

    /// The first frame of a film in PNG, at most that many pixels wide.
    pub(super) async fn first_frame(&self, film: &Path, format: Format, width: u32) -> Result<Vec<u8>, NoFrame> {
        let _turn = timeout(self.config.timeout, self.turns.acquire()).await.map_err(|_| NoFrame::Busy)?.map_err(|_| NoFrame::Busy)?;
        let mut child = self.command(film, format, width).spawn()?;
        match timeout(self.config.timeout, collect(&mut child)).await {
            Ok(frame) => frame,
            Err(_) => {
                child.kill().await?;
                Err(NoFrame::Slow(self.config.timeout))
            }
        }
    }

    fn command(&self, film: &Path, format: Format, width: u32) -> Command {
        // Not guessed: other readers open what a file refers to.
        let reader = if matches!(format, Format::Mkv | Format::Webm) { "matroska" } else { "mov" };
        let mut input = OsString::from("file:");
        input.push(film);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITED, "sh"]).arg((self.config.memory / 1024).to_string()).arg(self.config.timeout.as_secs().max(1).to_string());
        command.arg(&self.config.program).args(["-nostdin", "-hide_banner", "-loglevel", "quiet", "-threads", "1"]);
        command.args(["-protocol_whitelist", "file", "-f", reader, "-i"]).arg(input);
        command.args(["-map", "0:v:0", "-frames:v", "1", "-map_metadata", "-1", "-vf"]);
        command.arg(format!("scale=w='min({width},iw)':h=-1"));
        command.args(["-threads", "1", "-c:v", "png", "-f", "image2pipe", "pipe:1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
        command
    }
}

async fn collect(child: &mut Child) -> Result<Vec<u8>, NoFrame> {
    let mut frame = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MAX_OUTPUT + 1).read_to_end(&mut frame).await?;
    }
    if frame.len() as u64 > MAX_OUTPUT {
        child.kill().await?;
        return Err(NoFrame::Output);
    }
    let status = child.wait().await?;
    if !status.success() {
        return Err(NoFrame::Failed(status));
    }
    if frame.is_empty() { Err(NoFrame::Output) } else { Ok(frame) }
}

/// The program's place: itself if it has folders, else the first folder of `PATH` that holds it.
fn locate(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
