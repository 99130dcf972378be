//! Small builders of files: chunks of PNG, boxes of MP4, elements of Matroska.

/// CRC-32 as PNG and ZIP have it.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }))
}

/// A chunk of PNG.
pub(super) fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let named = [kind.as_slice(), content].concat();
    [&u32::try_from(content.len()).expect("short").to_be_bytes(), named.as_slice(), &crc(&named).to_be_bytes()].concat()
}

pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The header chunk of a PNG.
pub(super) fn header(width: u32, height: u32, depth: u8, colours: u8, interlaced: bool) -> Vec<u8> {
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colours, 0, 0, u8::from(interlaced)]].concat())
}

/// The compressed pixels of a grey PNG without any light.
pub(super) fn darkness(width: u32, height: u32) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut encoder = png::Encoder::new(&mut whole, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header().expect("a header");
    let mut stream = writer.stream_writer().expect("a stream");
    let row = vec![0; width as usize];
    for _ in 0..height {
        std::io::Write::write_all(&mut stream, &row).expect("a row");
    }
    stream.finish().expect("the end");
    writer.finish().expect("the end");
    // All IDAT chunks, joined.
    let mut rest = &whole[8..];
    let mut pixels = Vec::new();
    while let [a, b, c, d, kind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if kind.starts_with(b"IDAT") {
            pixels.extend_from_slice(&kind[4..4 + length]);
        }
        rest = &rest[12 + length..];
    }
    pixels
}

/// A grey PNG of this size, all dark.
pub(super) fn dark_png(width: u32, height: u32) -> Vec<u8> {
    [PNG, &header(width, height, 8, 0, false), &chunk(b"IDAT", &darkness(width, height)), &chunk(b"IEND", b"")].concat()
}

/// A box of MP4.
pub(super) fn bmff(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(u32::try_from(content.len()).expect("short") + 8).to_be_bytes(), kind.as_slice(), content].concat()
}

/// An element of Matroska, with a length of eight bytes.
pub(super) fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    [id, &lying(content.len() as u64), content].concat()
}

/// A length of Matroska in eight bytes.
pub(super) fn lying(length: u64) -> [u8; 8] {
    (length | 1 << 56).to_be_bytes()
}

/// A file with some of its bytes replaced.
pub(super) fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Where something stands in a file for the first time.
pub(super) fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).expect("it stands there")
}

/// Bytes that look random, the same each time.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}
