//! What the broker delivered of delayed and timed messages after it last saved how far it was. A delivered message states in the log where
//! the record of the one that waited is, so that a restart, or a slave that becomes master, does not deliver it again.

use std::collections::HashSet;

use tracing::warn;

use super::core::Core;
use crate::broker::known::SPAN_BYTES;
use crate::broker::origin;
use crate::broker::timer::{COARSEST_MS, TIMER};
use crate::io::{Either, Io, select, yield_now};
use crate::message::{Check, Record, properties};
use crate::replication::repair::GIVE_UP_NS;
use crate::store::StoreError;

/// Records that are looked at in one turn.
const AT_A_TIME: usize = 64;

/// Pause before a record is looked for again that is to be repaired.
const REPAIR_NS: u64 = 100_000_000;

/// Delivered before the start, and perhaps not before what was saved.
#[derive(Default)]
pub(super) struct Delivered {
    origins: HashSet<u64>,
    /// All of them had been due by this time of the wall clock, in ms.
    due_by_ms: u64,
}

impl Delivered {
    /// Whether the message that waits at this position of the log was delivered.
    pub fn contains(&self, physical_offset: u64) -> bool {
        self.origins.contains(&origin(physical_offset))
    }

    /// Whether none of them waits any more, if nothing that waits is due at `now_ms`. When the clock was set back, they wait until
    /// they are due again.
    pub fn are_over(&mut self, now_ms: u64) -> bool {
        let are_over = now_ms >= self.due_by_ms;
        if are_over {
            self.origins = HashSet::new();
        }
        are_over
    }

    fn add(&mut self, record: &Record<'_>) {
        if record.prepared_transaction_offset == 0 {
            return;
        }
        self.origins.insert(record.prepared_transaction_offset);
        let out_ms = match record.topic {
            TIMER => None, // It was only moved, and is due later.
            _ => properties::find(record.properties, properties::TIMER_OUT_MS),
        };
        let out_ms: Option<i64> = out_ms.and_then(|out_ms| out_ms.parse().ok());
        let due_by_ms = out_ms.map_or(0, |out_ms| out_ms.saturating_add(COARSEST_MS));
        let due_by_ms = due_by_ms.max(record.store_timestamp_ms).max(0) as u64;
        self.due_by_ms = self.due_by_ms.max(due_by_ms);
    }
}

/// What was delivered from `known` on, up to the log's end of now. It waits until the log is committed up to there.
/// Where nothing is known, as nothing was saved yet or RocketMQ has saved it, it looks at a short log only.
pub(super) async fn since<I: Io>(
    core: &Core<I>,
    known: Option<u64>,
) -> Result<Delivered, StoreError> {
    let (min, end) = (core.store.log_min(), core.store.tail());
    let is_short = end - min <= SPAN_BYTES;
    let from = match known {
        Some(known) => known,
        None if is_short => min,
        None => end,
    };
    let mut delivered = Delivered::default();
    add_since(core, from, &mut delivered).await?;
    Ok(delivered)
}

/// How long a start waits for records that another broker may have.
#[derive(Default)]
struct Patience {
    since_ns: Option<u64>,
}

impl Patience {
    /// With a record that is left out, a message may be delivered twice; without an end nothing would be delivered where no other broker returns.
    fn is_left(&mut self, now_ns: u64) -> bool {
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(since_ns) < GIVE_UP_NS
    }
}

/// Adds what was delivered from this position of the log on, as [`since`] does.
pub(super) async fn add_since<I: Io>(
    core: &Core<I>,
    from: u64,
    delivered: &mut Delivered,
) -> Result<(), StoreError> {
    let (min, end) = (core.store.log_min(), core.store.tail());
    let (mut position, mut looked_at) = (from.max(min), 0);
    let mut patience = Patience::default();
    while position < end && !core.is_stopping() {
        let committed = core.store.committed();
        if position >= committed {
            let committed = core.store.committed_beyond(position);
            if let Either::Left(committed) = select(committed, core.stopped.notified()).await {
                committed?;
            }
            continue;
        }
        let bytes = match core.store.next_record_at(position).await {
            Err(StoreError::AwaitsRepair { .. }) => {
                if patience.is_left(core.io.now().mono_ns) && !mutant!(DeliveredNotAwaited) {
                    let later = core.io.sleep_until(core.io.now().mono_ns + REPAIR_NS);
                    select(later, core.stopped.notified()).await;
                    continue;
                }
                warn!(
                    position,
                    "what was delivered of delayed and timed messages cannot be read there: a message may come twice"
                );
                None
            }
            read => read?,
        };
        let record = bytes
            .as_deref()
            .map(|bytes| Record::decode(bytes, Check::Layout));
        position = match record {
            Some(Ok(record)) => {
                delivered.add(&record);
                position + u64::from(record.total_size)
            }
            // The rest of a segment is blank, or a part of the log cannot be read.
            _ => {
                let to = committed.min(end);
                let next = core.store.record_behind(position, to).await?;
                next.unwrap_or(to)
            }
        };
        looked_at += 1;
        if looked_at % AT_A_TIME == 0 {
            yield_now().await;
        }
    }
    Ok(())
}
