//! What is accepted, and what is told of it: the samples in tests/media, made by other programs.

use std::io::Cursor;

use wa_core::media::{Format, MediaKind};
use wa_core::ports::{Inspected, THUMBNAIL_WIDTH};

use super::{Refusal, examine};

/// A file of tests/media.
macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/", $name)).as_slice()
    };
}

fn look(bytes: &[u8], declared: MediaKind) -> Result<Inspected, Refusal> {
    examine(&mut Cursor::new(bytes), declared, THUMBNAIL_WIDTH)
}

fn accept(bytes: &[u8], format: Format) -> Inspected {
    let inspected = look(bytes, format.kind()).unwrap_or_else(|refusal| panic!("{format:?} is accepted: {refusal}"));
    assert_eq!(inspected.format, format);
    inspected
}

/// The colour of a thumbnail at a place, each from 0 to 1.
fn colour(inspected: &Inspected, x: f32, y: f32) -> [u8; 3] {
    let thumbnail = inspected.thumbnail.as_deref().expect("there is a thumbnail");
    let image = image::load_from_memory(thumbnail).expect("the thumbnail is a JPEG").into_rgb8();
    image.get_pixel((x * (image.width() - 1) as f32) as u32, (y * (image.height() - 1) as f32) as u32).0
}

fn thumbnail_size(inspected: &Inspected) -> (u32, u32) {
    image::load_from_memory(inspected.thumbnail.as_deref().expect("there is a thumbnail")).expect("the thumbnail is a JPEG").into_rgb8().dimensions()
}

/// Red rises from left to right in green, the upper half is red, the right half blue: what every sample shows.
fn assert_shows_the_sample(inspected: &Inspected, name: &str) {
    for (x, y, expected) in [(0.1, 0.1, [255, 25, 0]), (0.9, 0.1, [255, 230, 200]), (0.1, 0.9, [0, 25, 0]), (0.9, 0.9, [0, 230, 200])] {
        let found = colour(inspected, x, y);
        let close = found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) < 60);
        assert!(close, "{name} at {x}, {y}: {found:?} instead of {expected:?}");
    }
}

#[test]
fn pictures_of_every_kind_are_measured_and_shown() {
    for (name, bytes, format) in [
        ("baseline", sample!("baseline.jpg"), Format::Jpeg),
        ("progressive", sample!("progressive.jpg"), Format::Jpeg),
        ("cmyk", sample!("cmyk.jpg"), Format::Jpeg),
        ("rgb", sample!("rgb.png"), Format::Png),
        ("interlaced", sample!("interlaced.png"), Format::Png),
        ("palette", sample!("palette.png"), Format::Png),
        ("lossy", sample!("lossy.webp"), Format::Webp),
        ("lossless", sample!("lossless.webp"), Format::Webp),
        ("animated", sample!("animated.webp"), Format::Webp),
        ("still", sample!("still.gif"), Format::Gif),
        ("interlaced", sample!("interlaced.gif"), Format::Gif),
        ("animated", sample!("animated.gif"), Format::Gif),
    ] {
        let inspected = accept(bytes, format);
        assert_eq!((inspected.width, inspected.height, inspected.duration_ms), (Some(64), Some(40), None), "{name} {format:?}");
        assert_eq!(thumbnail_size(&inspected), (64, 40), "a small picture is not enlarged");
        assert_shows_the_sample(&inspected, &format!("{name} {format:?}"));
    }
}

#[test]
fn grey_pictures_stay_grey() {
    for (bytes, format) in [(sample!("grey.jpg"), Format::Jpeg), (sample!("grey16.png"), Format::Png)] {
        let [red, green, blue] = colour(&accept(bytes, format), 0.5, 0.5);
        assert!(red.abs_diff(green) < 8 && green.abs_diff(blue) < 8, "{format:?}");
    }
}

#[test]
fn what_is_transparent_is_shown_on_white() {
    // The samples fade from nothing at the top to full colours at the bottom.
    for (bytes, format) in [(sample!("alpha.png"), Format::Png), (sample!("alpha.webp"), Format::Webp)] {
        let inspected = accept(bytes, format);
        assert!(colour(&inspected, 0.1, 0.0).iter().all(|part| *part > 230), "{format:?}");
        assert!(colour(&inspected, 0.1, 1.0).iter().all(|part| *part < 70), "{format:?}");
    }
}

#[test]
fn a_turned_picture_is_measured_and_shown_upright_without_its_metadata() {
    for (bytes, format) in [(sample!("gps.jpg"), Format::Jpeg), (sample!("turned.webp"), Format::Webp)] {
        let inspected = accept(bytes, format);
        // Stored as 300 × 200, to be turned to the right.
        assert_eq!((inspected.width, inspected.height), (Some(200), Some(300)), "{format:?}");
        assert_eq!(thumbnail_size(&inspected), (200, 300));
        assert!(colour(&inspected, 0.9, 0.1)[0] > 200 && colour(&inspected, 0.1, 0.1)[0] < 60, "the upper half is the right one now: {format:?}");
        let thumbnail = inspected.thumbnail.expect("there is a thumbnail");
        for trace in [b"Exif".as_slice(), b"GPS", b"WA-CAMERA", b"XMP", b"ICC_PROFILE"] {
            assert!(!thumbnail.windows(trace.len()).any(|window| window == trace), "{format:?}");
        }
    }
}

#[test]
fn films_of_every_kind_are_measured() {
    for (bytes, format, duration_ms) in [
        (sample!("film.mp4"), Format::Mp4, Some(1500)),
        (sample!("film.3gp"), Format::ThreeGp, Some(1500)),
        (sample!("film.mov"), Format::Mov, Some(1500)),
        (sample!("film.mkv"), Format::Mkv, Some(1500)),
        (sample!("film.webm"), Format::Webm, Some(1500)),
        (sample!("fragments.mp4"), Format::Mp4, None),
        (sample!("live.webm"), Format::Webm, None),
    ] {
        let inspected = accept(bytes, format);
        assert_eq!((inspected.width, inspected.height), (Some(64), Some(48)), "{format:?}");
        let close = inspected.duration_ms.zip(duration_ms).is_none_or(|(found, expected)| found.abs_diff(expected) < 100);
        assert!(close && inspected.duration_ms.is_some() == duration_ms.is_some(), "{format:?}: {:?}", inspected.duration_ms);
    }
    let turned = accept(sample!("turned.mp4"), Format::Mp4);
    assert_eq!((turned.width, turned.height), (Some(48), Some(64)), "a film taken upright");
}

#[test]
fn sounds_of_every_kind_are_timed() {
    for (bytes, format) in [
        (sample!("tone.aac"), Format::Aac),
        (sample!("tone.m4a"), Format::M4a),
        (sample!("tone.ogg"), Format::Ogg),
        (sample!("tone.opus"), Format::Opus),
        (sample!("tone.mp3"), Format::Mp3),
        (sample!("tone.wav"), Format::Wav),
    ] {
        let inspected = accept(bytes, format);
        let duration = inspected.duration_ms.unwrap_or_else(|| panic!("{format:?} has a duration"));
        assert!(duration.abs_diff(1500) < 100, "{format:?}: {duration}");
        assert_eq!((inspected.width, inspected.thumbnail), (None, None), "{format:?}");
    }
}

#[test]
fn sounds_and_films_are_not_taken_for_each_other() {
    for (bytes, declared) in [
        (sample!("tone.m4a"), MediaKind::Video),
        (sample!("film.mp4"), MediaKind::Audio),
        (sample!("film.3gp"), MediaKind::Audio),
        (sample!("tone.webm"), MediaKind::Video),
        (sample!("tone.webm"), MediaKind::Audio),
        (sample!("film.ogv"), MediaKind::Video),
        (sample!("film.ogv"), MediaKind::Audio),
        (sample!("tone.mp3"), MediaKind::Document),
        (sample!("rgb.png"), MediaKind::Document),
    ] {
        assert!(matches!(look(bytes, declared), Err(Refusal::Invalid(_))), "as {declared}");
    }
}
