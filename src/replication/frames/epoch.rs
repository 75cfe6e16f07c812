//! The protocol with epochs (`AutoSwitchHAService` from 5.1.1 on): both sides first compare which master wrote what.
//!
//! | Direction | Bytes |
//! |---|---|
//! | slave to master, first | i32 1; i16 sync from the last file; i16 learner; i64 controller id of the slave |
//! | master to slave, first | i32 1; i32 bytes of the list; i64 end of the master's log; i32 last epoch; the list: i32 epoch, i64 start each |
//! | slave to master | i32 2; i64 end of the slave's log |
//! | master to slave | i32 2; i32 size; i64 position; i32 epoch; i64 its start; i64 confirm offset; `size` bytes of the log. Size 0 is a heartbeat |
//!
//! A frame's bytes are all of one epoch and of one file of the log.

use super::{FrameError, Numbers};
use crate::replication::epochs::{Epoch, Epochs};

/// `HAConnectionState`: which part of the conversation a frame belongs to.
const HANDSHAKE: i32 = 1;
const TRANSFER: i32 = 2;

pub const HELLO_BYTES: usize = 16;
pub const LIST_HEADER_BYTES: usize = 20;
pub const REPORT_BYTES: usize = 12;
pub const HEADER_BYTES: usize = 36;

const ENTRY_BYTES: usize = 12;

/// What RocketMQ's slave has room for.
const MAX_ENTRIES: usize = 1000;

/// A slave's first words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// A slave without a log begins with the master's last file instead of its first.
    pub from_last_file: bool,
    /// It gets the log, and never counts as a replica.
    pub is_learner: bool,
    pub controller_id: i64,
}

impl Hello {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&HANDSHAKE.to_be_bytes());
        bytes.extend_from_slice(&i16::from(self.from_last_file).to_be_bytes());
        bytes.extend_from_slice(&i16::from(self.is_learner).to_be_bytes());
        bytes.extend_from_slice(&self.controller_id.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, FrameError> {
        let mut numbers = Numbers(bytes);
        expect(numbers.i32(), HANDSHAKE)?;
        Ok(Self {
            from_last_file: flag(numbers.i16())?,
            is_learner: flag(numbers.i16())?,
            controller_id: numbers.i64(),
        })
    }

    /// Whether eight bytes can be the first half of one: a slave of the classic protocol sends its position instead.
    pub fn may_begin_with(bytes: &[u8; 8]) -> bool {
        let mut numbers = Numbers(bytes);
        numbers.i32() == HANDSHAKE && flag(numbers.i16()).is_ok() && flag(numbers.i16()).is_ok()
    }
}

/// A master's answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochList {
    pub log_end: u64,
    pub epochs: Epochs,
}

impl EpochList {
    /// The newest entries, if there are more than a slave takes.
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.epochs.entries();
        let entries = &entries[entries.len().saturating_sub(MAX_ENTRIES)..];
        let list_bytes = entries.len() * ENTRY_BYTES;
        let mut bytes = Vec::with_capacity(LIST_HEADER_BYTES + list_bytes);
        let last = entries.last().map_or(0, |last| last.number);
        bytes.extend_from_slice(&HANDSHAKE.to_be_bytes());
        bytes.extend_from_slice(&(list_bytes as i32).to_be_bytes());
        bytes.extend_from_slice(&self.log_end.to_be_bytes());
        bytes.extend_from_slice(&last.to_be_bytes());
        for Epoch { number, start } in entries {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&start.to_be_bytes());
        }
        bytes
    }

    /// How many bytes follow the header.
    pub fn list_bytes(header: &[u8; LIST_HEADER_BYTES]) -> Result<usize, FrameError> {
        let mut numbers = Numbers(header);
        expect(numbers.i32(), HANDSHAKE)?;
        let bytes = numbers.i32();
        match usize::try_from(bytes) {
            Ok(bytes)
                if bytes.is_multiple_of(ENTRY_BYTES) && bytes <= MAX_ENTRIES * ENTRY_BYTES =>
            {
                Ok(bytes)
            }
            _ => Err(FrameError::EpochList(bytes.into())),
        }
    }

    pub fn decode(header: &[u8; LIST_HEADER_BYTES], list: &[u8]) -> Result<Self, FrameError> {
        let mut numbers = Numbers(header);
        let _ = (numbers.i32(), numbers.i32());
        let log_end = numbers.position()?;
        let mut epochs = Epochs::default();
        for entry in list.as_chunks::<ENTRY_BYTES>().0 {
            let mut numbers = Numbers(entry);
            epochs.append(epoch(numbers.i32(), numbers.position()?)?)?;
        }
        Ok(Self { log_end, epochs })
    }
}

/// What precedes a piece of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub size: u32,
    pub position: u64,
    pub epoch: Epoch,
    /// Up to here the log is acknowledged, and visible at the master.
    pub confirm: u64,
}

impl Header {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&TRANSFER.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.epoch.number.to_be_bytes());
        out.extend_from_slice(&self.epoch.start.to_be_bytes());
        out.extend_from_slice(&self.confirm.to_be_bytes());
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let mut numbers = Numbers(bytes);
        expect(numbers.i32(), TRANSFER)?;
        let size = super::size(numbers.i32())?;
        let position = numbers.position()?;
        let epoch = epoch(numbers.i32(), numbers.position()?)?;
        // A master of RocketMQ that has not computed one yet says -1.
        let confirm = u64::try_from(numbers.i64()).unwrap_or(0);
        Ok(Self {
            size,
            position,
            epoch,
            confirm,
        })
    }
}

pub fn encode_report(end: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REPORT_BYTES);
    bytes.extend_from_slice(&TRANSFER.to_be_bytes());
    bytes.extend_from_slice(&end.to_be_bytes());
    bytes
}

pub fn decode_report(bytes: &[u8; REPORT_BYTES]) -> Result<u64, FrameError> {
    let mut numbers = Numbers(bytes);
    expect(numbers.i32(), TRANSFER)?;
    numbers.position()
}

fn expect(got: i32, wanted: i32) -> Result<(), FrameError> {
    match got == wanted {
        true => Ok(()),
        false => Err(FrameError::State { got, wanted }),
    }
}

fn flag(value: i16) -> Result<bool, FrameError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(FrameError::Flag(value)),
    }
}

fn epoch(number: i32, start: u64) -> Result<Epoch, FrameError> {
    match number >= 0 {
        true => Ok(Epoch { number, start }),
        false => Err(FrameError::Epoch(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_words_have_rocketmqs_bytes() {
        let hello = Hello {
            from_last_file: false,
            is_learner: true,
            controller_id: 3,
        };
        let bytes = hello.encode();
        assert_eq!(bytes, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert!(Hello::may_begin_with(bytes.first_chunk().unwrap()));
        // What a classic slave sends: its position.
        for position in [0_u64, 4096, 1 << 31, 1 << 33, (1 << 32) + 4096] {
            assert!(
                !Hello::may_begin_with(&position.to_be_bytes()),
                "{position}"
            );
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let entries = (0..1500).map(|number| Epoch {
            number: number + 1,
            start: number as u64 * 10,
        });
        let epochs = Epochs::from_entries(entries).unwrap();
        let bytes = EpochList {
            log_end: 15_000,
            epochs,
        }
        .encode();
        let (header, list) = bytes.split_first_chunk().unwrap();
        assert_eq!(EpochList::list_bytes(header).unwrap(), list.len());
        let decoded = EpochList::decode(header, list).unwrap();
        assert_eq!(decoded.epochs.entries().len(), 1000);
        assert_eq!(decoded.epochs.last().unwrap().number, 1500);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            number in 0..i32::MAX, start in 0..i64::MAX as u64, position in 0..i64::MAX as u64,
            size in 0_u32..1 << 20, confirm in 0..i64::MAX as u64, id in any::<i64>(), flags in any::<(bool, bool)>()
        ) {
            let header = Header { size, position, epoch: Epoch { number, start }, confirm };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert_eq!(Header::decode(bytes.first_chunk().unwrap()).unwrap(), header);
            let hello = Hello { from_last_file: flags.0, is_learner: flags.1, controller_id: id };
            prop_assert_eq!(Hello::decode(hello.encode().first_chunk().unwrap()).unwrap(), hello);
            prop_assert_eq!(decode_report(encode_report(position).first_chunk().unwrap()).unwrap(), position);
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), HEADER_BYTES..100)) {
            let _ = Header::decode(bytes.first_chunk().unwrap());
            let _ = Hello::decode(bytes.first_chunk().unwrap());
            let _ = decode_report(bytes.first_chunk().unwrap());
            let header = bytes.first_chunk().unwrap();
            if EpochList::list_bytes(header).is_ok() {
                let _ = EpochList::decode(header, &bytes[LIST_HEADER_BYTES..]);
            }
        }
    }
}
