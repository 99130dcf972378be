//! What an uploaded file really is: its format by its bytes, its size as a picture, how long it plays, a small picture of it.
//! Everything is read from a staged file in bounded memory; nothing is unpacked, and nothing of a file is run.

mod audio;
mod bmff;
mod bounded;
mod detect;
mod ebml;
mod ffmpeg;
mod inspector;
mod office;
mod ogg;
mod picture;
mod refusal;
#[cfg(test)]
mod tests;
mod text;
mod wave;

pub use detect::examine;
pub use ffmpeg::FfmpegConfig;
pub use inspector::{Inspector, InspectorConfig};
pub use refusal::Refusal;

/// How many pixels a picture may have (contract, section 10).
pub const MAX_PIXELS: u64 = 100_000_000;
