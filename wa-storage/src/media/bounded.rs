//! Reading with a limit on how much: what a parser may read bounds what it can keep.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// A reader of so many bytes and no more, wherever they lie.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read + Seek> Bounded<R> {
    /// At most `limit` bytes are read.
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }

    /// The same, buffered in pieces small enough that jumping about costs little of the limit.
    pub(super) fn buffered(inner: R, limit: u64) -> BufReader<Self> {
        BufReader::with_capacity(512, Self::new(inner, limit))
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its directory is larger than what is read of it"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.inner.read(&mut into[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The length of a file; its position is its start afterwards.
pub(super) fn length(file: &mut impl Seek) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(length)
}

/// Up to `most` bytes from `position` on; fewer at the end of the file.
pub(super) fn read_at(file: &mut (impl Read + Seek), position: u64, most: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
