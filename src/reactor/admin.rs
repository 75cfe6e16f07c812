//! Administrators' requests that need the disk before they can be answered, each in a task of its own with a copy of its
//! bytes. Those that need a client are in `relay.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::connection::{Caller, Connection};
use super::shard::{Shard, answer};
use super::view::View;
use crate::broker::Peer;
use crate::broker::Refusal;
use crate::broker::Target;
use crate::broker::reply::{Figures, Reply, StoreView};
use crate::broker::timer::TimerFigures;
use crate::io::Io;
use crate::store::{Boundary, QueueBounds, ReadError, ScanLimits};
use crate::wire::admin::{QueryConsumeQueue, QueueEntry};
use crate::wire::codes::{request, response};
use crate::wire::{Ext, Frame, Header, Scratch, header};

/// Entries in one answer to 321: about 100 bytes each, far below a frame.
const MAX_ENTRIES: usize = 32_768;

/// Store times that one answer reads from disk; what is beyond is shown as unknown.
const MAX_COLD_TIMES: usize = 4096;

impl<I: Io> Shard<I> {
    /// Answers once it is known what the answer needs, and once what it promises has been saved.
    pub(super) fn administer(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        frame: &Frame<'_>,
        header: &Header<'_>,
    ) {
        let (shard, connection) = (self.clone(), connection.clone());
        let peer = self.peer(&connection, header);
        let (codec, len) = (frame.codec, frame.len);
        let (head, body) = (frame.header.to_vec(), frame.body.to_vec());
        let reading = connection.start_reading();
        self.io.spawn("admin", async move {
            let _reading = reading;
            let frame = Frame {
                codec,
                header: &head,
                body: &body,
                len,
            };
            let mut scratch = Scratch::default();
            let header = header::decode(&frame, &mut scratch).expect("decoded once already");
            let reply = shard.administered(&header, &body, &peer).await;
            let reply = reply.unwrap_or_else(Reply::from);
            let files = shard.carry_out_effects();
            let reply = shard.once_saved(reply, files).await;
            answer(&connection, caller, &reply);
        });
    }

    async fn administered(
        self: &Rc<Self>,
        header: &Header<'_>,
        body: &[u8],
        peer: &Peer,
    ) -> Result<Reply, Refusal> {
        match header.code {
            request::INVOKE_BROKER_TO_RESET_OFFSET => self.rewind(header).await,
            request::GET_CONSUMER_RUNNING_INFO => self.running_info(&header.ext).await,
            request::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(&header.ext).await,
            request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
                self.consumer_status(&header.ext).await
            }
            request::QUERY_CONSUME_QUEUE => self.queue_entries(&header.ext).await,
            _ => self.answer_with_times(header, body, peer).await,
        }
    }

    async fn rewind(self: &Rc<Self>, header: &Header<'_>) -> Result<Reply, Refusal> {
        let view = View { shard: self };
        let rewind = self.broker.borrow().admit_rewind(&header.ext, &view)?;
        let mut offsets = Vec::with_capacity(rewind.queues.len());
        for queue_id in &rewind.queues {
            let offset = match (
                rewind.target,
                self.store.find_queue(&rewind.topic, *queue_id),
            ) {
                (Target::Offset(offset), _) => offset,
                (_, None) => 0,
                (Target::End, Some(queue)) => self.store.bounds(queue).max,
                (Target::Time(time_ms), Some(queue)) => self
                    .store
                    .offset_by_time(queue, time_ms, Boundary::Lower)
                    .await
                    .map_err(unreadable)?,
            };
            offsets.push((*queue_id, offset));
        }
        let reply = self
            .broker
            .borrow_mut()
            .rewind(&rewind, &offsets, header.language)?;
        // Nobody has to wait for a message to hear of it.
        for (queue_id, _) in offsets {
            if let Some(queue) = self.store.find_queue(&rewind.topic, queue_id) {
                self.wake_pulls(queue);
            }
        }
        Ok(reply)
    }

    async fn queue_entries(self: &Rc<Self>, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let asked = QueryConsumeQueue::decode(ext)?;
        let queue = u32::try_from(asked.queue_id)
            .ok()
            .and_then(|queue_id| self.store.find_queue(asked.topic, queue_id));
        let Some(queue) = queue else {
            let remark = format!("{}@{} is not exist!", asked.queue_id, asked.topic);
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let bounds = self.store.bounds(queue);
        let count = usize::try_from(asked.count).unwrap_or(0).min(MAX_ENTRIES);
        let first = u64::try_from(asked.index).unwrap_or(u64::MAX);
        if !(bounds.min..bounds.max).contains(&first) || count == 0 {
            return Ok(self.broker.borrow().queue_entries(&asked, bounds, None));
        }
        let limits = ScanLimits {
            max_messages: count,
            max_bytes: usize::MAX,
            max_entries: count,
        };
        let (mut tags_codes, mut positions) = (Vec::new(), Vec::new());
        let seen = |tags_code| {
            tags_codes.push(tags_code);
            true
        };
        self.store
            .scan_cold(queue, first, &limits, seen, &mut positions)
            .await
            .map_err(unreadable)?;
        let entries = positions.iter().zip(tags_codes);
        let entries = entries.map(|(position, tags_code)| QueueEntry {
            eval: false,
            physical_offset: position.physical_offset as i64,
            size: position.size as i32,
            tags_code,
        });
        let entries = entries.collect();
        Ok(self
            .broker
            .borrow()
            .queue_entries(&asked, bounds, Some(entries)))
    }

    /// Answers what the rules answer at once, but with the store times that have to be read from disk: asks them, reads what
    /// they missed, and asks them again.
    async fn answer_with_times(
        self: &Rc<Self>,
        header: &Header<'_>,
        body: &[u8],
        peer: &Peer,
    ) -> Result<Reply, Refusal> {
        let mut known = Times::new();
        loop {
            let view = ViewWithTimes {
                view: View { shard: self },
                known: &known,
                missed: RefCell::default(),
            };
            let now_ms = self.now_ms();
            let reply = self
                .broker
                .borrow_mut()
                .answer(header, body, peer, now_ms, &view);
            let missed = view.missed.into_inner();
            if missed.is_empty() || known.len() >= MAX_COLD_TIMES {
                return Ok(reply);
            }
            for (topic, queue_id, offset) in missed.into_iter().take(MAX_COLD_TIMES) {
                let time_ms = match self.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
                        .store
                        .store_time(queue, offset)
                        .await
                        .map_err(unreadable)?,
                    None => None,
                };
                known.insert((topic, queue_id, offset), time_ms);
            }
        }
    }
}

/// Store times by topic, queue and offset.
type Times = BTreeMap<(String, u32, u64), Option<i64>>;

/// A view that also knows the times in `known`, and notes which further ones it was asked for.
struct ViewWithTimes<'a, I: Io> {
    view: View<'a, I>,
    known: &'a Times,
    missed: RefCell<Vec<(String, u32, u64)>>,
}

impl<I: Io> StoreView for ViewWithTimes<'_, I> {
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds {
        self.view.bounds(topic, queue_id)
    }

    fn store_time_ms(&self, topic: &str, queue_id: u32, offset: u64) -> Option<i64> {
        if let Some(time_ms) = self.view.store_time_ms(topic, queue_id, offset) {
            return Some(time_ms);
        }
        let key = (topic.to_owned(), queue_id, offset);
        match self.known.get(&key) {
            Some(time_ms) => *time_ms,
            None => {
                self.missed.borrow_mut().push(key);
                None
            }
        }
    }

    fn figures(&self) -> Figures {
        self.view.figures()
    }

    fn timers(&self) -> Option<TimerFigures> {
        self.view.timers()
    }
}

pub(super) fn unreadable(error: ReadError) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}
