//! The signature of a request: HMAC-SHA1 over the values of all fields in the order of their names, then the body (RocketMQ: `AclUtils`, `AclSigner`).
//!
//! The code, the time and a counter are not in it, so a frame that was seen can be sent again. Only a link that nobody listens to prevents that.
//!
//! RustCrypto's `hmac` and `sha1`: they use the SHA instructions where the processor has them, a key with its two pads already hashed is a plain value that is copied
//! for a request, and there is no C to build.

use std::cmp::Ordering;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::Credentials;
use crate::wire::{Ext, Header, Value};

pub const ACCESS_KEY: &str = "AccessKey";
pub const SIGNATURE: &str = "Signature";

/// Left out by clients up to 4.9.3 (RocketMQ: `V4_9_3`).
const UNIQUE_KEY_QUERY: &str = "_UNIQUE_KEY_QUERY";
const VERSION_4_9_3: i32 = 399;

/// Java's client with a zone adds them after it has signed. Nothing here believes them.
const ZONE: [&str; 2] = ["__ZONE_NAME", "__ZONE_MODE"];

/// No client sends a quarter of it; sorting more would take long.
const MAX_FIELDS: usize = 256;

/// Requests have some 15.
const USUAL_FIELDS: usize = 32;

/// Of a body, hashed in one turn: a fraction of a millisecond. The fields before it are hashed in one turn, whatever they have: usual ones some hundred bytes, those of the
/// largest header 2 MiB, which takes some milliseconds.
const SLICE_BYTES: usize = 256 << 10;

const MAC_BYTES: usize = 20;

/// Of the text that is sent.
pub const SIGNATURE_BYTES: usize = MAC_BYTES.div_ceil(3) * 4;

/// A secret, ready to check and to sign.
#[derive(Clone)]
pub struct Key(Hmac<Sha1>);

impl Key {
    pub fn new(secret: &str) -> Self {
        let mac = Hmac::new_from_slice(secret.as_bytes());
        Self(mac.expect("a key may have any length"))
    }
}

/// The check of one request's signature, which takes several turns if the body is large.
pub struct Check {
    mac: Hmac<Sha1>,
    /// Of the body.
    hashed: usize,
    leaves_out_zone: bool,
    /// Not all fields were hashed: the outcome is no.
    is_void: bool,
}

impl Check {
    pub fn begin(key: &Key, header: &Header<'_>) -> Self {
        Self::of(key, header, false)
    }

    fn of(key: &Key, header: &Header<'_>, leaves_out_zone: bool) -> Self {
        let mut mac = key.0.clone();
        let is_whole = each_value(header, leaves_out_zone, |value| {
            mac.update(value.as_bytes())
        });
        Self {
            mac,
            hashed: 0,
            leaves_out_zone,
            is_void: !is_whole,
        }
    }

    /// Hashes more of the body; `None`: there is more to do.
    pub fn go_on(&mut self, key: &Key, header: &Header<'_>, body: &[u8]) -> Option<bool> {
        let rest = body.get(self.hashed..).unwrap_or_default();
        let slice = &rest[..rest.len().min(SLICE_BYTES)];
        self.mac.update(slice);
        self.hashed += slice.len();
        if slice.len() < rest.len() {
            return None;
        }
        if self.is_right(header) {
            return Some(true);
        }
        let has_zone = || ZONE.iter().any(|name| header.ext.find(name).is_some());
        if self.leaves_out_zone || !has_zone() {
            return Some(false);
        }
        *self = Self::of(key, header, true);
        self.go_on(key, header, body)
    }

    /// In a time that does not depend on where the two differ.
    fn is_right(&self, header: &Header<'_>) -> bool {
        let text = header.ext.find(SIGNATURE).unwrap_or_default();
        let mut given = [0; MAC_BYTES + 4];
        let decoded = BASE64_STANDARD.decode_slice(text, &mut given);
        let given = &given[..decoded.unwrap_or(0)];
        let is_equal = self.mac.clone().verify_slice(given).is_ok();
        is_equal && !self.is_void
    }
}

/// Passes on the values that are signed; `false`: there are too many.
fn each_value(header: &Header<'_>, leaves_out_zone: bool, mut take: impl FnMut(&str)) -> bool {
    let is_signed = |key: &str| match key {
        SIGNATURE => false,
        UNIQUE_KEY_QUERY => header.version > VERSION_4_9_3,
        key => !(leaves_out_zone && ZONE.contains(&key)),
    };
    let signed = || header.ext.iter().filter(|(key, _)| is_signed(key));
    let (mut few, mut many);
    let fields: &mut [(&str, &str)] = match signed().take(MAX_FIELDS + 1).count() {
        count if count > MAX_FIELDS => return false,
        count if count > USUAL_FIELDS => {
            many = signed().collect::<Vec<_>>();
            &mut many
        }
        count => {
            few = [("", ""); USUAL_FIELDS];
            for (slot, field) in few.iter_mut().zip(signed()) {
                *slot = field;
            }
            &mut few[..count]
        }
    };
    // Stable: of a key that was sent twice the last value counts, as in Java's map. Most keys differ in their first byte.
    match fields.iter().all(|(key, _)| key.is_ascii()) {
        true => fields.sort_by(|(left, _), (right, _)| {
            let (left, right) = (left.as_bytes(), right.as_bytes());
            left.first()
                .cmp(&right.first())
                .then_with(|| left.cmp(right))
        }),
        false => fields.sort_by(|left, right| utf_16_order(left.0, right.0)),
    }
    for (index, (key, value)) in fields.iter().enumerate() {
        let next = fields.get(index + 1);
        if next.is_none_or(|(next, _)| next != key) {
            take(value);
        }
    }
    true
}

/// As `String.compareTo`. Of ASCII it is the order of the bytes.
fn utf_16_order(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

/// Signs requests of our own.
#[derive(Clone)]
pub struct Signer {
    name: String,
    key: Key,
}

impl Signer {
    pub fn new(credentials: &Credentials) -> Self {
        Self {
            name: credentials.name.clone(),
            key: Key::new(credentials.secret.reveal()),
        }
    }

    /// The fields of a request with those that sign it, and of what they are made.
    pub fn signed<'a>(
        &'a self,
        ext: &[(&'a str, Value<'a>)],
        body: &[u8],
        signature: &'a mut String,
    ) -> Vec<(&'a str, Value<'a>)> {
        *signature = self.sign(ext, body);
        self.with_signature(ext, signature)
    }

    /// The fields of a request with those that sign it.
    pub fn with_signature<'a>(
        &'a self,
        ext: &[(&'a str, Value<'a>)],
        signature: &'a str,
    ) -> Vec<(&'a str, Value<'a>)> {
        let own = [
            (ACCESS_KEY, Value::Str(&self.name)),
            (SIGNATURE, Value::Str(signature)),
        ];
        ext.iter().copied().chain(own).collect()
    }

    /// The value of the field `Signature` for a request with these fields, which is sent with the name in `AccessKey`.
    pub fn sign(&self, ext: &[(&str, Value<'_>)], body: &[u8]) -> String {
        BASE64_STANDARD.encode(self.mac(self.content(ext).as_bytes(), body))
    }

    /// The same for a request with these [`Self::content`] and body.
    pub fn sign_content(&self, content: &[u8], body: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut text = [0; SIGNATURE_BYTES];
        let written = BASE64_STANDARD.encode_slice(self.mac(content, body), &mut text);
        debug_assert_eq!(written, Ok(SIGNATURE_BYTES));
        text
    }

    /// What is signed of the fields of a request.
    pub fn content(&self, ext: &[(&str, Value<'_>)]) -> String {
        let texts = ext.iter().filter_map(|(key, value)| {
            let text = match value {
                Value::Absent => return None,
                Value::Str(text) => (*text).to_owned(),
                Value::I64(number) => number.to_string(),
                Value::Bool(is_true) => is_true.to_string(),
            };
            Some((*key, text))
        });
        let own = (ACCESS_KEY, self.name.clone());
        let mut fields: Vec<_> = texts.chain([own]).collect();
        fields.sort_by(|left, right| utf_16_order(left.0, right.0));
        fields.into_iter().map(|(_, text)| text).collect()
    }

    fn mac(&self, content: &[u8], body: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.key.0.clone();
        mac.update(content);
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

/// The name that a request states.
pub fn name_of<'a>(ext: &Ext<'a>) -> Option<&'a str> {
    ext.find(ACCESS_KEY)
}

/// The fields of a request with those that sign it, if whoever sends it has credentials.
pub fn signed<'a>(
    signer: Option<&'a Signer>,
    ext: &[(&'a str, Value<'a>)],
    body: &[u8],
    signature: &'a mut String,
) -> Vec<(&'a str, Value<'a>)> {
    match signer {
        Some(signer) => signer.signed(ext, body, signature),
        None => ext.to_vec(),
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
