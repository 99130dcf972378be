//! Reading with a limit on how much: what a parser may read bounds what it can keep. And reading that goes on nearby without
//! a system call: a file may have as many parts as it has bytes.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

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

/// A buffered reader that keeps what it has read when it is told to go on at a place nearby.
pub(super) struct Near<R> {
    inner: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Near<R> {
    /// Reads a file from its start, which is where it must stand.
    pub(super) fn new(file: R) -> Self {
        Self { inner: BufReader::with_capacity(64 * 1024, file), at: 0 }
    }
}

impl<R: Read> Read for Near<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: Read> BufRead for Near<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.at += amount as u64;
    }
}

impl<R: Read + Seek> Seek for Near<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            SeekFrom::End(_) => None,
        };
        match target.and_then(|target| Some((target, target.checked_signed_diff(self.at)?))) {
            Some((target, distance)) => {
                self.inner.seek_relative(distance)?;
                self.at = target;
            }
            None => self.at = self.inner.seek(to)?,
        }
        Ok(self.at)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.at)
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Counts what would be system calls.
    struct Counted(Cursor<Vec<u8>>, usize);

    impl Read for Counted {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            self.0.read(into)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.1 += 1;
            self.0.seek(to)
        }
    }

    #[test]
    fn going_on_nearby_costs_no_system_call() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| u8::try_from(number % 251).expect("a byte")).collect();
        let mut file = Counted(Cursor::new(bytes.clone()), 0);
        let mut near = Near::new(&mut file);
        let mut byte = [0];
        for position in (0..60_000).step_by(3) {
            near.seek(SeekFrom::Start(position)).expect("is there");
            near.read_exact(&mut byte).expect("is there");
            assert_eq!((byte[0], near.stream_position().expect("is known")), (u8::try_from(position % 251).expect("a byte"), position + 1));
        }
        near.seek_relative(-50_000).expect("is there");
        assert_eq!(near.fill_buf().expect("is there")[0], bytes[9_998]);
        assert_eq!(near.inner.get_ref().1, 1, "one piece of the file was read");
        assert_eq!(near.seek(SeekFrom::End(-1)).expect("is there"), 199_999);
        near.read_exact(&mut byte).expect("is there");
        assert_eq!(byte[0], bytes[199_999]);
        near.seek(SeekFrom::Start(7)).expect("is there");
        near.read_exact(&mut byte).expect("is there");
        assert_eq!(byte[0], 7);
        assert!(near.seek(SeekFrom::Current(-100)).is_err(), "before the start");
    }
}
