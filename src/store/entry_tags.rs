//! The ConsumeQueue entry of a record, and the tags code that it holds.

use super::config::SCHEDULE_TOPIC;
use super::queues::entry::Entry;
use crate::message::{Record, properties, tags_code};

/// The entry of the record's first message.
pub(super) fn entry_of(record: &Record<'_>, delay_levels_ms: &[u64]) -> Entry {
    let tags_code = entry_tags(record, delay_levels_ms);
    let entry = Entry::new(record.physical_offset, record.total_size, tags_code);
    entry.with_messages(record.messages())
}

/// What the queue's entry of a record holds besides its place.
fn entry_tags(record: &Record<'_>, delay_levels_ms: &[u64]) -> i64 {
    if record.topic == SCHEDULE_TOPIC {
        let delay_ms = delay_levels_ms
            .get(record.queue_id as usize)
            .copied()
            .unwrap_or(UNKNOWN_LEVEL_MS);
        return record.store_timestamp_ms.saturating_add(delay_ms as i64);
    }
    properties::find(record.properties, properties::TAGS).map_or(0, tags_code)
}

/// RocketMQ's delay of a level that it does not know.
const UNKNOWN_LEVEL_MS: u64 = 1000;
