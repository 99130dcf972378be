//! Films whose boxes and elements lie about their lengths, refer to themselves or to other files, or are missing.

use wa_core::media::{Format, MediaKind};

use super::bytes::{bmff, element, find, lying, noise, patched};
use super::{Corpus, Fate, sample};

pub(super) fn add(corpus: &mut Corpus) {
    for (name, bytes) in [("MP4 cut short", sample!("film.mp4")), ("3GP cut short", sample!("film.3gp")), ("MOV cut short", sample!("film.mov"))] {
        corpus.cut(name, MediaKind::Video, Fate::Refused, bytes);
    }
    corpus.cut("MKV cut short", MediaKind::Video, Fate::Refused, sample!("film.mkv"));
    corpus.cut("WebM cut short", MediaKind::Video, Fate::Refused, sample!("film.webm"));
    // A recording that was broken off: it has no lengths that could be missed, and plays up to there.
    corpus.cut("live WebM cut short", MediaKind::Video, Fate::RefusedOrHarmless(Format::Webm), sample!("live.webm"));
    boxes(corpus);
    elements(corpus);
}

fn boxes(corpus: &mut Corpus) {
    let good = sample!("film.mp4");
    let brand = bmff(b"ftyp", b"isom\0\0\x02\0isommp42");
    let mp4 = |parts: &[&[u8]]| [brand.as_slice(), &parts.concat()].concat();
    let movie = find(good, b"moov") - 4;
    for (name, bytes) in [
        ("MP4 of a brand alone", brand.clone()),
        ("MP4 without a movie", mp4(&[&bmff(b"mdat", &noise(400))])),
        ("MP4 with an empty movie", mp4(&[&bmff(b"moov", b"")])),
        ("MP4 of noise", mp4(&[&noise(4000)])),
        ("MP4 box of 4 GB", patched(good, movie, &[0xFF; 4])),
        ("MP4 box of negative length", patched(good, movie, &[0, 0, 0, 4])),
        ("MP4 box of 16 exabytes", mp4(&[b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff"])),
        ("MP4 box of a length that overflows", mp4(&[b"\0\0\0\x01moov\x7f\xff\xff\xff\xff\xff\xff\xff", &noise(40)])),
        ("MP4 movie in a movie in a movie", mp4(&[&(0..1000).fold(Vec::new(), |inner, _| bmff(b"moov", &inner))])),
        ("MP4 track that ends in its header", mp4(&[&bmff(b"moov", &bmff(b"trak", &bmff(b"tkhd", b"\0\0\0\0")))])),
        ("MP4 with 200,000 boxes", mp4(&[&bmff(b"free", b"").repeat(200_000), &good[movie..]])),
        ("MP4 with 100,000 tracks", mp4(&[&bmff(b"moov", &bmff(b"trak", b"").repeat(99_000))])),
        ("MP4 behind a web page", [b"<html>".as_slice(), good].concat()),
        ("MOV without tracks", bmff(b"moov", &bmff(b"mvhd", &[0; 100]))),
    ] {
        corpus.video(name, Fate::Refused, bytes);
    }
    let header = find(good, b"mvhd") + 4;
    for (name, bytes) in [
        ("MP4 of no time scale", patched(good, header + 12, &[0; 4])),
        ("MP4 of 136 years", patched(good, header + 12, &[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFE])),
        ("MP4 that refers to another file", {
            let at = find(good, b"url ");
            patched(good, at + 4, &[0, 0, 0, 0])
        }),
        ("MP4 and web page in one", [good, &bmff(b"free", b"<script>alert(1)</script>")].concat()),
    ] {
        corpus.video(name, Fate::Harmless(Format::Mp4), bytes);
    }
}

fn elements(corpus: &mut Corpus) {
    const EBML: &[u8] = b"\x1a\x45\xdf\xa3";
    const SEGMENT: &[u8] = b"\x18\x53\x80\x67";
    const TRACKS: &[u8] = b"\x16\x54\xae\x6b";
    const CLUSTER: &[u8] = b"\x1f\x43\xb6\x75";
    let head = element(EBML, &element(b"\x42\x82", b"matroska"));
    let video =
        element(TRACKS, &element(b"\xae", &[element(b"\x83", &[1]), element(b"\xe0", &[element(b"\xb0", &[64]), element(b"\xba", &[48])].concat())].concat()));
    let cluster = element(CLUSTER, &noise(100));
    let mkv = |parts: &[&[u8]]| [head.as_slice(), &element(SEGMENT, &parts.concat())].concat();
    for (name, bytes) in [
        ("MKV header alone", head.clone()),
        ("MKV of another document type", [element(EBML, &element(b"\x42\x82", b"webp")), element(SEGMENT, &video)].concat()),
        ("MKV without a document type", [element(EBML, b""), element(SEGMENT, &[video.as_slice(), &cluster].concat())].concat()),
        ("MKV with a document type of 1 MB", [element(EBML, &element(b"\x42\x82", &vec![b'a'; 1 << 20])), element(SEGMENT, &video)].concat()),
        ("MKV element of 72 petabytes", [head.as_slice(), SEGMENT, &lying((1 << 56) - 2)].concat()),
        ("MKV element longer than what holds it", mkv(&[TRACKS, &lying(1 << 40), &video])),
        ("MKV element with a length of nine bytes", [head.as_slice(), SEGMENT, b"\0\x01\0\0\0\0\0\0\x10", &video].concat()),
        ("MKV element with a name of five bytes", mkv(&[b"\x08\0\0\0\x01\x81\0", &video, &cluster])),
        ("MKV of noise", [head.as_slice(), &noise(4000)].concat()),
        ("MKV without frames", mkv(&[&video])),
        ("MKV without tracks", mkv(&[&cluster])),
        ("MKV with a number of 60 bytes", mkv(&[&element(TRACKS, &element(b"\xae", &element(b"\x83", &[1; 60]))), &cluster])),
        ("MKV with a million empty elements", mkv(&[&b"\xec\x80".repeat(1_000_000), &video, &cluster])),
        ("MKV of padding without an end", [head.as_slice(), &element(b"\xec", &noise(100)).repeat(3)].concat()),
    ] {
        corpus.video(name, Fate::Refused, bytes);
    }
    for (name, bytes) in [
        ("MKV of a negative duration", mkv(&[&element(b"\x15\x49\xa9\x66", &element(b"\x44\x89", &(-1e30_f64).to_be_bytes())), &video, &cluster])),
        ("MKV of a duration that is no number", mkv(&[&element(b"\x15\x49\xa9\x66", &element(b"\x44\x89", &f64::NAN.to_be_bytes())), &video, &cluster])),
        (
            "MKV with a width of 2^64",
            mkv(&[
                &element(
                    TRACKS,
                    &element(b"\xae", &[element(b"\x83", &[1]), element(b"\xe0", &[element(b"\xb0", &[0xFF; 8]), element(b"\xba", &[48])].concat())].concat()),
                ),
                &cluster,
            ]),
        ),
    ] {
        corpus.video(name, Fate::Harmless(Format::Mkv), bytes);
    }
}
