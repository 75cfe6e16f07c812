//! Send requests that are encoded once and then only patched: the load generator must not cost more than the broker.
//!
//! What differs from one request to the next stands at a fixed place with a fixed width: the opaque (ten digits in
//! JSON, so it starts at 1,000,000,000), the born timestamp (thirteen digits until the year 2286), the last sixteen
//! hex digits of the unique key, sixteen bytes of stamp at the start of the body, and the signature, if there is one.

use crate::auth::{SIGNATURE_BYTES, Signer};
use crate::wire::codes::request;
use crate::wire::send::SendRequest;
use crate::wire::{Codec, Head, frame};

pub const OPAQUE_BASE: i32 = 1_000_000_000;
pub const OPAQUE_SPAN: u64 = 1_000_000_000;

/// Marks a body as stamped; what follows is the intended send time.
const STAMP_MAGIC: [u8; 8] = *b"ringmqB\x01";
pub const STAMP_BYTES: usize = 16;

/// Values that occur nowhere else in a request, to find their places by.
const OPAQUE_MARK: i32 = 1_087_654_321;
const BORN_MARK: i64 = 1_234_567_654_321;
const KEY_MARK: &str = "FEDCBA9876543210";
/// As long as a signature.
const SIGNATURE_MARK: &str = "SIGNATURESIGNATURESIGNATURES";

const BINARY_OPAQUE_AT: usize = 8 + 5;

/// What the requests of one run have in common.
pub struct Common<'a> {
    pub codec: Codec,
    pub group: &'a str,
    /// Sixteen upper-case hex digits that no other run has.
    pub key_prefix: &'a str,
}

/// What is patched into a request.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub opaque: i32,
    pub born_ms: i64,
    pub sequence: u64,
    pub intended_ns: u64,
}

/// The frame of a send to one queue, up to its body.
pub struct SendTemplate {
    head: Vec<u8>,
    codec: Codec,
    opaque_at: usize,
    places: Places,
    signing: Option<Signing>,
}

/// Where the fields that differ are.
struct Places {
    born_at: usize,
    key_at: usize,
}

impl Places {
    fn find(bytes: &[u8]) -> Self {
        Self {
            born_at: only_place(bytes, BORN_MARK.to_string().as_bytes()),
            key_at: only_place(bytes, KEY_MARK.as_bytes()),
        }
    }

    fn patch(&self, bytes: &mut [u8], stamp: &Stamp) {
        digits(&mut bytes[self.born_at..][..13], stamp.born_ms as u64);
        hex(&mut bytes[self.key_at..][..16], stamp.sequence);
    }
}

/// What is signed of the fields, and where the signature is.
struct Signing {
    signer: Signer,
    content: Vec<u8>,
    places: Places,
    signature_at: usize,
}

impl Signing {
    fn new(signer: &Signer, content: String, head: &[u8]) -> Self {
        let content = content.into_bytes();
        Self {
            signer: signer.clone(),
            places: Places::find(&content),
            content,
            signature_at: only_place(head, SIGNATURE_MARK.as_bytes()),
        }
    }
}

impl SendTemplate {
    /// With a signer the requests are signed.
    pub fn new(
        common: &Common<'_>,
        signer: Option<&Signer>,
        topic: &str,
        queue_id: u32,
        body_bytes: usize,
    ) -> Self {
        assert_eq!(common.key_prefix.len(), 16);
        let properties = format!(
            "UNIQ_KEY\u{1}{}{KEY_MARK}\u{2}WAIT\u{1}true\u{2}",
            common.key_prefix
        );
        let header = SendRequest {
            producer_group: common.group,
            topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: queue_id as i32,
            sys_flag: 0,
            born_timestamp_ms: BORN_MARK,
            flag: 0,
            properties: Some(&properties),
            reconsume_times: Some(0),
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        };
        let head = Head::request(common.codec, request::SEND_MESSAGE_V2, OPAQUE_MARK);
        let ext = header.ext();
        let fields = match signer {
            None => ext.to_vec(),
            Some(signer) => signer.with_signature(&ext, SIGNATURE_MARK),
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, &fields, &vec![0; body_bytes]);
        bytes.truncate(bytes.len() - body_bytes);
        let opaque_at = match common.codec {
            Codec::Json => only_place(&bytes, OPAQUE_MARK.to_string().as_bytes()),
            Codec::Rocketmq => BINARY_OPAQUE_AT,
        };
        Self {
            codec: common.codec,
            opaque_at,
            places: Places::find(&bytes),
            signing: signer.map(|signer| Signing::new(signer, signer.content(&ext), &bytes)),
            head: bytes,
        }
    }

    /// Appends the request with `body`, whose length must be the template's.
    pub fn append(&mut self, output: &mut Vec<u8>, body: &[u8], stamp: &Stamp) {
        let start = output.len();
        output.extend_from_slice(&self.head);
        let head = &mut output[start..];
        match self.codec {
            Codec::Json => digits(&mut head[self.opaque_at..][..10], stamp.opaque as u64),
            Codec::Rocketmq => {
                head[self.opaque_at..][..4].copy_from_slice(&stamp.opaque.to_be_bytes());
            }
        }
        self.places.patch(head, stamp);
        let body_at = output.len();
        output.extend_from_slice(body);
        if let Some(place) = output[body_at..].first_chunk_mut::<STAMP_BYTES>() {
            place[..8].copy_from_slice(&STAMP_MAGIC);
            place[8..].copy_from_slice(&stamp.intended_ns.to_be_bytes());
        }
        if let Some(signing) = &mut self.signing {
            signing.places.patch(&mut signing.content, stamp);
            let (head, body) = output[start..].split_at_mut(body_at - start);
            let signature = signing.signer.sign_content(&signing.content, body);
            head[signing.signature_at..][..SIGNATURE_BYTES].copy_from_slice(&signature);
        }
    }
}

/// The intended send time in a body that one of these requests carried.
pub fn intended_ns(body: &[u8]) -> Option<u64> {
    let stamp = body.first_chunk::<STAMP_BYTES>()?;
    let (magic, time) = stamp.split_first_chunk::<8>()?;
    let time = <[u8; 8]>::try_from(time).ok()?;
    (*magic == STAMP_MAGIC).then(|| u64::from_be_bytes(time))
}

fn only_place(bytes: &[u8], mark: &[u8]) -> usize {
    let mut places = bytes
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| *window == mark);
    let (at, _) = places.next().expect("the mark was just encoded");
    assert!(places.next().is_none(), "the mark occurs once");
    at
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    debug_assert_eq!(number, 0);
}

fn hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::wire::{Scratch, Value, header};

    #[test]
    fn a_patched_request_decodes_to_what_was_patched_and_its_signature_is_good() {
        let signer = Signer::new(&Credentials::new("u", "secret"));
        for codec in [Codec::Json, Codec::Rocketmq] {
            let common = Common {
                codec,
                group: "g",
                key_prefix: "0123456789ABCDEF",
            };
            let mut template = SendTemplate::new(&common, Some(&signer), "topic", 12, 100);
            let stamp = Stamp {
                opaque: OPAQUE_BASE + 42,
                born_ms: 1_700_000_000_123,
                sequence: 0xabc,
                intended_ns: 77,
            };
            let mut output = b"before".to_vec();
            template.append(&mut output, &[9; 100], &stamp);
            let frame = frame::split(&output[6..]).unwrap().unwrap();
            assert_eq!(frame.len, output.len() - 6);
            assert_eq!(frame.body.len(), 100);
            assert_eq!(frame.body[99], 9);
            assert_eq!(intended_ns(frame.body), Some(77));
            let mut scratch = Scratch::default();
            let header = header::decode(&frame, &mut scratch).unwrap();
            assert_eq!((header.code, header.opaque), (310, OPAQUE_BASE + 42));
            assert_eq!(header.ext.find("g"), Some("1700000000123"));
            assert_eq!(header.ext.find("e"), Some("12"));
            assert_eq!(
                header.ext.find("i"),
                Some("UNIQ_KEY\u{1}0123456789ABCDEF0000000000000ABC\u{2}WAIT\u{1}true\u{2}")
            );
            assert_eq!(header.ext.find("AccessKey"), Some("u"));
            let fields = header.ext.iter();
            let fields = fields.filter(|(name, _)| !["AccessKey", "Signature"].contains(name));
            let fields: Vec<_> = fields
                .map(|(name, value)| (name, Value::Str(value)))
                .collect();
            let signature = signer.sign(&fields, frame.body);
            assert_eq!(header.ext.find("Signature"), Some(&*signature));
        }
    }

    #[test]
    fn a_body_too_small_for_a_stamp_has_none() {
        let common = Common {
            codec: Codec::Json,
            group: "g",
            key_prefix: "0123456789ABCDEF",
        };
        let mut template = SendTemplate::new(&common, None, "topic", 0, 15);
        let mut output = Vec::new();
        let stamp = Stamp {
            opaque: OPAQUE_BASE,
            born_ms: 0,
            sequence: 0,
            intended_ns: 1,
        };
        template.append(&mut output, &[9; 15], &stamp);
        assert_eq!(frame::split(&output).unwrap().unwrap().body, [9; 15]);
        assert_eq!(intended_ns(&[9; 15]), None);
    }
}
