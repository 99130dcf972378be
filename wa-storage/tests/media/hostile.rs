//! The corpus of hostile files against the inspector of uploads, and how much memory it takes at the most.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

use wa_core::media::{Format, MediaKind};
use wa_core::ports::{Inspected, THUMBNAIL_WIDTH};
use wa_storage::conformance::hostile_media::{Fate, good_documents, hostile_media, large_pictures};
use wa_storage::media::{Refusal, examine};

/// What must not be left of a picture in its thumbnail.
const TRACES: [&[u8]; 6] = [b"Exif", b"WA-CAMERA", b"ICC_PROFILE", b"<script", b"<?php", b"PK\x03\x04"];

fn look(bytes: &[u8], declared: MediaKind) -> Result<Inspected, Refusal> {
    examine(&mut Cursor::new(bytes), declared, THUMBNAIL_WIDTH)
}

/// What is wrong with what became of a file, if anything.
fn complaint(fate: Fate, declared: MediaKind, became: &Result<Inspected, Refusal>) -> Option<String> {
    let right = match (fate, became) {
        (Fate::Refused | Fate::RefusedOrHarmless(_), Err(Refusal::Invalid(_))) | (Fate::TooLarge, Err(Refusal::TooLarge(_))) => true,
        (Fate::Harmless(format) | Fate::RefusedOrHarmless(format), Ok(inspected)) => inspected.format == format && format.kind() == declared,
        _ => false,
    };
    if !right {
        return Some(match became {
            Ok(inspected) => format!("was taken for {:?}, {:?} × {:?}", inspected.format, inspected.width, inspected.height),
            Err(refusal) => format!("was refused: {refusal:?}"),
        });
    }
    let thumbnail = became.as_ref().ok()?.thumbnail.as_deref()?;
    let trace = TRACES.iter().find(|trace| thumbnail.windows(trace.len()).any(|window| window == **trace));
    trace.map(|trace| format!("left {} in its thumbnail", String::from_utf8_lossy(trace)))
}

#[test]
fn every_hostile_file_is_refused_or_made_harmless() {
    let corpus = hostile_media();
    let mut complaints = Vec::new();
    for file in &corpus {
        let became = look(&file.bytes, file.declared);
        complaints.extend(
            complaint(file.fate, file.declared, &became).map(|what| format!("{} ({} bytes, as {}): {what}", file.name, file.bytes.len(), file.declared)),
        );
    }
    assert!(complaints.is_empty(), "of {} files {} were not treated as they should be:\n{}", corpus.len(), complaints.len(), complaints.join("\n"));
}

#[test]
fn every_hostile_file_has_a_row_in_the_documentation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/media.md");
    let Ok(page) = fs::read_to_string(page) else {
        // A packaged crate comes without its neighbours.
        return;
    };
    let corpus = hostile_media();
    let names: BTreeSet<&str> = corpus.iter().map(|file| file.name).collect();
    assert!(names.len() >= 100, "only {} files", names.len());
    let missing: Vec<String> = names
        .into_iter()
        .filter_map(|name| {
            let of_name = || corpus.iter().filter(|file| file.name == name);
            let fates: BTreeSet<&str> = of_name()
                .map(|file| match file.fate {
                    Fate::Refused => "refused",
                    Fate::TooLarge => "too large",
                    Fate::Harmless(_) => "harmless",
                    Fate::RefusedOrHarmless(_) => "either",
                })
                .collect();
            let kinds: BTreeSet<&str> = of_name().map(|file| file.declared.as_str()).collect();
            let row = format!(
                "| {name} | {} | {} | {} |",
                kinds.into_iter().collect::<Vec<_>>().join(", "),
                of_name().count(),
                fates.into_iter().collect::<Vec<_>>().join(", ")
            );
            (!page.contains(&row)).then_some(row)
        })
        .collect();
    assert!(missing.is_empty(), "docs/media.md lacks these rows:\n{}", missing.join("\n"));
}

#[test]
fn good_documents_are_told_apart() {
    let formats: BTreeSet<Format> = good_documents().iter().map(|(format, _)| *format).collect();
    assert_eq!(formats.len(), Format::ALL.iter().filter(|format| format.kind() == MediaKind::Document).count(), "there is one of each");
    for (format, bytes) in good_documents() {
        let inspected = look(&bytes, MediaKind::Document).unwrap_or_else(|refusal| panic!("{format:?} is accepted: {refusal}"));
        assert_eq!(inspected.format, format);
    }
}

#[test]
fn a_picture_that_takes_too_long_is_taken_without_a_thumbnail() {
    let corpus = hostile_media();
    let file = corpus.iter().find(|file| file.name == "progressive JPEG of 12 megapixels with 80 scans of nothing").expect("it is there");
    let inspected = look(&file.bytes, MediaKind::Image).expect("its structure is whole");
    assert_eq!((inspected.width, inspected.height, inspected.thumbnail), (Some(4000), Some(3000), None));
}

/// A file; notes whether a thread of the JPEG decoder's own runs while it is read.
#[cfg(target_os = "linux")]
struct Watching {
    file: Cursor<Vec<u8>>,
    others: bool,
}

#[cfg(target_os = "linux")]
impl Read for Watching {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        for thread in fs::read_dir("/proc/self/task")? {
            // A thread may end meanwhile.
            let name = fs::read_to_string(thread?.path().join("comm")).unwrap_or_default();
            self.others |= name.starts_with("worker thread");
        }
        self.file.read(into)
    }
}

#[cfg(target_os = "linux")]
impl Seek for Watching {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// Rows that wait for threads which do not get to run are held without a bound.
#[cfg(target_os = "linux")]
#[test]
fn rows_of_a_jpeg_wait_for_no_other_thread() {
    let (_, large) = large_pictures().find(|(name, _)| *name == "JPEG of 100 megapixels").expect("it is there");
    let mut file = Watching { file: Cursor::new(large), others: false };
    let inspected = examine(&mut file, MediaKind::Image, THUMBNAIL_WIDTH).expect("it is accepted");
    assert!(inspected.thumbnail.is_some() && !file.others);
}

/// Most memory that looking at one file may take.
const MEMORY: u64 = 64 << 20;

/// Bytes that the kernel counts for this process.
#[cfg(target_os = "linux")]
fn counted(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("it is counted");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Large pictures and the corpus, looked at one after the other by a process of its own, so that the kernel's count of the
/// most memory it ever had is that of the readers alone.
#[cfg(target_os = "linux")]
#[test]
fn looking_at_any_file_takes_at_most_64_mb() {
    const FOLDER: &str = "WA_MEASURE_MEDIA_IN";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return measure(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = |number: usize, declared: MediaKind, name: &str| folder.path().join(format!("{number:04} {declared} {}", name.replace('/', " ")));
    for (number, (title, bytes)) in large_pictures().enumerate() {
        fs::write(name(number, MediaKind::Image, title), bytes).expect("a file");
    }
    for (number, file) in hostile_media().into_iter().enumerate() {
        fs::write(name(number + 100, file.declared, file.name), file.bytes).expect("a file");
    }
    let program = std::env::current_exe().expect("the program of the tests is known");
    let test = "hostile::looking_at_any_file_takes_at_most_64_mb";
    // One arena: what the allocator keeps for each thread in case it is asked again is not what the readers take.
    let run =
        Command::new(program).args([test, "--exact", "--nocapture"]).env(FOLDER, folder.path()).env("MALLOC_ARENA_MAX", "1").output().expect("it runs again");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("most memory"), "{said}");
    println!("{}", said.lines().filter(|line| line.contains("MB")).collect::<Vec<_>>().join("\n"));
}

#[cfg(target_os = "linux")]
fn measure(folder: &Path) {
    let mut files: Vec<_> = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let before = counted("VmRSS");
    let mut most = 0;
    for path in files {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let declared = MediaKind::parse(name.split(' ').nth(1).expect("a kind")).expect("a kind");
        // From here on the kernel counts anew.
        fs::write("/proc/self/clear_refs", "5").expect("the count starts anew");
        let became = examine(&mut File::open(&path).expect("a file"), declared, THUMBNAIL_WIDTH);
        let taken = counted("VmHWM").saturating_sub(before);
        if name.starts_with("00") {
            let inspected = became.unwrap_or_else(|refusal| panic!("{name} is accepted: {refusal}"));
            assert!(inspected.thumbnail.is_some(), "{name} has a thumbnail");
            println!("{name}: {} MB", taken >> 20);
        }
        assert!(taken <= MEMORY, "{name} took {} MB", taken >> 20);
        most = most.max(taken);
    }
    println!("most memory: {} MB", most >> 20);
}

/// The samples of other programs with some bytes changed: whatever comes out, nothing panics, and what is taken is of the
/// kind that it was uploaded as. WA_DAMAGES says how many times each is damaged.
#[test]
fn damaged_files_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media");
    let mut state = 0x0DDB_1A5E_5BAD_5EED_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).expect("48 bits") % below
    };
    let times = std::env::var("WA_DAMAGES").map_or(60, |times| times.parse().expect("a number"));
    let mut samples = 0;
    for sample in fs::read_dir(folder).expect("the samples are there") {
        let path = sample.expect("a sample").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            continue;
        }
        samples += 1;
        let whole = fs::read(&path).expect("a sample");
        for _ in 0..times {
            let mut bytes = whole.clone();
            for _ in 0..=random(8) {
                // Headers are where it hurts.
                let within = if random(2) == 0 { bytes.len().min(200) } else { bytes.len() };
                let at = random(within);
                bytes[at] = u8::try_from(random(256)).expect("a byte");
            }
            for declared in MediaKind::ALL {
                if let Ok(inspected) = look(&bytes, declared) {
                    assert_eq!(inspected.format.kind(), declared, "{}", path.display());
                }
            }
        }
    }
    assert!(samples > 30, "the samples are in place");
}
