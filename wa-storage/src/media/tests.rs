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

mod ffmpeg {
    //! FFmpeg absent, hanging, crashing, greedy or making garbage: the film is taken all the same.

    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use tempfile::TempDir;
    use wa_core::ports::MediaInspector as _;

    use super::super::{FfmpegConfig, Inspector, InspectorConfig};
    use super::*;

    fn inspector(program: impl Into<PathBuf>, timeout: Duration, memory: u64) -> Inspector {
        let ffmpeg = FfmpegConfig { program: program.into(), timeout, memory, at_once: 1 };
        Inspector::new(InspectorConfig { ffmpeg: Some(ffmpeg), ..InspectorConfig::default() })
    }

    fn film(folder: &Path) -> PathBuf {
        let path = folder.join("-a film; with a name.mp4");
        std::fs::write(&path, sample!("film.mp4")).expect("a file");
        path
    }

    /// A program that does this.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("ffmpeg");
        let mut file = std::fs::File::create(&path).expect("a file");
        writeln!(file, "#!/bin/sh\n{script}").expect("its content");
        file.set_permissions(std::fs::Permissions::from_mode(0o700)).expect("it can be run");
        path
    }

    /// What becomes of a film while FFmpeg does this.
    async fn film_beside(script: &str, timeout: Duration, memory: u64) -> (Inspected, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let inspector = inspector(program(folder.path(), script), timeout, memory);
        let inspected = inspector.inspect(&film(folder.path()), MediaKind::Video, THUMBNAIL_WIDTH).await.expect("the film is taken");
        assert_eq!((inspected.format, inspected.width, inspected.height), (Format::Mp4, Some(64), Some(48)));
        (inspected, folder)
    }

    const LONG: Duration = Duration::from_secs(60);
    const MUCH: u64 = 1 << 30;

    #[tokio::test]
    async fn a_film_is_taken_without_ffmpeg() {
        let folder = tempfile::tempdir().expect("a folder");
        let inspector = inspector("there-is-no-such-program", LONG, MUCH);
        let inspected = inspector.inspect(&film(folder.path()), MediaKind::Video, THUMBNAIL_WIDTH).await.expect("the film is taken");
        assert_eq!((inspected.width, inspected.thumbnail), (Some(64), None));
    }

    #[tokio::test]
    async fn a_hanging_ffmpeg_is_ended() {
        let (inspected, folder) = film_beside("echo $$ > \"${0%/*}/pid\"; exec sleep 1000", Duration::from_secs(1), MUCH).await;
        assert_eq!(inspected.thumbnail, None);
        let pid = std::fs::read_to_string(folder.path().join("pid")).expect("it ran");
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "it was ended");
    }

    #[tokio::test]
    async fn a_crashing_ffmpeg_leaves_no_thumbnail() {
        assert_eq!(film_beside("kill -SEGV $$", LONG, MUCH).await.0.thumbnail, None);
        assert_eq!(film_beside("exit 1", LONG, MUCH).await.0.thumbnail, None);
    }

    #[tokio::test]
    async fn what_ffmpeg_makes_must_be_a_picture_of_bounded_size() {
        for script in ["exit 0", "echo garbage", "exec yes", "printf '\\211PNG\\r\\n\\032\\n'"] {
            assert_eq!(film_beside(script, LONG, MUCH).await.0.thumbnail, None, "{script}");
        }
    }

    #[tokio::test]
    async fn a_greedy_ffmpeg_gets_no_more_memory_than_its_limit() {
        let greedy = "dd if=/dev/zero of=/dev/null bs=256M count=1 2>/dev/null && : > \"${0%/*}/done\"";
        let (_, folder) = film_beside(greedy, LONG, MUCH).await;
        assert!(folder.path().join("done").exists(), "it can have what is below the limit");
        let (inspected, folder) = film_beside(greedy, LONG, 64 << 20).await;
        assert!(inspected.thumbnail.is_none() && !folder.path().join("done").exists());
    }

    #[tokio::test]
    async fn ffmpeg_gets_the_file_alone_and_no_secrets() {
        let (_, folder) = film_beside("env > \"${0%/*}/env\"; echo \"$@\" > \"${0%/*}/args\"", LONG, MUCH).await;
        let environment = std::fs::read_to_string(folder.path().join("env")).expect("it ran");
        assert!(environment.contains("PATH=") && !environment.contains("CARGO"), "{environment}");
        let arguments = std::fs::read_to_string(folder.path().join("args")).expect("it ran");
        assert!(arguments.contains("-protocol_whitelist file -f mov -i file:/"), "{arguments}");
    }

    #[tokio::test]
    #[ignore = "needs FFmpeg"]
    async fn real_ffmpeg_shows_the_first_frame_of_every_kind_of_film() {
        let ffmpeg = std::env::var("WA_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned());
        let inspector = inspector(ffmpeg, LONG, MUCH);
        let folder = tempfile::tempdir().expect("a folder");
        for (bytes, format) in [
            (sample!("film.mp4"), Format::Mp4),
            (sample!("film.3gp"), Format::ThreeGp),
            (sample!("film.mov"), Format::Mov),
            (sample!("film.mkv"), Format::Mkv),
            (sample!("film.webm"), Format::Webm),
            (sample!("fragments.mp4"), Format::Mp4),
            (sample!("live.webm"), Format::Webm),
        ] {
            let path = folder.path().join(format.extension());
            std::fs::write(&path, bytes).expect("a file");
            let inspected = inspector.inspect(&path, MediaKind::Video, THUMBNAIL_WIDTH).await.expect("the film is taken");
            assert_eq!(inspected.format, format);
            assert_eq!(thumbnail_size(&inspected), (64, 48), "{format:?}");
        }
        let path = folder.path().join("turned");
        std::fs::write(&path, sample!("turned.mp4")).expect("a file");
        let inspected = inspector.inspect(&path, MediaKind::Video, 32).await.expect("the film is taken");
        assert_eq!(thumbnail_size(&inspected), (32, 43), "upright, as it was taken, and as wide as was wanted");
    }
}

mod inspector {
    //! The port: files that cannot be read, and many at once.

    use wa_core::ports::{InspectError, MediaInspector as _};

    use super::super::{Inspector, InspectorConfig};
    use super::*;

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_no_fault_of_its_sender() {
        let inspector = Inspector::new(InspectorConfig { ffmpeg: None, ..InspectorConfig::default() });
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path().join("absent"), folder.path().to_owned()] {
            let refused = inspector.inspect(&path, MediaKind::Image, THUMBNAIL_WIDTH).await;
            assert!(matches!(refused, Err(InspectError::Unavailable(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn more_files_than_turns_wait_for_theirs() {
        let inspector = Inspector::new(InspectorConfig { at_once: 1, ffmpeg: None, ..InspectorConfig::default() });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("picture");
        std::fs::write(&path, sample!("rgb.png")).expect("a file");
        let inspections = (0..20).map(|_| inspector.inspect(&path, MediaKind::Image, THUMBNAIL_WIDTH));
        assert!(futures_util::future::join_all(inspections).await.iter().all(Result::is_ok));
    }
}
