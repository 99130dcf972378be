//! Pictures that are none, half of one, far too much of one, or something else as well.

use wa_core::media::{Format, MediaKind};

use super::bytes::{PNG, chunk, dark_png, darkness, find, header, noise, patched};
use super::{Corpus, Fate, sample};

/// It is taken without a thumbnail: to go over it so often would take too long.
const MANY_SCANS: &str = "progressive JPEG of 12 megapixels with 80 scans of nothing";

const SCRIPT: &[u8] = b"<script>alert(1)</script>";

pub(super) fn add(corpus: &mut Corpus) {
    for (name, bytes) in [
        ("JPEG cut short", sample!("gps.jpg")),
        ("progressive JPEG cut short", sample!("progressive.jpg")),
        ("PNG cut short", sample!("palette.png")),
        ("interlaced PNG cut short", sample!("interlaced.png")),
        ("GIF cut short", sample!("still.gif")),
        ("animated GIF cut short", sample!("animated.gif")),
        ("WebP cut short", sample!("lossy.webp")),
        ("animated WebP cut short", sample!("animated.webp")),
    ] {
        corpus.cut(name, MediaKind::Image, Fate::Refused, bytes);
    }
    jpeg(corpus);
    png(corpus);
    gif(corpus);
    webp(corpus);
}

/// The frame header of a JPEG: where its height and width stand.
fn frame(jpeg: &[u8]) -> usize {
    find(jpeg, b"\xff\xc0\0\x11\x08") + 5
}

fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    [&[0xFF, marker][..], &u16::try_from(content.len() + 2).expect("short").to_be_bytes(), content].concat()
}

fn jpeg(corpus: &mut Corpus) {
    let good = sample!("baseline.jpg");
    let sof = frame(good);
    let scan = find(good, b"\xff\xda");
    let inserted = |extra: &[u8]| [&good[..2], extra, &good[2..]].concat();
    for (name, bytes) in [
        ("script behind JPEG magic", [b"\xff\xd8\xff\xe0\0\x10JFIF\0".as_slice(), SCRIPT].concat()),
        ("PHP behind JPEG magic", b"\xff\xd8\xff\xee\0\x06<?php system('id'); ?>\xff\xd9".to_vec()),
        ("JPEG of noise", [b"\xff\xd8\xff\xe0".as_slice(), &noise(4000), b"\xff\xd9"].concat()),
        ("JPEG without pixels", [&good[..scan], b"\xff\xd9"].concat()),
        ("JPEG of no width", patched(good, sof + 2, &[0, 0])),
        ("JPEG of unknown height", patched(good, sof, &[0, 0])),
        ("JPEG with no sampling", patched(good, sof + 6, &[0])),
        ("JPEG with too much sampling", patched(good, sof + 6, &[0xFF])),
        ("JPEG with 200 components", patched(good, sof + 4, &[200])),
        ("JPEG with arithmetic coding", patched(good, sof - 4, &[0xC9])),
        ("JPEG without loss", patched(good, sof - 4, &[0xC3])),
        ("JPEG of 12 bits", patched(good, sof - 1, &[12])),
        ("JPEG with two frames", [&good[..scan], &good[sof - 5..sof + 12], &good[scan..]].concat()),
        ("JPEG of markers alone", [b"\xff\xd8".as_slice(), &b"\xff\xd0".repeat(20_000), b"\xff\xd9"].concat()),
        ("JPEG segment of negative length", inserted(b"\xff\xe1\0\0")),
        ("JPEG segment longer than the file", inserted(b"\xff\xe1\xff\xff")[..400].to_vec()),
        ("JPEG with 200 scans", {
            let end = good.len() - 2;
            [&good[..end], &good[scan..end].repeat(200), b"\xff\xd9"].concat()
        }),
        // Each is decoded again, over all of it, with zeros for what is not there.
        ("JPEG of 100 megapixels with 90 scans of nothing", {
            let head = scan + 2 + usize::from(u16::from_be_bytes([good[scan + 2], good[scan + 3]]));
            let large = patched(&good[..scan], sof, &[&10_000_u16.to_be_bytes()[..], &10_000_u16.to_be_bytes()].concat());
            [large, good[scan..head].repeat(90), b"\xff\xd9".to_vec()].concat()
        }),
    ] {
        corpus.image(name, Fate::Refused, bytes);
    }
    corpus.image("JPEG of 4,294 megapixels", Fate::TooLarge, patched(good, sof, &[0xFF; 4]));
    corpus.image("JPEG of 100.01 megapixels", Fate::TooLarge, patched(good, sof, &[&10_000_u16.to_be_bytes()[..], &10_001_u16.to_be_bytes()].concat()));
    // A header that promises more rows than follow: the decoder reads zeros behind the end of the scan, as all others do.
    corpus.image(
        "JPEG of 100 megapixels with pixels for a few",
        Fate::RefusedOrHarmless(Format::Jpeg),
        patched(good, sof, &[&10_000_u16.to_be_bytes()[..], &10_000_u16.to_be_bytes()].concat()),
    );
    let progressive = sample!("progressive.jpg");
    let at = find(progressive, b"\xff\xc2\0\x11\x08") + 5;
    corpus.image(
        "progressive JPEG of 100 megapixels in a kilobyte",
        Fate::RefusedOrHarmless(Format::Jpeg),
        patched(progressive, at, &[&10_000_u16.to_be_bytes()[..], &10_000_u16.to_be_bytes()].concat()),
    );
    corpus.image(
        "progressive JPEG of 12 megapixels in a kilobyte",
        Fate::RefusedOrHarmless(Format::Jpeg),
        patched(progressive, at, &[&3000_u16.to_be_bytes()[..], &4000_u16.to_be_bytes()].concat()),
    );
    corpus.image(MANY_SCANS, Fate::RefusedOrHarmless(Format::Jpeg), {
        let large = patched(progressive, at, &[&3000_u16.to_be_bytes()[..], &4000_u16.to_be_bytes()].concat());
        let scan = segment(0xDA, &[1, 1, 0, 1, 63, 0]);
        [&large[..large.len() - 2], &scan.repeat(80), b"\xff\xd9"].concat()
    });
    for (name, bytes) in [
        ("JPEG with a place in EXIF", sample!("gps.jpg").to_vec()),
        ("JPEG with a script as its comment", inserted(&segment(0xFE, SCRIPT))),
        ("JPEG with PHP in EXIF", inserted(&segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0<?php system('id'); ?>"))),
        ("JPEG with EXIF that points outside", inserted(&segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"))),
        ("JPEG turned in a ninth way", inserted(&segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0"))),
        ("JPEG with 15 MB of metadata", inserted(&segment(0xE2, &[b"ICC_PROFILE\0\x01\x01".as_slice(), &[7; 60_000]].concat()).repeat(250))),
        ("JPEG and ZIP archive in one", [good, b"PK\x03\x04", &noise(100), b"PK\x05\x06", &[0; 18]].concat()),
        ("JPEG and web page in one", [good, b"<!DOCTYPE html><html>", SCRIPT].concat()),
        ("JPEG and film in one", [good, sample!("film.mp4")].concat()),
        ("JPEG and program in one", [good, b"MZ\x90\0", &noise(200)].concat()),
    ] {
        corpus.image(name, Fate::Harmless(Format::Jpeg), bytes);
    }
}

fn png(corpus: &mut Corpus) {
    let end = chunk(b"IEND", b"");
    let pixels = chunk(b"IDAT", &darkness(8, 8));
    let png = |parts: &[&[u8]]| [PNG, &parts.concat()].concat();
    for (name, bytes) in [
        ("script behind PNG magic", png(&[SCRIPT])),
        ("PNG of noise", png(&[&noise(4000)])),
        ("PNG without pixels", png(&[&header(8, 8, 8, 0, false), &end])),
        ("PNG of no width", png(&[&header(0, 8, 8, 0, false), &pixels, &end])),
        ("PNG with a wrong checksum", patched(&dark_png(8, 8), 30, &[0xAA])),
        ("PNG without an end", png(&[&header(8, 8, 8, 0, false), &pixels])),
        ("PNG with fewer rows than promised", png(&[&header(8, 9, 8, 0, false), &pixels, &end])),
        ("PNG of 100 megapixels with pixels for a few", png(&[&header(10_000, 10_000, 8, 0, false), &pixels, &end])),
        ("PNG of a depth there is none of", png(&[&header(8, 8, 7, 0, false), &pixels, &end])),
        ("PNG with a palette that is missing", png(&[&header(8, 8, 8, 3, false), &pixels, &end])),
        ("PNG with noise for pixels", png(&[&header(8, 8, 8, 0, false), &chunk(b"IDAT", &noise(4000)), &end])),
        ("PNG chunk of 2 GB", png(&[&header(8, 8, 8, 0, false), b"\x7f\xff\xff\xffIDAT", &noise(400)])),
        ("PNG interlaced with too little", png(&[&header(300, 300, 8, 0, true), &pixels, &end])),
    ] {
        corpus.image(name, Fate::Refused, bytes);
    }
    for (name, bytes) in [
        ("PNG of 2,500 megapixels in 60 bytes", png(&[&header(50_000, 50_000, 8, 2, false), &pixels, &end])),
        ("PNG of the greatest size there is", png(&[&header(0x7FFF_FFFF, 0x7FFF_FFFF, 16, 6, false), &pixels, &end])),
        ("PNG of 100.01 megapixels", png(&[&header(10_001, 10_000, 8, 0, false), &pixels, &end])),
        ("PNG of one endless row", png(&[&header(100_000_000, 1, 16, 6, false), &pixels, &end])),
        ("PNG of one endless column", png(&[&header(1, 100_000_000, 16, 6, false), &pixels, &end])),
    ] {
        corpus.image(name, Fate::TooLarge, bytes);
    }
    let bomb = darkness(10_000, 2_000);
    for (name, bytes) in [
        ("PNG whose one pixel unfolds to 20 MB", png(&[&header(1, 1, 8, 0, false), &chunk(b"IDAT", &bomb), &end])),
        ("PNG whose text unfolds to 20 MB", png(&[&header(8, 8, 8, 0, false), &chunk(b"zTXt", &[b"a\0\0".as_slice(), &bomb].concat()), &pixels, &end])),
        ("PNG whose profile unfolds to 20 MB", png(&[&header(8, 8, 8, 0, false), &chunk(b"iCCP", &[b"a\0\0".as_slice(), &bomb].concat()), &pixels, &end])),
        ("PNG with 10,000 chunks", png(&[&header(8, 8, 8, 0, false), &chunk(b"tEXt", b"a\0b").repeat(10_000), &pixels, &end])),
        ("PNG with a script as its text", png(&[&header(8, 8, 8, 0, false), &chunk(b"tEXt", &[b"Comment\0".as_slice(), SCRIPT].concat()), &pixels, &end])),
        ("PNG and web page in one", [dark_png(8, 8).as_slice(), SCRIPT].concat()),
        ("animated PNG with lying frames", png(&[&header(8, 8, 8, 0, false), &chunk(b"acTL", b"\xff\xff\xff\xff\0\0\0\0"), &pixels, &end])),
    ] {
        corpus.image(name, Fate::RefusedOrHarmless(Format::Png), bytes);
    }
}

fn gif(corpus: &mut Corpus) {
    let good = sample!("still.gif");
    let frame = find(good, b"\x2c\0\0\0\0");
    for (name, bytes) in [
        ("script behind GIF magic", b"GIF89a/*<script>*/=1;alert(document.domain)".to_vec()),
        ("script behind old GIF magic", [b"GIF87a".as_slice(), SCRIPT].concat()),
        ("PHP behind GIF magic", b"GIF89a<?php system($_GET['c']); ?>".to_vec()),
        ("GIF of noise", [b"GIF89a".as_slice(), &noise(4000)].concat()),
        ("GIF without frames", b"GIF89a\x08\0\x08\0\x80\0\0\0\0\0\xff\xff\xff;".to_vec()),
        ("GIF of no width", patched(good, 6, &[0, 0])),
        ("GIF with a frame of no width", patched(good, frame + 5, &[0, 0])),
        ("GIF without colours", b"GIF89a\x01\0\x01\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;".to_vec()),
        ("GIF with noise for pixels", [&good[..frame + 10], b"\x0c\xff", &noise(255), b"\0;"].concat()),
        ("GIF of 100 megapixels with pixels for a few", [&patched(&patched(good, 6, b"\x10\x27\x10\x27"), frame + 5, b"\x10\x27\x10\x27")[..]].concat()),
    ] {
        corpus.image(name, Fate::Refused, bytes);
    }
    corpus.image("GIF of 4,294 megapixels", Fate::TooLarge, patched(good, 6, &[0xFF; 4]));
    corpus.image("GIF frame of 4,294 megapixels", Fate::TooLarge, patched(good, frame + 5, &[0xFF; 4]));
    for (name, bytes) in [
        ("GIF frame outside of its screen", patched(good, frame + 1, &[0xFF; 4])),
        ("GIF with a script as its comment", [&good[..frame], b"\x21\xfe\x19", SCRIPT, b"\0", &good[frame..]].concat()),
        ("GIF and script in one", [good, b"/*", SCRIPT, b"*/"].concat()),
        ("GIF of 20,000 frames", [&good[..good.len() - 1], &b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0".repeat(20_000), b";"].concat()),
    ] {
        corpus.image(name, Fate::Harmless(Format::Gif), bytes);
    }
}

fn webp(corpus: &mut Corpus) {
    let still = sample!("lossy.webp");
    let moving = sample!("animated.webp");
    let canvas = find(moving, b"VP8X") + 12;
    for (name, bytes) in [
        ("script behind WebP magic", [b"RIFF\x40\0\0\0WEBP".as_slice(), SCRIPT, &[b' '; 60]].concat()),
        ("WebP of noise", [b"RIFF\xa0\x0f\0\0WEBPVP8 \x94\x0f\0\0".as_slice(), &noise(3988)].concat()),
        ("WebP chunk longer than the file", patched(still, 16, &[0xFF, 0xFF, 0xFF, 0x7F])),
        ("WebP longer than the file", patched(still, 4, &[0xFF, 0xFF, 0xFF, 0x7F])),
        ("WebP without a picture", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x07\0\0\x07\0\0".to_vec()),
        ("WebP of 100 megapixels with pixels for a few", patched(still, find(still, b"\x9d\x01\x2a") + 3, b"\0\x0a\0\x0a")),
        ("WebP without loss, of noise", [b"RIFF\xac\x0f\0\0WEBPVP8L\xa0\x0f\0\0\x2f\xff\xc0\x3f\x00".as_slice(), &noise(3995)].concat()),
    ] {
        corpus.image(name, Fate::Refused, bytes);
    }
    // As large as the format allows.
    corpus.image("WebP of 268 megapixels", Fate::TooLarge, patched(still, find(still, b"\x9d\x01\x2a") + 3, b"\xff\x3f\xff\x3f"));
    corpus.image("animated WebP with a canvas of 281 terapixels", Fate::TooLarge, patched(moving, canvas, &[0xFF; 6]));
    corpus.image("animated WebP with a canvas of 100 megapixels", Fate::RefusedOrHarmless(Format::Webp), patched(moving, canvas, b"\x0f\x27\0\x0f\x27\0"));
    corpus.image("WebP and script in one", Fate::Harmless(Format::Webp), [still, SCRIPT].concat());
    corpus.image("WebP with a place in EXIF", Fate::Harmless(Format::Webp), sample!("turned.webp"));
}

/// Makes a file when it is wanted.
type Maker = fn() -> Vec<u8>;

/// Pictures of 100 megapixels, or as many as are decoded of their kind.
pub(super) fn large() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let makers: [(&'static str, Maker); 5] = [
        ("PNG of 100 megapixels", || dark_png(10_000, 10_000)),
        ("grey JPEG of 100 megapixels", || flat_jpeg(sample!("grey.jpg"), &[0x28, 0xA2, 0x8A], 390_625)),
        ("JPEG of 100 megapixels", || flat_jpeg(sample!("baseline.jpg"), &[0x28, 0xA2, 0x8A, 0], 390_625)),
        ("GIF of 100 megapixels", large_gif),
        ("WebP of 5 megapixels", large_webp),
    ];
    makers.into_iter().map(|(name, make)| (name, make()))
}

/// A JPEG of 10,000 × 10,000 equal pixels with the tables of another one, which must be the usual ones: this many times the
/// codes of a few blocks without any change.
fn flat_jpeg(like: &[u8], codes: &[u8], times: usize) -> Vec<u8> {
    let scan = find(like, b"\xff\xda");
    let data = scan + 2 + usize::from(u16::from_be_bytes([like[scan + 2], like[scan + 3]]));
    let sof = find(like, b"\xff\xc0") + 5;
    let head = patched(&like[..data], sof, &[&10_000_u16.to_be_bytes()[..], &10_000_u16.to_be_bytes()].concat());
    [head, codes.repeat(times), b"\xff\xd9".to_vec()].concat()
}

fn large_gif() -> Vec<u8> {
    let mut whole = Vec::new();
    let mut encoder = gif::Encoder::new(&mut whole, 10_000, 10_000, &[0, 0, 0, 255, 255, 255]).expect("a header");
    encoder.write_frame(&gif::Frame::from_indexed_pixels(10_000, 10_000, vec![0; 100_000_000], None)).expect("a frame");
    drop(encoder);
    whole
}

fn large_webp() -> Vec<u8> {
    let mut whole = Vec::new();
    let pixels = vec![90; 2_289 * 2_289 * 3];
    image_webp::WebPEncoder::new(&mut whole).encode(&pixels, 2_289, 2_289, image_webp::ColorType::Rgb8).expect("a picture");
    whole
}
