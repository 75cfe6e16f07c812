//! The handle by which a producer takes a timed message back (RocketMQ: `RecallMessageHandle`).
//!
//! ```text
//! base64url("v1 topic brokerName timestamp uniqueKey")
//! ```

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const VERSION: &str = "v1";

/// A handle's fields, separated by blanks.
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
        BASE64.encode(text)
    }

    /// None if it is not such a handle.
    pub fn decode(handle: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(handle).ok()?).ok()?;
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

/// The padding may be missing, as for Java.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

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
        let short = BASE64.encode(b"v1 T broker-a 17");
        let other = BASE64.encode(b"v2 T broker-a 17 K");
        for text in ["", "=", "djE", "d", "!!!!", "djEgVA=", &short, &other] {
            assert_eq!(RecallHandle::decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn handles_come_back(topic in "[a-zA-Z%_-]{1,20}", key in "[0-9A-F]{1,40}") {
            let handle = RecallHandle { topic, unique_key: key, ..handle() };
            let text = handle.encode();
            prop_assert_eq!(RecallHandle::decode(text.trim_end_matches('=')), Some(handle.clone()));
            prop_assert_eq!(RecallHandle::decode(&text), Some(handle));
        }

        #[test]
        fn no_text_is_too_strange(text in ".*") {
            let _ = RecallHandle::decode(&text);
        }
    }
}
