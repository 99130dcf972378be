//! Archives and Office documents that unfold to more than they hold, run something, or are not what they say.

use std::io::{Cursor, Write as _};

use wa_core::media::{Format, MediaKind};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::bytes::{dark_png, find, noise, patched};
use super::{Corpus, Fate};

/// An archive of these files.
pub(super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated)).expect("a file");
        writer.write_all(content).expect("its content");
    }
    writer.finish().expect("the end").into_inner()
}

/// An Office document whose main part is of this type.
fn office(main: &str, part: &str) -> Vec<u8> {
    let types = format!("<Types><Override PartName=\"/{part}\" ContentType=\"{main}\"/></Types>");
    archive(&[("[Content_Types].xml", types.as_bytes()), ("_rels/.rels", b"<Relationships/>"), (part, b"<main/>")])
}

/// A compound file of these streams.
fn compound(streams: &[&str]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).expect("a compound file");
    for name in streams {
        file.create_stream(name).expect("a stream").write_all(&[7; 5000]).expect("its content");
    }
    file.flush().expect("the end");
    file.into_inner().into_inner()
}

/// Good documents of every kind, by their formats.
#[must_use]
pub(super) fn good_documents() -> Vec<(Format, Vec<u8>)> {
    const MAIN: &str = "application/vnd.openxmlformats-officedocument";
    vec![
        (Format::Zip, archive(&[("a.txt", b"a text"), ("folder/b.png", &dark_png(8, 8))])),
        (Format::Zip, archive(&[])),
        (Format::Docx, office(&format!("{MAIN}.wordprocessingml.document.main+xml"), "word/document.xml")),
        (Format::Docx, office(&format!("{MAIN}.wordprocessingml.document.main+xml"), "word/document2.xml")),
        (Format::Xlsx, office(&format!("{MAIN}.spreadsheetml.sheet.main+xml"), "xl/workbook.xml")),
        (Format::Pptx, office(&format!("{MAIN}.presentationml.presentation.main+xml"), "ppt/presentation.xml")),
        (Format::Doc, compound(&["/WordDocument", "/1Table", "/Data"])),
        (Format::Xls, compound(&["/Workbook"])),
        (Format::Xls, compound(&["/Book"])),
        (Format::Ppt, compound(&["/PowerPoint Document", "/Current User"])),
        (Format::Pdf, b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n".to_vec()),
        (Format::Txt, b"A text.\nIn two lines, one with a comma.\n".to_vec()),
        (Format::Txt, "Ein Text in UTF-8: größer, 大きい".into()),
        (Format::Txt, b"Ein Text in Latin-1: gr\xf6\xdfer".to_vec()),
        (Format::Txt, b"\xff\xfeT\0e\0x\0t\0".to_vec()),
        (Format::Csv, b"name;sum\r\n\"one; two\";2\r\nthree;3\r\n".to_vec()),
        (Format::Csv, "name\tsum\nöne\t1\n".into()),
    ]
}

pub(super) fn add(corpus: &mut Corpus) {
    for (_, bytes) in good_documents() {
        for declared in [MediaKind::Image, MediaKind::Video, MediaKind::Audio] {
            corpus.add("good document as something else", declared, Fate::Refused, bytes.clone());
        }
    }
    let zip = archive(&[("a.txt", &noise(300)), ("b.txt", &noise(300))]);
    let directory = find(&zip, b"PK\x01\x02");
    let end = find(&zip, b"PK\x05\x06");
    corpus.cut("ZIP cut short", MediaKind::Document, Fate::Refused, &zip[..end + 10]);
    for (name, bytes) in [
        ("ZIP of noise", [b"PK\x03\x04".as_slice(), &noise(4000)].concat()),
        ("ZIP whose directory lies outside", patched(&zip, end + 16, &[0xFF, 0xFF, 0xFF, 0x7F])),
        ("ZIP with a directory of 65,535 files that are not there", patched(&zip, end + 8, &[0xFF, 0xFF, 0xFF, 0xFF])),
        ("ZIP with more files than are looked through", {
            let entry = [&zip[directory..directory + 28], &[1, 0], &zip[directory + 30..directory + 46], b"a"].concat();
            let count = 120_000_u64;
            let length = entry.len() as u64 * count;
            let start = directory as u64;
            let large = [
                b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0".as_slice(),
                &count.to_le_bytes(),
                &count.to_le_bytes(),
                &length.to_le_bytes(),
                &start.to_le_bytes(),
                b"PK\x06\x07\0\0\0\0",
                &(start + length).to_le_bytes(),
                b"\x01\0\0\0PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0",
            ];
            [&zip[..directory], &entry.repeat(120_000), &large.concat()].concat()
        }),
        ("ZIP behind a web page", [b"<html><script>alert(1)</script>".as_slice(), &zip].concat()),
        ("ZIP behind a program", [b"MZ\x90\0".as_slice(), &noise(100), &zip].concat()),
        ("Java program", archive(&[("META-INF/MANIFEST.MF", b"Main-Class: Evil"), ("Evil.class", b"\xca\xfe\xba\xbe")])),
        ("Android program", archive(&[("AndroidManifest.xml", b"\x03\0\x08\0"), ("classes.dex", b"dex\n035\0")])),
        ("OpenDocument text", archive(&[("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", b"<a/>")])),
        ("book in EPUB", archive(&[("mimetype", b"application/epub+zip"), ("META-INF/container.xml", b"<a/>")])),
        ("Word document with macros", office("application/vnd.ms-word.document.macroEnabled.main+xml", "word/document.xml")),
        ("Word document with hidden macros", {
            let types = b"<Types><Override PartName=\"/word/document.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml\"/></Types>";
            archive(&[("[Content_Types].xml", types), ("word/document.xml", b"<a/>"), ("word/vbaProject.bin", b"\xd0\xcf\x11\xe0")])
        }),
        ("Excel table with macros", office("application/vnd.ms-excel.sheet.macroEnabled.main+xml", "xl/workbook.xml")),
        ("Visio drawing", office("application/vnd.ms-visio.drawing.main+xml", "visio/document.xml")),
        ("Office document of no type", archive(&[("[Content_Types].xml", b"<Types/>"), ("a.xml", b"<a/>")])),
        ("Office document whose types are no text", archive(&[("[Content_Types].xml", &[0xFF; 100]), ("word/document.xml", b"<a/>")])),
        ("Office document whose types unfold to 20 MB", archive(&[("[Content_Types].xml", &vec![b' '; 20 << 20])])),
        ("compound file without streams", compound(&[])),
        ("Windows installer", compound(&["/_StringData", "/SummaryInformation"])),
        ("mail of Outlook", compound(&["/__properties_version1.0"])),
        ("Office document with a password", compound(&["/EncryptedPackage", "/EncryptionInfo"])),
        ("compound file of noise", [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &noise(4000)].concat()),
        ("compound file with sectors of 2 GB", patched(&compound(&["/WordDocument"]), 30, &[31, 0])),
        ("compound file whose table refers to itself", {
            let file = compound(&["/WordDocument"]);
            // Every entry of the first table is made to name the sector of the directory.
            let sector = u32::from_le_bytes([file[76], file[77], file[78], file[79]]) as usize;
            let table = (sector + 1) << u16::from_le_bytes([file[30], file[31]]);
            patched(&file, table, &file[48..52].repeat(100))
        }),
    ] {
        corpus.document(name, Fate::Refused, bytes);
    }
    corpus.cut("compound file cut short", MediaKind::Document, Fate::Refused, &compound(&["/WordDocument"])[..4000]);
    let sizes = |size: u32| patched(&zip, directory + 24, &size.to_le_bytes());
    corpus.document("ZIP that claims to unfold to 4 GB", Fate::TooLarge, sizes(u32::MAX - 1));
    corpus.document("ZIP whose files share their bytes", Fate::TooLarge, {
        // One well-packed file, listed many times.
        let bomb = archive(&[("a", &vec![0; 4 << 20])]);
        let directory = find(&bomb, b"PK\x01\x02");
        let end = find(&bomb, b"PK\x05\x06");
        let entry = &bomb[directory..end];
        let entries: Vec<u8> = (0..200_u8).flat_map(|number| patched(entry, 46, &[number.wrapping_add(b'a')])).collect();
        let length = u32::try_from(entries.len()).expect("short").to_le_bytes();
        [&bomb[..directory], &entries, &patched(&patched(&bomb[end..], 8, &[200, 0, 200, 0]), 12, &length)].concat()
    });
    let inner = archive(&[("zeros", &vec![0; 8 << 20])]);
    for (name, bytes) in [
        ("ZIP in a ZIP in a ZIP", (0..5).fold(inner.clone(), |inner, _| archive(&[("a.zip", &inner), ("b.zip", &inner)]))),
        ("ZIP of zeros", inner),
        ("ZIP with names that climb up", archive(&[("../../../etc/cron.d/evil", b"* * * * * root id"), ("/etc/passwd", b"a")])),
        ("ZIP with a program", archive(&[("photo.jpg.exe", b"MZ\x90\0")])),
        ("ZIP and script in one", [zip.as_slice(), b"<script>alert(1)</script>"].concat()),
    ] {
        let fate = if name.starts_with("ZIP and") { Fate::RefusedOrHarmless(Format::Zip) } else { Fate::Harmless(Format::Zip) };
        corpus.document(name, fate, bytes);
    }
    let pdf = b"%PDF-1.7\n1 0 obj\n<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>\nendobj\n%%EOF";
    corpus.document("PDF with a script", Fate::Harmless(Format::Pdf), pdf.as_slice());
    corpus.document("PDF and ZIP archive in one", Fate::Harmless(Format::Pdf), [pdf.as_slice(), &zip].concat());
    corpus.document("PDF of another version than there is", Fate::Refused, b"%PDF-evil\n".as_slice());
    corpus.document("PDF behind a script", Fate::Refused, [b"<script>alert(1)</script>\n".as_slice(), pdf].concat());
}
