//! What the broker delivered of delayed and timed messages after it last saved how far it was. A delivered message states in the log where
//! the record of the one that waited is, so that a restart, or a slave that becomes master, does not deliver it again.

use std::collections::HashSet;

use super::core::Core;
use crate::broker::delay::KNOWN_SPAN_BYTES;
use crate::io::{First, Io, first, pause};
use crate::message::{Check, Record};
use crate::store::StoreError;

/// Records that are looked at in one turn.
const AT_A_TIME: usize = 64;

/// The origins of what was delivered from `known` on, up to the log's end of now. It waits until the log is committed up to there.
/// Where nothing is known, as nothing was saved yet or RocketMQ has saved it, it looks at a short log only.
pub(super) async fn since<I: Io>(
    core: &Core<I>,
    known: Option<u64>,
) -> Result<HashSet<u64>, StoreError> {
    let (min, end) = (core.store.log_min(), core.store.tail());
    let is_short = end - min <= KNOWN_SPAN_BYTES;
    let mut position = match known {
        Some(known) => known.max(min),
        None if is_short => min,
        None => end,
    };
    let (mut delivered, mut looked_at) = (HashSet::new(), 0);
    while position < end && !core.is_stopping() {
        if position >= core.store.committed() {
            let committed = core.store.committed_beyond(position);
            if let First::Left(committed) = first(committed, core.stopped.notified()).await {
                committed?;
            }
            continue;
        }
        let bytes = core.store.record_at(position).await?;
        let record = bytes
            .as_deref()
            .map(|bytes| Record::decode(bytes, Check::Layout));
        position = match record {
            Some(Ok(record)) => {
                if record.prepared_transaction_offset > 0 {
                    delivered.insert(record.prepared_transaction_offset);
                }
                position + u64::from(record.total_size)
            }
            // The rest of a segment is blank, or cannot be read.
            _ => next_segment(position, core.store.segment_bytes()),
        };
        looked_at += 1;
        if looked_at % AT_A_TIME == 0 {
            pause().await;
        }
    }
    Ok(delivered)
}

fn next_segment(position: u64, segment_bytes: u64) -> u64 {
    (position / segment_bytes + 1) * segment_bytes
}
