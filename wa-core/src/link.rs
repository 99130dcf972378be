//! Addresses of files on this server: the stable one of a picture of a user or group, and the signed, expiring ones of
//! files in the local store.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::id::MediaId;
use crate::media::ObjectKey;
use crate::ports::{Disposition, Presign};
use crate::time::Timestamp;

/// Where the pictures of users and groups are, below the server's own address.
const AVATARS: &str = "/api/v1/media/avatars/";

/// Where files of the local store are, below the server's own address.
pub const FILES: &str = "/media/files/";

/// Where people reach this server, for addresses that leave it. Kept are addresses below it, so that they stay good when the
/// server moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    base: String,
}

impl Links {
    /// Below this address, such as `https://chat.example.org`; an empty one leaves addresses relative to the server's root.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    /// The kept address of a picture as it leaves the server: whole, if the picture is here. Other addresses are as users gave
    /// them.
    #[must_use]
    pub fn absolute(&self, kept: &str) -> String {
        if avatar_of(kept).is_some() { format!("{}{kept}", self.base) } else { kept.to_owned() }
    }

    /// An address as it is kept: one that was given out by [`Self::absolute`] loses what was put before it.
    #[must_use]
    pub fn kept<'a>(&self, address: &'a str) -> &'a str {
        match address.strip_prefix(self.base.as_str()) {
            Some(path) if avatar_of(path).is_some() => path,
            _ => address,
        }
    }
}

/// The kept address of a picture of a user or group. It does not expire, and works without a token, as in an `<img>`: whoever
/// may see the picture is told it, and nobody can guess it.
#[must_use]
pub fn avatar_path(id: MediaId) -> String {
    format!("{AVATARS}{id}")
}

/// The inverse of [`avatar_path`]; `None` for any other address.
#[must_use]
pub fn avatar_of(kept: &str) -> Option<MediaId> {
    kept.strip_prefix(AVATARS)?.parse().ok()
}

/// What a browser is told to do with a file, as the header `Content-Disposition` says it (RFC 6266, with RFC 8187 for names
/// beyond ASCII).
#[must_use]
pub fn content_disposition(disposition: &Disposition) -> String {
    let Disposition::Attachment(name) = disposition else { return "inline".to_owned() };
    let plain: String = name.chars().map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' }).collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != *name {
        text.push_str("; filename*=UTF-8''");
        text.push_str(&encoded_name(name));
    }
    text
}

/// A name as an extended parameter of a header takes it (RFC 8187, section 3.2.1).
#[must_use]
pub fn encoded_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// A file that a signed address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    /// Its object.
    pub key: ObjectKey,
    /// What a browser does with it.
    pub disposition: Disposition,
    /// When the address expires.
    pub expires_at: Timestamp,
}

/// Signs addresses of local files, and tells those it signed from others. An address is good for one object, one way to
/// show it, and until one second; whoever changes any of that must sign anew.
#[derive(Clone)]
pub struct FileSigner {
    key: [u8; 32],
    links: Arc<Links>,
}

impl fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileSigner")
    }
}

impl FileSigner {
    /// Signs with this key.
    #[must_use]
    pub const fn new(key: [u8; 32], links: Arc<Links>) -> Self {
        Self { key, links }
    }

    /// The key that follows from a secret which signs other things.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn key_of(secret: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(b"addresses of files");
        mac.finalize().into_bytes().into()
    }

    fn mac(&self, key: &ObjectKey, expires: &str, name: Option<&str>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        // No part but the last can hold a line break, so that no two addresses have one text.
        let text = format!("file\n{key}\n{expires}\n{}", name.map_or_else(|| "inline".to_owned(), |name| format!("attachment\n{name}")));
        mac.update(text.as_bytes());
        mac
    }

    /// The address of an object.
    #[must_use]
    pub fn sign(&self, key: &ObjectKey, how: &Presign, now: Timestamp) -> String {
        let expires = now.after(how.ttl).as_secs().to_string();
        let name = match &how.disposition {
            Disposition::Inline => None,
            Disposition::Attachment(name) => Some(name.as_str()),
        };
        let signature = URL_SAFE_NO_PAD.encode(self.mac(key, &expires, name).finalize().into_bytes());
        let mut address = format!("{}{FILES}{key}?exp={expires}", self.links.base);
        if let Some(name) = name {
            address.push_str("&name=");
            address.push_str(&URL_SAFE_NO_PAD.encode(name));
        }
        address.push_str("&sig=");
        address.push_str(&signature);
        address
    }

    /// What an address names, if it was signed here and has not expired. `path` is what stands behind [`FILES`]. Every part is
    /// taken as it stands, so that an address has one spelling.
    #[must_use]
    pub fn verify(&self, path: &str, query: &str, now: Timestamp) -> Option<SignedFile> {
        let key: ObjectKey = path.parse().ok()?;
        let mut parts = query.split('&');
        let expires = parts.next()?.strip_prefix("exp=")?;
        let mut signature = parts.next()?;
        let mut name = None;
        if let Some(encoded) = signature.strip_prefix("name=") {
            name = Some(String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?);
            signature = parts.next()?;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature.strip_prefix("sig=")?).ok()?;
        if parts.next().is_some() {
            return None;
        }
        self.mac(&key, expires, name.as_deref()).verify_slice(&signature).ok()?;
        let expires_at = Timestamp::from_millis(expires.parse::<i64>().ok()?.checked_mul(1000)?);
        let disposition = name.map_or(Disposition::Inline, Disposition::Attachment);
        (now < expires_at).then_some(SignedFile { key, disposition, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::Format;

    fn key() -> ObjectKey {
        ObjectKey::Original("018f3f6e-7b1c-7c4e-8a57-0242ac120002".parse().expect("a UUID"), Format::Jpeg)
    }

    fn signer() -> FileSigner {
        FileSigner::new([7; 32], Arc::new(Links::new("https://chat.example.org/")))
    }

    fn signed(disposition: Disposition) -> (String, String) {
        let url = signer().sign(&key(), &Presign { ttl: Duration::from_secs(60), disposition }, Timestamp::from_millis(1_000_000));
        let rest = url.strip_prefix("https://chat.example.org/media/files/").expect("is absolute");
        let (path, query) = rest.split_once('?').expect("has a query");
        (path.to_owned(), query.to_owned())
    }

    #[test]
    fn a_signed_address_is_good_until_it_expires() {
        for disposition in [Disposition::Inline, Disposition::Attachment("Rechnung & Ännex\n.pdf".to_owned())] {
            let (path, query) = signed(disposition.clone());
            let verify = |millis| signer().verify(&path, &query, Timestamp::from_millis(millis));
            let file = SignedFile { key: key(), disposition, expires_at: Timestamp::from_millis(1_060_000) };
            assert_eq!(verify(1_000_000), Some(file.clone()));
            assert_eq!(verify(1_059_999), Some(file));
            assert_eq!(verify(1_060_000), None);
        }
    }

    #[test]
    fn any_change_of_an_address_is_refused() {
        let now = Timestamp::from_millis(1_000_000);
        for disposition in [Disposition::Inline, Disposition::Attachment("a.pdf".to_owned())] {
            let (path, query) = signed(disposition);
            let whole = format!("{path}?{query}");
            for index in 0..whole.len() {
                for byte in *b"0aZ/&=?-_.%+ " {
                    let mut changed = whole.clone().into_bytes();
                    if changed[index] == byte {
                        continue;
                    }
                    changed[index] = byte;
                    let changed = String::from_utf8(changed).expect("ASCII");
                    let (path, query) = changed.split_once('?').unwrap_or((&changed, ""));
                    assert_eq!(signer().verify(path, query, now), None, "{changed}");
                }
            }
            let (expires, signature) = query.rsplit_once('&').expect("has parts");
            for query in [
                String::new(),
                format!("{query}&"),
                format!("{query}&x=1"),
                format!("{signature}&{expires}"),
                format!("{query}="),
                format!("exp=9999999999&{query}"),
                format!("{query}&exp=9999999999"),
                expires.to_owned(),
                format!("{expires}&name=YS5odG1s&{signature}"),
            ] {
                assert_eq!(signer().verify(&path, &query, now), None, "{query}");
            }
        }
        let (path, query) = signed(Disposition::Inline);
        assert_eq!(FileSigner::new([8; 32], Arc::default()).verify(&path, &query, now), None, "another key");
        assert_eq!(signer().verify(&path.replace("originals", "thumbnails"), &query, now), None);
    }

    #[test]
    fn a_name_reaches_the_browser_and_nothing_else_does() {
        let of = |name: &str| content_disposition(&Disposition::Attachment(name.to_owned()));
        assert_eq!(content_disposition(&Disposition::Inline), "inline");
        assert_eq!(of("a b.pdf"), "attachment; filename=\"a b.pdf\"");
        assert_eq!(of("Ä.pdf"), "attachment; filename=\"_.pdf\"; filename*=UTF-8''%C3%84.pdf");
        assert_eq!(of("a\";x=\"\r\n.pdf"), "attachment; filename=\"a_;x=___.pdf\"; filename*=UTF-8''a%22%3Bx%3D%22%0D%0A.pdf");
    }

    #[test]
    fn only_pictures_of_this_server_are_kept_without_its_address() {
        let (links, id) = (Links::new("http://here:1"), key().media_id());
        let path = avatar_path(id);
        assert_eq!(avatar_of(&path), Some(id));
        assert_eq!(links.absolute(&path), format!("http://here:1{path}"));
        assert_eq!(links.kept(&links.absolute(&path)), path);
        for other in ["", "https://elsewhere/a.png", "http://here:1/a.png", "http://here:12/api/v1/media/avatars/x"] {
            assert_eq!((links.kept(other), avatar_of(other)), (other, None));
        }
        for other in ["https://elsewhere/a.png", "/a.png", ""] {
            assert_eq!(links.absolute(other), other);
        }
    }
}
