//! Taking messages: queue by queue, each with a receipt, hidden by a check point before they are handed out.

use std::rc::Rc;

use tracing::error;

use super::super::view::View;
use super::{Batch, PopError, Pops, SOURCES_AT_A_TIME, Waiting};
use crate::broker::pop::{At, Look, PopKey, PopPlan, ReviveRecord, Source, check_point};
use crate::broker::refusal::missing_topic;
use crate::broker::{Effort, PropertyFilter, Refusal};
use crate::io::{Io, yield_now};
use crate::message::{Check, MAX_PROPERTIES_BYTES, Properties, Record, RecordFields, properties};
use crate::store::{Position, QueueBounds, QueueIndex, ReadError, Readable, Scan, ScanLimits};
use crate::wire::pop::Receipt;

/// Entries of one queue that one look may skip.
const MAX_ENTRIES: usize = 800;

/// Messages of one queue.
pub(super) struct Taken {
    pub offsets: Vec<u64>,
    pub records: Vec<u8>,
    pub next_offset: u64,
}

impl Taken {
    fn none(next_offset: u64) -> Self {
        Self {
            offsets: Vec::new(),
            records: Vec::new(),
            next_offset,
        }
    }
}

impl<I: Io> Pops<I> {
    pub(super) async fn gather(self: &Rc<Self>, waiting: &Waiting<I>) -> Result<Batch, PopError> {
        let mut batch = Batch {
            pop_time_ms: self.core.now_ms(),
            ..Batch::default()
        };
        let sources = self.core.broker.borrow_mut().pop_sources(&waiting.plan);
        for (index, source) in sources.enumerate() {
            if index % SOURCES_AT_A_TIME == SOURCES_AT_A_TIME - 1 {
                yield_now().await;
            }
            match self.pop_from(waiting, &source, &mut batch).await {
                // What the batch has already is hidden from other pops.
                Err(PopError::Busy(_)) if batch.messages > 0 => break,
                taken => taken?,
            }
        }
        Ok(batch)
    }

    async fn pop_from(
        self: &Rc<Self>,
        waiting: &Waiting<I>,
        source: &Source,
        batch: &mut Batch,
    ) -> Result<(), PopError> {
        let plan = &waiting.plan;
        let queue = self.core.store.queue(&source.topic, source.queue_id);
        let bounds = self.core.store.bounds(queue);
        batch.seen.push((queue, bounds.max));
        let Some(_lock) = self.lock(queue, &plan.group) else {
            // The pop that holds the queue wakes the next one if it leaves messages behind.
            return Ok(());
        };
        let now_ms = self.core.now_ms();
        let Some((offset, key)) = self.begin(plan, source, bounds, batch, now_ms) else {
            return Ok(());
        };
        let left = plan.max_messages - batch.messages;
        let taken = self.read_source(plan, queue, offset, left, batch).await?;
        let read_ms = self.core.now_ms();
        if waiting.connection.is_closed() {
            batch.rest += bounds.max - offset;
            return Ok(());
        }
        batch.rest += bounds.max.saturating_sub(taken.next_offset);
        if taken.offsets.is_empty() {
            batch.goes_on |= offset < taken.next_offset && taken.next_offset < bounds.max;
            let mut broker = self.core.broker.borrow_mut();
            broker.skipped(plan, source, taken.next_offset, now_ms);
            return Ok(());
        }
        self.hand_out(plan, source, key, &taken, batch).await?;
        let messages = taken.offsets.len() as u64;
        let mut broker = self.core.broker.borrow_mut();
        let bytes = taken.records.len() as u64;
        broker.handed_out(plan, source, messages, bytes, now_ms, read_ms);
        Ok(())
    }

    /// Where to take messages from, and the receipt they get. `None`: nothing is taken from this queue now; what it has is added to the
    /// batch's rest.
    fn begin(
        &self,
        plan: &PopPlan,
        source: &Source,
        bounds: QueueBounds,
        batch: &mut Batch,
        now_ms: u64,
    ) -> Option<(u64, PopKey)> {
        let store = &View { core: &self.core };
        let at = At { now_ms, store };
        let mut broker = self.core.broker.borrow_mut();
        let look = broker.before_pop(plan, source, bounds, batch.messages, at);
        drop(broker);
        let offset = match look {
            Look::From(offset) => offset,
            Look::Skip { rest } => {
                batch.rest += rest;
                return None;
            }
        };
        let key = match self.is_full(batch) {
            true => None,
            false => self.receipt(plan, source, offset, batch),
        };
        if key.is_none() {
            batch.rest += bounds.max - offset;
        }
        Some((offset, key?))
    }

    /// Hides what was taken from other pops, and adds it to the batch.
    async fn hand_out(
        &self,
        plan: &PopPlan,
        source: &Source,
        key: PopKey,
        taken: &Taken,
        batch: &mut Batch,
    ) -> Result<(), PopError> {
        let times = match plan.is_orderly {
            true => {
                self.check_current(source)?;
                let mut broker = self.core.broker.borrow_mut();
                Some(broker.popped_in_order(plan, source, &taken.offsets, key.pop_time_ms))
            }
            false => {
                self.write_check_point(plan, source, key, taken).await?;
                None
            }
        };
        let (offset, times) = (key.start_offset, times.as_ref());
        batch.infos.add(source, offset, &taken.offsets, times);
        batch.messages += taken.offsets.len();
        self.show(plan, source, key, taken, &mut batch.body);
        Ok(())
    }

    /// The messages that were read may be of a topic that was deleted meanwhile.
    fn check_current(&self, source: &Source) -> Result<(), Refusal> {
        match self.core.broker.borrow().is_current(source) {
            true => Ok(()),
            false => Err(missing_topic(&source.topic)),
        }
    }

    /// One that no other pop has. The time of the pop stands in the reply once for all its queues, so that it can be moved
    /// only as long as there is nothing else in it.
    fn receipt(
        &self,
        plan: &PopPlan,
        source: &Source,
        start_offset: u64,
        batch: &mut Batch,
    ) -> Option<PopKey> {
        let broker = self.core.broker.borrow();
        loop {
            let key = PopKey {
                start_offset,
                pop_time_ms: batch.pop_time_ms,
            };
            if plan.is_orderly || !broker.is_receipt_taken(plan, source, key) {
                return Some(key);
            }
            if batch.messages > 0 {
                return None;
            }
            batch.pop_time_ms += 1;
        }
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.core.broker.borrow().config().max_pull_bytes as usize
    }

    /// The first look that finds a message takes it, however large.
    pub(super) fn is_full(&self, batch: &Batch) -> bool {
        batch.body.len() >= self.max_bytes()
    }

    async fn write_check_point(
        &self,
        plan: &PopPlan,
        source: &Source,
        key: PopKey,
        taken: &Taken,
    ) -> Result<(), PopError> {
        let name = &self.core.setup.broker.broker_name;
        let body = check_point(plan, source, key, &taken.offsets, taken.next_offset, name);
        let record = ReviveRecord::of_pop(&body);
        let _turn = self.core.admission.enter(record.log_bytes()).await?;
        self.check_current(source)?;
        self.append_check_point(&record, &body)?;
        Ok(())
    }

    /// Up to `max_messages` that pass the filter, from `offset` on, wherever they are.
    pub(super) async fn read_source(
        self: &Rc<Self>,
        plan: &PopPlan,
        queue: QueueIndex,
        offset: u64,
        max_messages: usize,
        batch: &Batch,
    ) -> Result<Taken, ReadError> {
        let max_bytes = self.max_bytes().saturating_sub(batch.body.len());
        let scanned = self
            .scan_source(plan, queue, offset, max_messages, max_bytes)
            .await?;
        let (mut offsets, mut positions, mut next_offset) = scanned;
        let is_too_large = |first: &Position| first.size as usize > max_bytes;
        if batch.messages > 0 && positions.first().is_some_and(is_too_large) {
            return Ok(Taken::none(offsets[0]));
        }
        let store = &self.core.store;
        let read = store.read_readable(queue, &positions, Vec::new()).await;
        let Readable {
            mut records,
            lost,
            awaited,
        } = match read {
            Err(ReadError::Removed { .. }) => {
                // The next look finds those that are left.
                return Ok(Taken::none(store.goes_on_at(queue, offset)));
            }
            read => read?,
        };
        if let Some(place) = awaited {
            next_offset = offsets[place];
            offsets.truncate(place);
            positions.truncate(place);
        }
        for place in lost.into_iter().rev() {
            offsets.remove(place);
            positions.remove(place);
        }
        if let Some(filter) = &plan.properties {
            records = keep_matching(filter, &mut offsets, &positions, &records);
        }
        Ok(Taken {
            offsets,
            records,
            next_offset,
        })
    }

    /// The offsets of messages whose tags pass the filter, where these are in the log, and the offset behind what was looked at.
    async fn scan_source(
        &self,
        plan: &PopPlan,
        queue: QueueIndex,
        offset: u64,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<(Vec<u64>, Vec<Position>, u64), ReadError> {
        let limits = ScanLimits {
            max_messages,
            max_bytes,
            max_entries: MAX_ENTRIES,
        };
        let mut offsets = Vec::new();
        let mut filter = |first, tags_code| {
            let is_wanted = plan.filter.matches(tags_code);
            if is_wanted {
                offsets.push(first);
            }
            is_wanted
        };
        let mut positions: Vec<Position> = Vec::new();
        let store = &self.core.store;
        let hot = store.scan(queue, offset, &limits, &mut filter, &mut positions);
        let scan = match hot {
            Scan::Cold => {
                store
                    .scan_cold(queue, offset, &limits, &mut filter, &mut positions)
                    .await?
            }
            hot => hot,
        };
        // The scan has asked for one more than it took if it came to a limit.
        offsets.truncate(positions.len());
        match scan {
            Scan::Found { next_offset } | Scan::NoneMatched { next_offset } => {
                Ok((offsets, positions, next_offset))
            }
            Scan::Cold => unreachable!("a cold scan reads what is cold"),
        }
    }

    /// Messages of a retry topic are shown as those of the topic that was asked for, with their receipt.
    fn show(&self, plan: &PopPlan, source: &Source, key: PopKey, taken: &Taken, out: &mut Vec<u8>) {
        if !source.is_retry || self.core.broker.borrow().config().pop.shows_retry_topic {
            return out.extend_from_slice(&taken.records);
        }
        let receipt = Receipt {
            start_offset: key.start_offset,
            pop_time_ms: key.pop_time_ms,
            invisible_ms: plan.invisible_ms,
            revive_queue: plan.revive_queue(),
            retry_flag: crate::broker::pop::retry_flag(&source.topic),
            broker_name: &self.core.setup.broker.broker_name,
        };
        let mut rest = &taken.records[..];
        for offset in &taken.offsets {
            match Record::decode(rest, Check::Layout) {
                Ok(record) => {
                    let text = receipt.text(source.queue_id, *offset);
                    let (bytes, behind) = rest.split_at(record.total_size as usize);
                    if !push_under(&plan.topic, &text, &record, out) {
                        out.extend_from_slice(bytes);
                    }
                    rest = behind;
                }
                Err(error) => {
                    // It is delivered again later, as every message that is not acknowledged.
                    error!(%error, topic = %source.topic, offset, "a message cannot be decoded");
                    return;
                }
            }
        }
    }
}

/// The records that pass, and their offsets only.
fn keep_matching(
    filter: &PropertyFilter,
    offsets: &mut Vec<u64>,
    positions: &[Position],
    records: &[u8],
) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), records);
    let mut effort = Effort::of_a_look();
    let mut sizes = positions.iter().map(|position| position.size as usize);
    offsets.retain(|_| {
        let size = sizes.next().unwrap_or(0).min(rest.len());
        let (record, behind) = rest.split_at(size);
        rest = behind;
        let is_wanted = filter.matches(record, &mut effort);
        if is_wanted {
            kept.extend_from_slice(record);
        }
        is_wanted
    });
    kept
}

/// Appends the record as one of `topic`, with its receipt; `false` if there is no room for it among the properties. Then the
/// client makes it from the reply's header.
fn push_under(topic: &str, receipt: &str, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
    let mut own = String::new();
    properties::push(&mut own, properties::POP_RECEIPT, receipt);
    let fields = RecordFields {
        queue_id: record.queue_id,
        flag: record.flag,
        queue_offset: record.queue_offset,
        physical_offset: record.physical_offset,
        sys_flag: record.sys_flag,
        born_timestamp_ms: record.born_timestamp_ms,
        born_host: record.born_host,
        store_timestamp_ms: record.store_timestamp_ms,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: record.prepared_transaction_offset,
        body: record.body,
        topic,
        properties: Properties::new(record.properties_without_crc()).with(&own),
    };
    if fields.properties_len() > MAX_PROPERTIES_BYTES {
        return false;
    }
    let start = out.len();
    out.resize(start + fields.encoded_len(), 0);
    fields.encode(&mut out[start..]);
    true
}
