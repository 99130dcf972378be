//! Archives and Office documents: OOXML by the content types within the archive (ECMA-376, part 2), the older ones by the
//! streams of the compound file (MS-CFB). What an archive holds is never unpacked, but for the list of content types.

use std::io::{Read, Seek};

use cfb::CompoundFile;
use wa_core::media::Format;
use zip::ZipArchive;

use super::Refusal;
use super::bounded::Bounded;

/// How much of an archive's directory, and of a compound file's tables, is read: room for some 50,000 entries.
const DIRECTORY: u64 = 4 << 20;
/// How long the list of content types may be, unpacked.
const CONTENT_TYPES: u64 = 1 << 20;
/// Deflate cannot shrink further than to 1 in 1032; an archive that claims more counts some of its bytes many times.
const MOST_EXPANSION: u128 = 1032;
/// Small archives of very compressible files stay below this.
const SMALL: u128 = 1 << 20;

const MAIN: &str = "application/vnd.openxmlformats-officedocument.";

/// Tells Office documents and other archives apart.
pub(super) fn zip(file: &mut (impl Read + Seek)) -> Result<Format, Refusal> {
    let length = u128::from(super::bounded::length(file)?);
    let mut archive = ZipArchive::new(Bounded::buffered(file, DIRECTORY)).map_err(refuse)?;
    if archive.decompressed_size().is_some_and(|size| size > length * MOST_EXPANSION + SMALL) {
        return Err(Refusal::TooLarge("This archive would unfold to more than it can hold".to_owned()));
    }
    let has = |archive: &ZipArchive<_>, name: &str| archive.index_for_name(name).is_some();
    if has(&archive, "META-INF/MANIFEST.MF") || has(&archive, "AndroidManifest.xml") || has(&archive, "classes.dex") {
        return Err(Refusal::invalid("Programs are not accepted"));
    }
    if has(&archive, "mimetype") {
        return Err(Refusal::invalid("OpenDocument and EPUB files are not accepted; save the document as PDF, DOCX, XLSX or PPTX"));
    }
    if !has(&archive, "[Content_Types].xml") {
        return Ok(Format::Zip);
    }
    if archive.file_names_raw().any(|name| name.ends_with(b"vbaProject.bin")) {
        return Err(Refusal::invalid("Office documents with macros are not accepted"));
    }
    let mut types = String::new();
    let part = archive.by_name("[Content_Types].xml").map_err(refuse)?;
    part.take(CONTENT_TYPES).read_to_string(&mut types).map_err(|_| Refusal::broken("Office document"))?;
    let main = |name: &str| types.contains(&format!("{MAIN}{name}.main+xml"));
    let candidates = [
        (Format::Docx, "wordprocessingml.document", "word/document.xml"),
        (Format::Xlsx, "spreadsheetml.sheet", "xl/workbook.xml"),
        (Format::Pptx, "presentationml.presentation", "ppt/presentation.xml"),
    ];
    // Documents hold others of their own kind at most; the main part has its usual name in all but a few.
    let typed = candidates.iter().find(|(_, name, _)| main(name));
    typed
        .or_else(|| candidates.iter().find(|(_, _, part)| has(&archive, part) && !types.contains("macroEnabled")))
        .map(|(format, _, _)| *format)
        .ok_or_else(|| Refusal::invalid("Of Office documents DOCX, XLSX and PPTX are accepted; this is another one"))
}

fn refuse(error: zip::result::ZipError) -> Refusal {
    match error {
        zip::result::ZipError::Io(error) => error.into(),
        _ => Refusal::broken("ZIP archive or Office document"),
    }
}

/// Tells the older Office documents apart.
pub(super) fn compound(file: &mut (impl Read + Seek)) -> Result<Format, Refusal> {
    let document = CompoundFile::open(Bounded::buffered(file, DIRECTORY))?;
    if document.is_stream("/EncryptedPackage") {
        return Err(Refusal::invalid("Office documents with a password are not accepted; put it into a ZIP archive"));
    }
    let candidates = [(Format::Doc, "/WordDocument"), (Format::Xls, "/Workbook"), (Format::Xls, "/Book"), (Format::Ppt, "/PowerPoint Document")];
    candidates
        .iter()
        .find(|(_, stream)| document.is_stream(stream))
        .map(|(format, _)| *format)
        .ok_or_else(|| Refusal::invalid("Of such files DOC, XLS and PPT documents are accepted; this is another one"))
}
