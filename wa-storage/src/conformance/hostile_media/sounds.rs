//! Sounds whose lengths lie, whose ends are missing, or which are none.

use wa_core::media::{Format, MediaKind};

use super::bytes::{find, noise, patched};
use super::{Corpus, Fate, sample};

pub(super) fn add(corpus: &mut Corpus) {
    // What is left of these plays; only what is too short to tell is refused.
    for (name, bytes, format) in [
        ("MP3 cut short", sample!("tone.mp3"), Format::Mp3),
        ("AAC cut short", sample!("tone.aac"), Format::Aac),
        ("WAV cut short", sample!("tone.wav"), Format::Wav),
        ("OGG cut short", sample!("tone.ogg"), Format::Ogg),
        ("OPUS cut short", sample!("tone.opus"), Format::Opus),
    ] {
        corpus.cut(name, MediaKind::Audio, Fate::RefusedOrHarmless(format), bytes);
    }
    corpus.cut("M4A cut short", MediaKind::Audio, Fate::Refused, sample!("tone.m4a"));
    let wav = sample!("tone.wav");
    let format = find(wav, b"fmt ") + 8;
    let data = find(wav, b"data") + 4;
    for (name, bytes) in [
        ("script behind WAV magic", [b"RIFF\x40\0\0\0WAVE".as_slice(), b"<script>alert(1)</script>", &[b' '; 60]].concat()),
        ("WAV without channels", patched(wav, format + 2, &[0, 0])),
        ("WAV of no rate", patched(wav, format + 4, &[0; 4])),
        ("WAV of no bytes in a second", patched(wav, format + 8, &[0; 4])),
        ("WAV format of two bytes", patched(wav, format - 4, &[2, 0, 0, 0])),
        ("WAV chunk longer than the file", patched(wav, format - 4, &[0xFF; 4])),
        ("WAV without samples", wav[..data + 4].to_vec()),
        ("WAV of 1,000 empty chunks", [&wav[..12], &b"junk\0\0\0\0".repeat(1000)].concat()),
        ("MP3 tag alone", [b"ID3\x04\0\0\0\0\x01\0".as_slice(), &[0; 400]].concat()),
        ("MP3 tag longer than the file", [b"ID3\x04\0\0\x7f\x7f\x7f\x7f".as_slice(), &[0; 400]].concat()),
        ("MP3 tag with a wrong length", [b"ID3\x04\0\0\xff\xff\xff\xff".as_slice(), &[0; 400]].concat()),
        ("MP3 tags without an end", b"ID3\x04\0\0\0\0\0\0".repeat(1000)),
        ("script behind an MP3 tag", [b"ID3\x04\0\0\0\0\0\0".as_slice(), b"<script>alert(1)</script>"].concat()),
        ("program behind an MP3 tag", [b"ID3\x04\0\0\0\0\0\0MZ\x90\0".as_slice(), &[0; 4000]].concat()),
        ("MP3 frame without a second one", [b"\xff\xfb\x90\x64".as_slice(), &[0; 10_000]].concat()),
        ("MP3 of sync bytes alone", vec![0xFF; 10_000]),
        ("MPEG layer 2", [b"\xff\xfd\x90\x64".as_slice(), &[0; 10_000]].concat()),
        ("AAC frame of no length", [b"\xff\xf1\x50\x80\0\x1f\xfc".as_slice(), &[0; 10_000]].concat()),
        ("OGG of noise", [b"OggS\0\x02".as_slice(), &noise(4000)].concat()),
        ("OGG of another codec", patched(sample!("tone.opus"), find(sample!("tone.opus"), b"OpusHead"), b"FishHead")),
        ("OGG page longer than the file", patched(&sample!("tone.ogg")[..60], 26, &[255])),
        ("OGG of beginnings alone", sample!("tone.opus")[..47].repeat(200)),
        ("OPUS without channels", patched(sample!("tone.opus"), find(sample!("tone.opus"), b"OpusHead") + 9, &[0])),
    ] {
        corpus.audio(name, Fate::Refused, bytes);
    }
    for (name, bytes) in [("WAV that claims 4 GB", patched(wav, data, &[0xFF; 4])), ("WAV that claims nothing", patched(wav, data, &[0; 4]))] {
        corpus.audio(name, Fate::Harmless(Format::Wav), bytes);
    }
    let opus = sample!("tone.opus");
    let last = opus.len() - opus.windows(4).rev().position(|window| window == b"OggS").expect("it has pages") - 4;
    corpus.audio("OPUS of 12 million years", Fate::Harmless(Format::Opus), patched(opus, last + 6, &[0xFE; 8]));
    corpus.audio("OPUS that never ends", Fate::Harmless(Format::Opus), [&opus[..last], &noise(200_000)].concat());
    corpus.audio("MP3 and program in one", Fate::Harmless(Format::Mp3), [sample!("tone.mp3"), b"MZ\x90\0", &noise(400)].concat());
    corpus.audio("MP3 and ZIP archive in one", Fate::Harmless(Format::Mp3), [sample!("tone.mp3"), b"PK\x05\x06", &[0; 18]].concat());
}
