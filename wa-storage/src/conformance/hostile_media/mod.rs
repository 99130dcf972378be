//! Files that were made to do harm, and what must become of each: refused, or made harmless. `docs/media.md` has a row for
//! every name; every inspector of uploads must treat them alike.

mod archives;
mod bytes;
mod films;
mod foreign;
mod pictures;
mod sounds;

use wa_core::media::{Format, MediaKind};

/// What must become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// MEDIA_INVALID_TYPE.
    Refused,
    /// MEDIA_TOO_LARGE.
    TooLarge,
    /// Taken as a file of this format, which is all that it then is.
    Harmless(Format),
    /// Either is right: so much of it is whole that it can be used, or too little.
    RefusedOrHarmless(Format),
}

/// A file that was made to do harm.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// What it is; the same for files that differ only in where they were cut.
    pub name: &'static str,
    /// What it is uploaded as.
    pub declared: MediaKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What must become of it.
    pub fate: Fate,
}

/// A file of tests/media, made by another program.
macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/", $name)).as_slice()
    };
}
use sample;

/// All of them.
#[must_use]
pub fn hostile_media() -> Vec<Hostile> {
    let mut corpus = Corpus(Vec::new());
    foreign::add(&mut corpus);
    pictures::add(&mut corpus);
    films::add(&mut corpus);
    sounds::add(&mut corpus);
    archives::add(&mut corpus);
    corpus.0
}

/// Good documents of every kind, which must be taken for what they are.
#[must_use]
pub fn good_documents() -> Vec<(Format, Vec<u8>)> {
    archives::good_documents()
}

/// Pictures that are as large as may be, by their names, one after the other.
pub fn large_pictures() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    pictures::large()
}

struct Corpus(Vec<Hostile>);

impl Corpus {
    fn add(&mut self, name: &'static str, declared: MediaKind, fate: Fate, bytes: impl Into<Vec<u8>>) {
        self.0.push(Hostile { name, declared, bytes: bytes.into(), fate });
    }

    fn image(&mut self, name: &'static str, fate: Fate, bytes: impl Into<Vec<u8>>) {
        self.add(name, MediaKind::Image, fate, bytes);
    }

    fn video(&mut self, name: &'static str, fate: Fate, bytes: impl Into<Vec<u8>>) {
        self.add(name, MediaKind::Video, fate, bytes);
    }

    fn audio(&mut self, name: &'static str, fate: Fate, bytes: impl Into<Vec<u8>>) {
        self.add(name, MediaKind::Audio, fate, bytes);
    }

    fn document(&mut self, name: &'static str, fate: Fate, bytes: impl Into<Vec<u8>>) {
        self.add(name, MediaKind::Document, fate, bytes);
    }

    /// The same bytes as each kind.
    fn everywhere(&mut self, name: &'static str, bytes: &[u8]) {
        for declared in MediaKind::ALL {
            self.add(name, declared, Fate::Refused, bytes);
        }
    }

    /// A file cut at many places, from behind its magic bytes to its last byte but one.
    fn cut(&mut self, name: &'static str, declared: MediaKind, fate: Fate, whole: &[u8]) {
        const MAGIC: usize = 12;
        for part in 0..10 {
            self.add(name, declared, fate, &whole[..MAGIC + (whole.len() - MAGIC - 1) * part / 10]);
        }
        self.add(name, declared, fate, &whole[..whole.len() - 1]);
    }
}
