//! Where the messages of a pop were, as the reply's header says it.

use std::fmt::Write as _;

use super::{Source, Times, retry_flag};

/// What the reply says of where its messages were (RocketMQ: `ExtraInfoUtil`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Infos {
    pub start_offsets: String,
    pub message_offsets: String,
    pub order_counts: String,
}

impl Infos {
    /// `times` are those of an orderly pop.
    pub fn add(
        &mut self,
        source: &Source,
        start_offset: u64,
        offsets: &[u64],
        times: Option<&Times>,
    ) {
        let (flag, queue_id) = (retry_flag(&source.topic), source.queue_id);
        // Writing to a String cannot fail.
        let _ = write!(
            next(&mut self.start_offsets),
            "{flag} {queue_id} {start_offset}"
        );
        let _ = write!(next(&mut self.message_offsets), "{flag} {queue_id} ");
        for (index, offset) in offsets.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(self.message_offsets, "{comma}{offset}");
        }
        let Some(times) = times else { return };
        for (offset, count) in &times.by_offset {
            let counts = next(&mut self.order_counts);
            let _ = write!(counts, "{flag} qo{queue_id}%{offset} {count}");
        }
        let counts = next(&mut self.order_counts);
        let _ = write!(counts, "{flag} {queue_id} {}", times.fewest);
    }
}

/// Room for the next part of an info.
fn next(info: &mut String) -> &mut String {
    if !info.is_empty() {
        info.push(';');
    }
    info
}
