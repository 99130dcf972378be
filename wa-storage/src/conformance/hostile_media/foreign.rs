//! Files of kinds that are not accepted, under false flags or none, and text that is more than text.

use wa_core::media::{Format, MediaKind};

use super::bytes::noise;
use super::{Corpus, Fate, sample};

const SCRIPT: &[u8] = b"<script>alert(document.cookie)</script>";
const SVG: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"><script>alert(1)</script></svg>";

pub(super) fn add(corpus: &mut Corpus) {
    programs(corpus);
    pages(corpus);
    pictures_of_other_kinds(corpus);
    text(corpus);
    other_kinds(corpus);
}

fn programs(corpus: &mut Corpus) {
    let windows = [b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".as_slice(), &[0; 44], b"\x40\0\0\0PE\0\0\x64\x86", &noise(600)].concat();
    for (name, bytes) in [
        ("Windows program", windows),
        ("Linux program", [b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".as_slice(), &noise(600)].concat()),
        ("macOS program", [b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x02\0\0\0".as_slice(), &noise(600)].concat()),
        ("Java class", [b"\xca\xfe\xba\xbe\0\0\0\x34".as_slice(), &noise(600)].concat()),
        ("WebAssembly", b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0".to_vec()),
        ("Android bytecode", [b"dex\n035\0".as_slice(), &noise(600)].concat()),
        ("Windows shortcut", [b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".as_slice(), &noise(100)].concat()),
        ("Python bytecode", [b"\xa7\r\r\n\0\0\0\0".as_slice(), &noise(100)].concat()),
        ("nothing but zeros", vec![0; 4096]),
        ("noise", noise(4096)),
        ("one byte", vec![0xFF]),
        ("empty file", Vec::new()),
    ] {
        corpus.everywhere(name, &bytes);
    }
}

fn pages(corpus: &mut Corpus) {
    for (name, bytes) in [
        ("web page", b"<!DOCTYPE html><html><body onload=alert(1)></body></html>".to_vec()),
        ("web page behind a byte order mark and spaces", [b"\xef\xbb\xbf \n\t".as_slice(), b"<HTML>", SCRIPT].concat()),
        ("web page behind a comment", [b"<!-- a harmless text -->\n".as_slice(), SCRIPT].concat()),
        ("web page in UTF-16", [0xFF, 0xFE].into_iter().chain(SCRIPT.iter().flat_map(|byte| [*byte, 0])).collect()),
        ("script tag", SCRIPT.to_vec()),
        ("SVG drawing", SVG.to_vec()),
        ("SVG drawing with an XML declaration", [b"<?xml version=\"1.0\"?>\n".as_slice(), SVG].concat()),
        ("XML that reads local files", b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>".to_vec()),
        ("PHP", b"<?php system($_GET['c']); ?>".to_vec()),
        ("server page", b"<%@ page import=\"java.io.*\" %><% Runtime.getRuntime(); %>".to_vec()),
        ("frame", b"<iframe src=javascript:alert(1)>".to_vec()),
        ("shell script", b"#!/bin/sh\nrm -rf /\n".to_vec()),
        ("batch file", b"@echo off\r\nformat c: /y\r\n".to_vec()),
        ("RTF with an object", b"{\\rtf1{\\object\\objautlink}}".to_vec()),
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n".to_vec()),
        ("saved web page", b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n\r\n".to_vec()),
    ] {
        corpus.everywhere(name, &bytes);
    }
}

fn pictures_of_other_kinds(corpus: &mut Corpus) {
    let heic = [b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x08meta".as_slice()].concat();
    for (name, bytes) in [
        ("BMP picture", [b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".as_slice(), &[0; 60]].concat()),
        ("TIFF picture", [b"II*\0\x08\0\0\0".as_slice(), &[0; 60]].concat()),
        ("icon", [b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0".as_slice(), &[0; 60]].concat()),
        ("Photoshop picture", [b"8BPS\0\x01\0\0\0\0\0\0\0\x03".as_slice(), &[0; 60]].concat()),
        ("HEIC picture", heic.clone()),
        ("AVIF picture", [b"\0\0\0\x18ftypavif\0\0\0\0mif1avif\0\0\0\x08meta".as_slice()].concat()),
        ("JPEG XL picture", b"\xff\x0a\xfa\x1f\x41\x91\x08\x06\x01\0\x20\0".to_vec()),
        ("Flash film", [b"FWS\x0a\x10\0\0\0".as_slice(), &[0; 60]].concat()),
    ] {
        corpus.everywhere(name, &bytes);
    }
}

fn text(corpus: &mut Corpus) {
    for (name, bytes) in [
        ("text with a zero byte", b"a text\0and more".to_vec()),
        ("text with control bytes for a terminal", b"\x1b]0;title\x07\x1b[31mred".to_vec()),
        ("text with a backspace", b"rm -rf /\x08\x08\x08harmless".to_vec()),
        ("bytes of no encoding", (0x80..=0xFF).cycle().take(600).collect()),
        ("UTF-16 with half a pair", b"\xff\xfe\x3d\xd8a\0".to_vec()),
        ("UTF-16 of an odd length", b"\xff\xfea\0b".to_vec()),
        ("UTF-16 with a zero", b"\xfe\xff\0a\0\0\0b".to_vec()),
    ] {
        corpus.document(name, Fate::Refused, bytes);
    }
    // Saved, never shown: what a reader makes of it is the same as of any text.
    corpus.document("text with marks of direction", Fate::Harmless(Format::Txt), "photo_\u{202e}gpj.exe".as_bytes());
    corpus.document("table with formulas", Fate::Harmless(Format::Csv), b"name,sum\n=cmd|' /C calc'!A0,1\n@SUM(1),2\n".as_slice());
    corpus.document("text with a script further on", Fate::Harmless(Format::Txt), [b"Dear all,\n\n".as_slice(), SCRIPT].concat());
    for declared in [MediaKind::Image, MediaKind::Video, MediaKind::Audio] {
        corpus.add("text as something else", declared, Fate::Refused, b"../../etc/passwd\n".as_slice());
    }
}

/// Good files, uploaded as what they are not.
fn other_kinds(corpus: &mut Corpus) {
    let samples = [
        (sample!("baseline.jpg"), MediaKind::Image),
        (sample!("rgb.png"), MediaKind::Image),
        (sample!("lossy.webp"), MediaKind::Image),
        (sample!("still.gif"), MediaKind::Image),
        (sample!("film.mp4"), MediaKind::Video),
        (sample!("film.3gp"), MediaKind::Video),
        (sample!("film.mov"), MediaKind::Video),
        (sample!("film.webm"), MediaKind::Video),
        (sample!("film.mkv"), MediaKind::Video),
        (sample!("tone.m4a"), MediaKind::Audio),
        (sample!("tone.mp3"), MediaKind::Audio),
        (sample!("tone.aac"), MediaKind::Audio),
        (sample!("tone.ogg"), MediaKind::Audio),
        (sample!("tone.opus"), MediaKind::Audio),
        (sample!("tone.wav"), MediaKind::Audio),
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF".as_slice(), MediaKind::Document),
    ];
    for (bytes, kind) in samples {
        for declared in MediaKind::ALL.into_iter().filter(|declared| *declared != kind) {
            corpus.add("good file of another kind", declared, Fate::Refused, bytes);
        }
    }
    for declared in MediaKind::ALL {
        corpus.add("sound alone in WebM", declared, Fate::Refused, sample!("tone.webm"));
        corpus.add("film in Ogg", declared, Fate::Refused, sample!("film.ogv"));
    }
    for (name, bytes) in [
        ("7-Zip archive", [b"7z\xbc\xaf\x27\x1c\0\x04".as_slice(), &noise(100)].concat()),
        ("RAR archive", [b"Rar!\x1a\x07\x01\0".as_slice(), &noise(100)].concat()),
        ("gzip file", [b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice(), &noise(100)].concat()),
        ("xz file", [b"\xfd7zXZ\0\0\x04".as_slice(), &noise(100)].concat()),
        ("tar archive", [b"../../etc/cron.d/x\0".as_slice(), &[0; 238], b"ustar\0\x30\x30", &[0; 247]].concat()),
        ("cabinet", [b"MSCF\0\0\0\0".as_slice(), &noise(100)].concat()),
        ("database", [b"SQLite format 3\0".as_slice(), &noise(100)].concat()),
        ("FLAC file", [b"fLaC\0\0\0\x22".as_slice(), &noise(100)].concat()),
        ("AMR recording", [b"#!AMR\n".as_slice(), &noise(100)].concat()),
        ("MIDI file", [b"MThd\0\0\0\x06\0\x01\0\x02\0\x60".as_slice(), &noise(100)].concat()),
        ("AVI film", [b"RIFF\x24\x10\0\0AVI LIST".as_slice(), &noise(100)].concat()),
        ("Flash video", [b"FLV\x01\x05\0\0\0\x09".as_slice(), &noise(100)].concat()),
        ("MPEG stream", [b"\0\0\x01\xba\x44\0\x04\0".as_slice(), &noise(100)].concat()),
        ("playlist that names other files", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nconcat:http://127.0.0.1/|file:///etc/passwd\n".to_vec()),
    ] {
        for declared in [MediaKind::Image, MediaKind::Video, MediaKind::Audio] {
            corpus.add(name, declared, Fate::Refused, bytes.clone());
        }
        let fate = if name.starts_with("playlist") { Fate::Harmless(Format::Txt) } else { Fate::Refused };
        corpus.document(name, fate, bytes);
    }
}
