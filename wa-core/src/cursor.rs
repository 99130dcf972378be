//! Opaque places in lists, as clients carry them: of use to their owner and for their list only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::id::UserId;

/// Bytes of the seal that ties a place to its owner and list.
const SEAL: usize = 6;

/// Longer texts are not even decoded.
const LONGEST: usize = 128;

/// Writes a place of this list for this owner.
pub(crate) fn encode(list: &'static [u8], place: &[u8], owner: UserId) -> String {
    let mut bytes = Vec::with_capacity(place.len() + SEAL);
    bytes.extend_from_slice(place);
    bytes.extend_from_slice(&seal(list, place, owner));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads the `N` bytes that [`encode`] wrote for the same list and owner; `None` for a garbled or a foreign cursor.
pub(crate) fn decode<const N: usize>(list: &'static [u8], text: &str, owner: UserId) -> Option<[u8; N]> {
    if text.len() > LONGEST {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (place, sealed) = bytes.split_at_checked(N)?;
    (sealed == seal(list, place, owner)).then(|| place.try_into().ok()).flatten()
}

/// No secret: it catches cursors that were garbled or belong elsewhere, and a forged one opens nothing.
fn seal(list: &'static [u8], place: &[u8], owner: UserId) -> [u8; SEAL] {
    let digest = Sha256::new().chain_update(list).chain_update(owner.as_uuid().as_bytes()).chain_update(place).finalize();
    std::array::from_fn(|index| digest[index])
}
