//! Text: UTF-8, UTF-16 with its mark, or an older encoding, without control bytes and without markup or scripts at its start.

use std::io::{Read, Seek};

use wa_core::media::Format;

use super::Refusal;

/// Read at a time.
const PIECE: usize = 64 * 1024;
/// Lines by which values separated by commas are known.
const LINES: usize = 20;

/// What a browser takes for a page (WHATWG, MIME sniffing, section 7.1), and what else is run rather than read.
const MARKUP: [&[u8]; 24] = [
    b"<!doctype",
    b"<html",
    b"<head",
    b"<script",
    b"<iframe",
    b"<h1",
    b"<div",
    b"<font",
    b"<table",
    b"<a",
    b"<style",
    b"<title",
    b"<b",
    b"<body",
    b"<br",
    b"<p",
    b"<!--",
    b"<?",
    b"<svg",
    b"<%",
    b"<math",
    b"<object",
    b"<embed",
    b"<link",
];
/// Scripts and documents that are made of text.
const OTHERS: [&[u8]; 6] = [b"#!", b"{\\rtf", b"%!ps", b"%pdf", b"mime-version:", b"@echo off"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// Also what is not known yet.
    Utf8,
    Utf16 {
        little: bool,
    },
}

pub(super) fn examine(head: &[u8], file: &mut (impl Read + Seek)) -> Result<Format, Refusal> {
    let (encoding, mark) = match head {
        [0xEF, 0xBB, 0xBF, ..] => (Encoding::Utf8, 3),
        [0xFF, 0xFE, ..] => (Encoding::Utf16 { little: true }, 2),
        [0xFE, 0xFF, ..] => (Encoding::Utf16 { little: false }, 2),
        _ => (Encoding::Utf8, 0),
    };
    let start = match encoding {
        Encoding::Utf8 => head[mark..].to_vec(),
        Encoding::Utf16 { little } => units(&head[mark..], little).map(|unit| u8::try_from(unit).unwrap_or(b'?')).collect(),
    };
    refuse_markup(&start)?;
    file.rewind()?;
    match encoding {
        Encoding::Utf8 => eight_bits(file)?,
        Encoding::Utf16 { little } => sixteen_bits(file, little)?,
    }
    Ok(if is_table(&start) { Format::Csv } else { Format::Txt })
}

fn refuse_markup(start: &[u8]) -> Result<(), Refusal> {
    let lower = start.trim_ascii_start().to_ascii_lowercase();
    let tag = MARKUP.iter().any(|tag| {
        let whole = |next: Option<&u8>| next.is_none_or(|byte| !byte.is_ascii_alphanumeric()) || !tag[1].is_ascii_alphabetic();
        lower.starts_with(tag) && whole(lower.get(tag.len()))
    });
    if tag || OTHERS.iter().any(|other| lower.starts_with(other)) {
        return Err(Refusal::invalid("Pages, drawings and scripts are not accepted as text; put them into a ZIP archive"));
    }
    Ok(())
}

/// Control characters that stand in no text: all but tab, the line ends and the form feed.
const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C)) || byte == 0x7F
}

fn not_text() -> Refusal {
    Refusal::invalid("Accepted as document are PDF, DOC, DOCX, XLS, XLSX, PPT, PPTX, TXT, CSV and ZIP; this is none of them")
}

/// UTF-8, or an encoding of one byte per letter: then half of it must be plain ASCII, as in the languages that used one.
fn eight_bits(file: &mut impl Read) -> Result<(), Refusal> {
    let mut piece = vec![0; PIECE];
    // The start of a character whose rest is in the next piece.
    let mut held = 0;
    let mut utf8 = true;
    let (mut ascii, mut total) = (0_u64, 0_u64);
    loop {
        let count = file.read(&mut piece[held..])?;
        let filled = held + count;
        let fresh = &piece[held..filled];
        if fresh.iter().any(|byte| is_control(*byte)) {
            return Err(not_text());
        }
        ascii += fresh.iter().filter(|byte| byte.is_ascii()).count() as u64;
        total += count as u64;
        held = 0;
        if utf8 && let Err(error) = std::str::from_utf8(&piece[..filled]) {
            let valid = error.valid_up_to();
            if error.error_len().is_none() && count > 0 {
                piece.copy_within(valid..filled, 0);
                held = filled - valid;
            } else {
                utf8 = false;
            }
        }
        if count == 0 {
            break;
        }
    }
    if utf8 || ascii * 2 >= total { Ok(()) } else { Err(not_text()) }
}

fn units(bytes: &[u8], little: bool) -> impl Iterator<Item = u16> {
    bytes.chunks_exact(2).map(move |pair| if little { u16::from_le_bytes([pair[0], pair[1]]) } else { u16::from_be_bytes([pair[0], pair[1]]) })
}

fn sixteen_bits(file: &mut impl Read, little: bool) -> Result<(), Refusal> {
    let mut piece = vec![0; PIECE];
    let mut surrogate = false;
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            let count = file.read(&mut piece[filled..])?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        for unit in units(&piece[..filled], little) {
            let high = (0xD800..0xDC00).contains(&unit);
            let low = (0xDC00..0xE000).contains(&unit);
            // A high one must be followed by a low one, and none else may be.
            if low != surrogate || u8::try_from(unit).is_ok_and(is_control) || unit == 0xFFFE || unit == 0xFFFF {
                return Err(not_text());
            }
            surrogate = high;
        }
        if filled % 2 == 1 || (filled < piece.len() && surrogate) {
            return Err(not_text());
        }
        if filled < piece.len() {
            return Ok(());
        }
    }
}

/// Whether the first lines all have the same number of values, two or more, by one separator.
fn is_table(start: &[u8]) -> bool {
    b",;\t".iter().any(|separator| {
        let mut counts = Vec::new();
        let (mut values, mut quoted, mut empty) = (1_usize, false, true);
        for byte in start {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => {
                    if !empty {
                        counts.push(values);
                    }
                    (values, empty) = (1, true);
                    if counts.len() >= LINES {
                        break;
                    }
                    continue;
                }
                byte if byte == separator && !quoted => values += 1,
                _ => {}
            }
            empty = false;
        }
        // The last line may be cut by the end of what is looked at.
        if !empty && start.len() < 4000 && !quoted {
            counts.push(values);
        }
        counts.len() >= 2 && counts[0] >= 2 && counts.iter().all(|count| *count == counts[0])
    })
}
