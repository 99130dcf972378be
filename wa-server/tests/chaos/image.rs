//! What a disk holds after a power failure: everything that was synced, and of the rest whatever chance kept, in sectors.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::support::Random;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A record of the shim.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    kind: u8,
    file: u64,
    a: u64,
    b: u64,
    bytes: &'a [u8],
    /// Where it ends in the recording.
    pub(crate) end: u64,
}

const CREATE: u8 = 1;
const OPEN: u8 = 2;
const WRITE: u8 = 3;
const TRUNCATE: u8 = 4;
const SYNC_BEGIN: u8 = 5;
const SYNC_END: u8 = 6;
const UNLINK: u8 = 7;
const RENAME: u8 = 8;
const LINK: u8 = 9;
const MKDIR: u8 = 10;

/// Cuts a recording into its records; one that a kill cut off is left out.
pub(crate) fn records(recording: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(head) = recording.get(at..at + 29) {
        let number = |from: usize| u64::from_ne_bytes(head[from..from + 8].try_into().unwrap());
        let length = u32::from_ne_bytes(head[25..].try_into().unwrap()) as usize;
        let Some(bytes) = recording.get(at + 29..at + 29 + length) else { break };
        at += 29 + length;
        records.push(Record { kind: head[0], file: number(1), a: number(9), b: number(17), bytes, end: at as u64 });
    }
    records
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A file: what is on the disk for sure, what a failed sync may have brought there or not, and what was not synced yet.
#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    doubtful: Vec<(usize, Vec<u8>)>,
    waiting: Vec<Change>,
}

impl File {
    fn make_durable(&mut self, count: usize) {
        for change in self.waiting.drain(..count) {
            apply(&mut self.synced, &change);
            self.doubtful.retain_mut(|(at, bytes)| outlives(*at, bytes, &change));
        }
    }

    /// What these were to store, chance alone may keep; no later sync brings it to the disk.
    fn make_doubtful(&mut self, count: usize) {
        for change in self.waiting.drain(..count) {
            match &change {
                Change::Write(at, bytes) => {
                    self.doubtful.retain_mut(|(at, bytes)| outlives(*at, bytes, &change));
                    self.doubtful.extend(sectors(*at, bytes).map(|(at, bytes)| (at, bytes.to_vec())));
                }
                // The size of a file is not its content; taken as kept.
                Change::Truncate(_) => apply(&mut self.synced, &change),
            }
        }
    }

    fn image(&self, kept: Kept, random: &mut Random) -> Vec<u8> {
        let mut content = self.synced.clone();
        for (at, bytes) in &self.doubtful {
            if kept.sector(random) {
                put(&mut content, *at, bytes);
            }
        }
        for change in &self.waiting {
            match change {
                Change::Truncate(_) => {
                    if kept.whole(random) {
                        apply(&mut content, change);
                    }
                }
                Change::Write(at, bytes) => match kept.write(random) {
                    Fate::Whole => put(&mut content, *at, bytes),
                    Fate::Lost => {}
                    Fate::Torn => {
                        for (at, bytes) in sectors(*at, bytes) {
                            if random.once_in(2) {
                                put(&mut content, at, bytes);
                            }
                        }
                    }
                },
            }
        }
        content
    }
}

/// Whether anything of a doubtful sector is left under a later change; what the change says of it is taken over.
fn outlives(at: usize, bytes: &mut [u8], change: &Change) -> bool {
    match change {
        Change::Truncate(size) => at < *size,
        Change::Write(from, new) => {
            let (start, end) = (at.max(*from), (at + bytes.len()).min(from + new.len()));
            if start < end {
                bytes[start - at..end - at].copy_from_slice(&new[start - from..end - from]);
            }
            !(*from <= at && at + bytes.len() <= from + new.len())
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, bytes) => put(content, *at, bytes),
        Change::Truncate(size) => content.resize(*size, 0),
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = at + from;
        let length = (SECTOR - start % SECTOR).min(bytes.len() - from);
        let piece = &bytes[from..from + length];
        from += length;
        (length > 0).then_some((start, piece))
    })
}

/// How much of what was not synced an image keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Of 16 changes, so many.
    of_16: u64,
    /// Of 16 sectors that a failed sync was to store, so many.
    doubtful_of_16: u64,
}

enum Fate {
    Whole,
    Torn,
    Lost,
}

impl Kept {
    pub(crate) const ALL: Self = Self { of_16: 16, doubtful_of_16: 16 };

    pub(crate) fn some(random: &mut Random) -> Self {
        let of_16 = [0, 1, 8, 8, 14, 15, 16][usize::try_from(random.below(7)).unwrap()];
        Self { of_16, doubtful_of_16: random.below(3) * 6 }
    }

    fn whole(self, random: &mut Random) -> bool {
        random.below(16) < self.of_16
    }

    fn sector(self, random: &mut Random) -> bool {
        random.below(16) < self.doubtful_of_16
    }

    fn write(self, random: &mut Random) -> Fate {
        match (self.of_16, random.below(16)) {
            (16, _) => Fate::Whole,
            (0, _) => Fate::Lost,
            (_, 0 | 1) => Fate::Torn,
            (of_16, chance) if chance < of_16 => Fate::Whole,
            _ => Fate::Lost,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder,
}

#[derive(Debug, Clone)]
enum Naming {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
}

impl Naming {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Put(path, _) | Self::Remove(path) | Self::Rename(_, path) | Self::Link(_, path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Put(path, node) => drop(names.insert(path.clone(), node.clone())),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            Self::Link(from, to) => {
                if let Some(node) = names.get(from).cloned() {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// A sync that has begun, and what it covers.
struct Sync {
    changes: usize,
    namings: usize,
}

/// A disk, as a recording leads to it.
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    folders: HashMap<u64, PathBuf>,
    names: BTreeMap<PathBuf, Node>,
    waiting: Vec<Naming>,
    syncs: HashMap<(u64, u64), Sync>,
}

impl Disk {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: Vec::new(),
            by_inode: HashMap::new(),
            folders: HashMap::new(),
            names: BTreeMap::new(),
            waiting: Vec::new(),
            syncs: HashMap::new(),
        }
    }

    pub(crate) fn take(&mut self, record: &Record<'_>) {
        let path = || PathBuf::from(std::str::from_utf8(record.bytes).unwrap());
        let two = || {
            let (from, to) = std::str::from_utf8(record.bytes).unwrap().split_once('\0').unwrap();
            (PathBuf::from(from), PathBuf::from(to))
        };
        match record.kind {
            CREATE => {
                self.files.push(File::default());
                self.by_inode.insert(record.file, self.files.len() - 1);
                self.folders.remove(&record.file);
                self.waiting.push(Naming::Put(path(), Node::File(self.files.len() - 1)));
            }
            OPEN => {
                let is_folder = path() == self.root || self.present().get(&path()) == Some(&Node::Folder);
                if is_folder {
                    self.folders.insert(record.file, path());
                    self.by_inode.remove(&record.file);
                }
            }
            WRITE => {
                let file = self.file(record.file);
                file.waiting.push(Change::Write(usize::try_from(record.a).unwrap(), record.bytes.to_vec()));
            }
            TRUNCATE => self.file(record.file).waiting.push(Change::Truncate(usize::try_from(record.a).unwrap())),
            SYNC_BEGIN => {
                let changes = self.by_inode.get(&record.file).map_or(0, |&file| self.files[file].waiting.len());
                self.syncs.insert((record.file, record.a), Sync { changes, namings: self.waiting.len() });
            }
            SYNC_END => self.end_sync(record),
            UNLINK => self.waiting.push(Naming::Remove(path())),
            RENAME => self.waiting.push(Naming::Rename(two().0, two().1)),
            LINK => self.waiting.push(Naming::Link(two().0, two().1)),
            MKDIR => self.waiting.push(Naming::Put(path(), Node::Folder)),
            other => panic!("no record is of kind {other}"),
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        let file = *self.by_inode.get(&inode).expect("a file whose making was recorded");
        &mut self.files[file]
    }

    fn end_sync(&mut self, record: &Record<'_>) {
        let Some(sync) = self.syncs.remove(&(record.file, record.a)) else { return };
        let failed = record.b != 0;
        if let Some(folder) = self.folders.get(&record.file).cloned() {
            if !failed {
                let mut number = 0;
                let names = &mut self.names;
                self.waiting.retain(|naming| {
                    number += 1;
                    let covered = number <= sync.namings && naming.folder() == Some(&folder);
                    if covered {
                        naming.apply(names);
                    }
                    !covered
                });
                let applied = number - self.waiting.len();
                self.syncs.values_mut().for_each(|other| other.namings = other.namings.saturating_sub(applied));
            }
        } else if self.by_inode.contains_key(&record.file) {
            let file = self.file(record.file);
            // Another sync that ended meanwhile may have taken some of it.
            let count = sync.changes.min(file.waiting.len());
            if failed {
                file.make_doubtful(count);
            } else {
                file.make_durable(count);
            }
            for ((inode, _), other) in &mut self.syncs {
                if *inode == record.file {
                    other.changes = other.changes.saturating_sub(count);
                }
            }
        }
    }

    /// Names as running programs see them.
    fn present(&self) -> BTreeMap<PathBuf, Node> {
        let mut names = self.names.clone();
        self.waiting.iter().for_each(|naming| naming.apply(&mut names));
        names
    }

    /// Writes what the disk may hold if the power fails now into a folder.
    pub(crate) fn write_image(&self, folder: &Path, kept: Kept, random: &mut Random) {
        let mut names = self.names.clone();
        // File systems keep the order of names, if not of contents.
        let namings = if kept.of_16 == 16 { self.waiting.len() as u64 } else { random.below(self.waiting.len() as u64 + 1) };
        self.waiting.iter().take(usize::try_from(namings).unwrap()).for_each(|naming| naming.apply(&mut names));
        std::fs::create_dir_all(folder).unwrap();
        for (path, node) in names {
            let place = folder.join(path.strip_prefix(&self.root).unwrap());
            match node {
                Node::Folder => std::fs::create_dir(place).unwrap(),
                // The folder's own name may have been lost.
                Node::File(_) if !place.parent().unwrap().is_dir() => {}
                Node::File(file) => std::fs::write(place, self.files[file].image(kept, random)).unwrap(),
            }
        }
    }
}

#[test]
fn a_later_sync_does_not_bring_back_what_a_failed_one_lost() {
    let mut file = File::default();
    file.waiting.push(Change::Write(0, vec![1; 1024]));
    file.make_doubtful(1);
    file.waiting.push(Change::Write(256, vec![2; 512]));
    file.make_durable(1);
    let content = file.image(Kept { of_16: 0, doubtful_of_16: 0 }, &mut Random::new(1));
    assert_eq!((&content[..256], &content[256..768]), (&[0; 256][..], &[2; 512][..]));
    assert!(content.len() <= 1024 && file.doubtful.iter().all(|(at, bytes)| if *at == 0 { bytes[256..] == [2; 256] } else { bytes[..256] == [2; 256] }));
}
