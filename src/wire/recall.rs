//! The handle by which a producer takes a timed message back (RocketMQ: `RecallMessageHandle`).
//!
//! ```text
//! base64url("v1 topic brokerName timestamp uniqueKey")
//! ```

const VERSION: &str = "v1";

/// What a handle says, separated by blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    pub topic: String,
    pub broker_name: String,
    /// When the message is due, in milliseconds; not checked here.
    pub timestamp: String,
    pub unique_key: String,
}

impl RecallHandle {
    pub fn encode(&self) -> String {
        let Self {
            topic,
            broker_name,
            timestamp,
            unique_key,
        } = self;
        let text = format!("{VERSION} {topic} {broker_name} {timestamp} {unique_key}");
        encode_base64(text.as_bytes())
    }

    /// None if it is not such a handle.
    pub fn decode(handle: &str) -> Option<Self> {
        let text = String::from_utf8(decode_base64(handle)?).ok()?;
        let mut items = text.split(' ');
        if items.next()? != VERSION {
            return None;
        }
        let mut next = || items.next().map(str::to_owned);
        Some(Self {
            topic: next()?,
            broker_name: next()?,
            timestamp: next()?,
            unique_key: next().filter(|key| !key.is_empty())?,
        })
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let mut bits = 0;
        for index in 0..3 {
            bits = bits << 8 | u32::from(three.get(index).copied().unwrap_or(0));
        }
        for digit in 0..4 {
            let is_there = digit <= three.len();
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if is_there {
                char::from(DIGITS[value as usize])
            } else {
                '='
            });
        }
    }
    text
}

/// The padding may be missing, as Java reads it.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_padded = padding == 0 || (padding <= 2 && text.len().is_multiple_of(4));
    if !is_padded || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for four in digits.as_bytes().chunks(4) {
        let mut bits = 0;
        for index in 0..4 {
            let value = match four.get(index) {
                Some(digit) => DIGITS.iter().position(|other| other == digit)? as u32,
                None => 0,
            };
            bits = bits << 6 | value;
        }
        let [_, three @ ..] = bits.to_be_bytes();
        bytes.extend_from_slice(&three[..four.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handle() -> RecallHandle {
        RecallHandle {
            topic: "T".into(),
            broker_name: "broker-a".into(),
            timestamp: "1700000000001".into(),
            unique_key: "7F00000100002A139A551B2C3D4E0000".into(),
        }
    }

    /// As `Base64.getUrlEncoder` of the JDK writes it.
    #[test]
    fn golden() {
        let text =
            "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAxIDdGMDAwMDAxMDAwMDJBMTM5QTU1MUIyQzNENEUwMDAw";
        assert_eq!(handle().encode(), text);
        assert_eq!(RecallHandle::decode(text), Some(handle()));
    }

    #[test]
    fn broken_ones() {
        let short = encode_base64(b"v1 T broker-a 17");
        let other = encode_base64(b"v2 T broker-a 17 K");
        for text in ["", "=", "djE", "d", "!!!!", "djEgVA=", &short, &other] {
            assert_eq!(RecallHandle::decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn base64_there_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let text = encode_base64(&bytes);
            prop_assert!(text.len().is_multiple_of(4));
            prop_assert_eq!(decode_base64(text.trim_end_matches('=')), Some(bytes.clone()));
            prop_assert_eq!(decode_base64(&text), Some(bytes));
        }

        #[test]
        fn no_text_is_too_strange(text in ".*") {
            let _ = RecallHandle::decode(&text);
        }
    }
}
