//! The body of a batch send (request code 320): messages one after the other.
//!
//! ```text
//! 0  total size 4   magic 4   body crc 4   flag 4   body length 4   body   properties length 2   properties
//! ```
//! Total size, magic and CRC are left unread, as in `MessageExtEncoder.encode(MessageExtBatch)`: clients fill them as they
//! like.
//!
//! In a topic of type BatchCQ such a body is stored as it is: one record, an *inner batch*, which takes a queue offset for each of its
//! messages. Its consumer unpacks it.

use super::{properties, sys_flag};

/// An inner batch has no more messages: RocketMQ reads their number as a `short`.
pub const MAX_INNER_MESSAGES: u16 = i16::MAX as u16;

/// How many messages a record has (RocketMQ: `CommitLog.getMessageNum`).
pub(super) fn messages_in<'a>(sys_flag: i32, find: impl FnOnce(&str) -> Option<&'a str>) -> u16 {
    if sys_flag & sys_flag::INNER_BATCH == 0 {
        return 1;
    }
    find(properties::INNER_NUM)
        .and_then(inner_number)
        .unwrap_or(1)
}

/// The value of INNER_NUM, if it is a number of messages.
pub fn inner_number(value: &str) -> Option<u16> {
    let number = value.parse().ok();
    number.filter(|number| (1..=MAX_INNER_MESSAGES).contains(number))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch item at byte {at}: its {part} needs {expected} bytes and {got} are left")]
pub struct BatchError {
    pub at: usize,
    pub part: &'static str,
    pub expected: usize,
    pub got: usize,
}

/// The messages of a batch; after an error there are no more.
pub fn iter(body: &[u8]) -> Batch<'_> {
    Batch { rest: body, at: 0 }
}

/// Appends one message to a batch body. Properties are at most 32767 bytes.
pub fn push(out: &mut Vec<u8>, item: &BatchItem<'_>) {
    let properties_len = i16::try_from(item.properties.len()).expect("properties fit 15 bits");
    let total = FIXED_BYTES + item.body.len() + 2 + item.properties.len();
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&item.flag.to_be_bytes());
    out.extend_from_slice(&(item.body.len() as u32).to_be_bytes());
    out.extend_from_slice(item.body);
    out.extend_from_slice(&properties_len.to_be_bytes());
    out.extend_from_slice(item.properties);
}

const FIXED_BYTES: usize = 20;

#[derive(Clone, Debug)]
pub struct Batch<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<BatchItem<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut rest = self.rest;
        let item = read(&mut rest, self.at);
        self.at += self.rest.len() - rest.len();
        self.rest = if item.is_ok() { rest } else { &[] };
        Some(item)
    }
}

fn read<'a>(rest: &mut &'a [u8], at: usize) -> Result<BatchItem<'a>, BatchError> {
    let mut take = |part, expected| match rest.split_at_checked(expected) {
        Some((taken, left)) => {
            *rest = left;
            Ok(taken)
        }
        None => Err(BatchError {
            at,
            part,
            expected,
            got: rest.len(),
        }),
    };
    let fixed = take("head", FIXED_BYTES)?;
    let flag = i32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]);
    let body_len = u32::from_be_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]);
    let body = take("body", body_len as usize)?;
    let properties_len = take("properties length", 2)?;
    let properties_len = u16::from_be_bytes([properties_len[0], properties_len[1]]);
    let properties = take("properties", properties_len.into())?;
    Ok(BatchItem {
        flag,
        body,
        properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn iter_undoes_push(items in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..40)), 0..6)) {
            let mut body = Vec::new();
            let items: Vec<_> = items.iter().map(|(flag, body, properties)| BatchItem { flag: *flag, body, properties }).collect();
            for item in &items {
                push(&mut body, item);
            }
            let read: Result<Vec<_>, _> = iter(&body).collect();
            prop_assert_eq!(read, Ok(items));
        }

        #[test]
        fn any_bytes_end(body in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..200)) {
            let items: Vec<_> = iter(&body).collect();
            prop_assert!(items.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
