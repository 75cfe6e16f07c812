//! A master's frames in a stream of bytes, which is cut anywhere.
//!
//! The bytes of the log are passed on as they come, so that a slave appends them without a copy in between. A slave may have half a frame
//! in its log, and half a record.

use super::epoch::{self, EpochList};
use super::{FrameError, classic};
use crate::replication::epochs::Epoch;

/// What a master sends next, and in which protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expect {
    /// The list of epochs, its header first.
    EpochList,
    List {
        header: [u8; epoch::LIST_HEADER_BYTES],
        bytes: usize,
    },
    Header,
    Body {
        rest: u32,
    },
}

/// A frame of either protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub position: u64,
    pub size: u32,
    /// The epoch of its bytes, and the master's confirm offset. The classic protocol has neither.
    pub reign: Option<(Epoch, u64)>,
}

/// What a slave finds in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// The answer to its first words.
    Epochs(EpochList),
    Frame(Frame),
    /// Bytes of the log; of the last frame.
    Body(&'b [u8]),
}

/// Finds frames.
#[derive(Debug)]
pub struct FrameStream {
    has_epochs: bool,
    expect: Expect,
    /// The beginning of a header or a list.
    begun: Vec<u8>,
}

impl FrameStream {
    pub fn classic() -> Self {
        Self {
            has_epochs: false,
            expect: Expect::Header,
            begun: Vec::new(),
        }
    }

    pub fn with_epochs() -> Self {
        Self {
            has_epochs: true,
            expect: Expect::EpochList,
            begun: Vec::new(),
        }
    }

    /// The next event in `bytes`, which is shortened by what was used; `None` when more have to come.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Event<'b>>, FrameError> {
        loop {
            let event = match self.expect {
                Expect::Body { rest } => return Ok(self.body(bytes, rest)),
                Expect::EpochList => {
                    let Some(header) = self.gather::<{ epoch::LIST_HEADER_BYTES }>(bytes) else {
                        return Ok(None);
                    };
                    let bytes = EpochList::list_bytes(&header)?;
                    self.expect = Expect::List { header, bytes };
                    continue;
                }
                Expect::List {
                    header,
                    bytes: wanted,
                } => {
                    if !self.gather_some(bytes, wanted) {
                        return Ok(None);
                    }
                    let list = EpochList::decode(&header, &self.begun)?;
                    self.begun.clear();
                    self.expect = Expect::Header;
                    Event::Epochs(list)
                }
                Expect::Header => match self.header(bytes)? {
                    None => return Ok(None),
                    Some(frame) => {
                        if frame.size > 0 {
                            self.expect = Expect::Body { rest: frame.size };
                        }
                        Event::Frame(frame)
                    }
                },
            };
            return Ok(Some(event));
        }
    }

    fn header(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.has_epochs {
            let header = self.gather::<{ epoch::HEADER_BYTES }>(bytes);
            let header = header
                .map(|header| epoch::Header::decode(&header))
                .transpose()?;
            return Ok(header.map(|header| Frame {
                position: header.position,
                size: header.size,
                reign: Some((header.epoch, header.confirm)),
            }));
        }
        let header = self.gather::<{ classic::HEADER_BYTES }>(bytes);
        let header = header
            .map(|header| classic::Header::decode(&header))
            .transpose()?;
        Ok(header.map(|header| Frame {
            position: header.position,
            size: header.size,
            reign: None,
        }))
    }

    fn body<'b>(&mut self, bytes: &mut &'b [u8], rest: u32) -> Option<Event<'b>> {
        if bytes.is_empty() {
            return None;
        }
        let (body, behind) = bytes.split_at(bytes.len().min(rest as usize));
        *bytes = behind;
        self.expect = match rest - body.len() as u32 {
            0 => Expect::Header,
            rest => Expect::Body { rest },
        };
        Some(Event::Body(body))
    }

    fn gather<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        if !self.gather_some(bytes, N) {
            return None;
        }
        let gathered = self.begun.first_chunk().copied();
        self.begun.clear();
        gathered
    }

    /// Whether `wanted` bytes are there now.
    fn gather_some(&mut self, bytes: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted - self.begun.len();
        let (some, behind) = bytes.split_at(missing.min(bytes.len()));
        self.begun.extend_from_slice(some);
        *bytes = behind;
        self.begun.len() == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_TAKEN_BODY_BYTES;
    use super::*;
    use crate::replication::epochs::Epochs;
    use proptest::prelude::*;

    /// Owned, with bodies joined.
    #[derive(Debug, PartialEq)]
    enum Found {
        Epochs(EpochList),
        Frame(Frame, Vec<u8>),
    }

    fn find(stream: &mut FrameStream, pieces: &[&[u8]]) -> Result<Vec<Found>, FrameError> {
        let mut all = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(event) = stream.next(&mut piece)? {
                match event {
                    Event::Epochs(list) => all.push(Found::Epochs(list)),
                    Event::Frame(frame) => all.push(Found::Frame(frame, Vec::new())),
                    Event::Body(bytes) => match all.last_mut() {
                        Some(Found::Frame(_, body)) => body.extend_from_slice(bytes),
                        other => panic!("a body behind {other:?}"),
                    },
                }
            }
            assert!(piece.is_empty());
        }
        Ok(all)
    }

    #[test]
    fn frames_of_impossible_sizes_are_refused() {
        for size in [-1, i32::MAX, MAX_TAKEN_BODY_BYTES as i32 + 1] {
            let mut bytes = vec![0; 8];
            bytes.extend_from_slice(&size.to_be_bytes());
            let found = find(&mut FrameStream::classic(), &[&bytes]);
            assert_eq!(found, Err(FrameError::Size(size.into())));
        }
    }

    proptest! {
        #[test]
        fn a_stream_may_be_cut_anywhere(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..10),
            cuts in prop::collection::vec(0_usize..1000, 0..20),
            has_epochs in any::<bool>(),
        ) {
            let epoch = Epoch { number: 3, start: 100 };
            let epochs = Epochs::from_entries([Epoch { number: 1, start: 0 }, epoch]).unwrap();
            let list = EpochList { log_end: 500, epochs };
            let (mut bytes, mut expected, mut position) = (Vec::new(), Vec::new(), 100);
            if has_epochs {
                bytes.extend(list.encode());
                expected.push(Found::Epochs(list));
            }
            for body in bodies {
                let size = body.len() as u32;
                let frame = Frame { position, size, reign: has_epochs.then_some((epoch, 77)) };
                match has_epochs {
                    true => epoch::Header { size, position, epoch, confirm: 77 }.encode(&mut bytes),
                    false => classic::Header { position, size }.encode(&mut bytes),
                }
                bytes.extend_from_slice(&body);
                position += u64::from(size);
                expected.push(Found::Frame(frame, body));
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let mut stream = match has_epochs {
                true => FrameStream::with_epochs(),
                false => FrameStream::classic(),
            };
            prop_assert_eq!(find(&mut stream, &pieces).unwrap(), expected);
        }
    }
}
