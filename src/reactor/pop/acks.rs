//! Acknowledgements and changes of the invisible time: decided at once, answered when their records are committed.

use std::rc::Rc;

use super::super::acks::{Ack, Receipt};
use super::super::connection::{Caller, Connection};
use super::super::send::refusal_of;
use super::super::shard::Shard;
use super::super::view::View;
use crate::broker::Refusal;
use crate::broker::pop::{Acknowledged, Place, ReviveRecord};
use crate::io::Io;
use crate::store::AppendError;
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::pop::{AckRequest, BatchAckRequest, ChangeInvisibleTime, CheckPointBody};

/// What is to be written before the answer.
struct Answer {
    /// Of the first record, if it is one.
    check_point: Option<CheckPointBody>,
    records: Vec<ReviveRecord>,
    receipt: Receipt,
}

impl<I: Io> Shard<I> {
    pub(in crate::reactor) fn acknowledge_pop(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) {
        let decided = match header.code {
            request::CHANGE_MESSAGE_INVISIBLETIME => self.decide_change(header),
            _ => self.decide_ack(header, body),
        };
        match decided {
            Ok(answer) => self.answer_written(connection, caller, answer),
            Err(refusal) => self.refuse(connection, caller, &refusal),
        }
    }

    fn decide_ack(self: &Rc<Self>, header: &Header<'_>, body: &[u8]) -> Result<Answer, Refusal> {
        let (now_ms, view) = (self.now_ms(), View { shard: self });
        let done = match header.code {
            request::BATCH_ACK_MESSAGE => {
                let request = BatchAckRequest::decode(body)?;
                let mut broker = self.broker.borrow_mut();
                broker.admit_batch_ack(&request, &view, now_ms)?
            }
            _ => {
                let request = AckRequest::decode(&header.ext)?;
                let mut broker = self.broker.borrow_mut();
                broker.admit_ack(&request, &view, now_ms)?
            }
        };
        let Acknowledged { records, freed } = done;
        for (group, topic, queue_id) in freed {
            self.wake_freed(&group, &topic, queue_id);
        }
        Ok(Answer {
            check_point: None,
            records,
            receipt: Receipt::Plain,
        })
    }

    fn decide_change(&self, header: &Header<'_>) -> Result<Answer, Refusal> {
        let request = ChangeInvisibleTime::decode(&header.ext)?;
        let (now_ms, view) = (self.now_ms(), View { shard: self });
        let changed = self
            .broker
            .borrow_mut()
            .admit_change(&request, &view, now_ms)?;
        let (check_point, records) = match changed.records {
            Some((check_point, records)) => (Some(check_point), records.into()),
            None => (None, Vec::new()),
        };
        Ok(Answer {
            check_point,
            records,
            receipt: Receipt::Changed(changed.reply),
        })
    }

    /// Writes now if there is room, else in a task of its own.
    fn answer_written(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        answer: Answer,
    ) {
        let bytes = answer.records.iter().map(ReviveRecord::log_bytes).sum();
        if self.store.room_for(bytes) {
            let written = self.write_all(&answer);
            return self.answer_at(connection, caller, answer.receipt, written);
        }
        let (shard, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.io.spawn(async move {
            let _reading = reading;
            let mut written = Ok(shard.store.committed());
            let mut records = answer.records.into_iter();
            let mut check_point = answer.check_point;
            while let (Ok(_), Some(record)) = (&written, records.next()) {
                let _turn = match shard.turn(record.log_bytes()).await {
                    Ok(turn) => turn,
                    Err(refusal) => return shard.refuse(&connection, caller, &refusal),
                };
                let records = vec![record];
                let step = Answer {
                    check_point: check_point.take(),
                    records,
                    receipt: Receipt::Plain,
                };
                written = shard.write_all(&step);
            }
            shard.answer_at(&connection, caller, answer.receipt, written);
        });
    }

    /// The end of the last record in the log.
    fn write_all(&self, answer: &Answer) -> Result<u64, AppendError> {
        let mut end = self.store.committed();
        let mut check_point = answer.check_point.as_ref();
        for record in &answer.records {
            end = match check_point.take() {
                Some(body) => self.append_check_point(record, body)?,
                None => self.append_revive(record)?.0,
            };
        }
        Ok(end)
    }

    fn answer_at(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        receipt: Receipt,
        written: Result<u64, AppendError>,
    ) {
        let end = match written {
            Ok(end) => end,
            Err(error) => {
                let (code, remark) = refusal_of(&error);
                return self.refuse(connection, caller, &Refusal::new(code, remark));
            }
        };
        let ack = Ack {
            end,
            appended_ns: self.io.now().mono_ns,
            connection: connection.clone(),
            caller,
            receipt,
        };
        if end <= self.store.committed() {
            return self.acknowledge(&ack, response::SUCCESS, None);
        }
        self.acks.borrow_mut().push(ack);
    }

    /// Appends a check point, from which on its messages are in flight; returns its end.
    pub(super) fn append_check_point(
        &self,
        record: &ReviveRecord,
        body: &CheckPointBody,
    ) -> Result<u64, AppendError> {
        let (end, place) = self.append_revive(record)?;
        self.broker.borrow_mut().checked(place, body, self.now_ms());
        self.pops
            .due_at(body.pop_time_ms.saturating_add(body.invisible_ms));
        Ok(end)
    }

    /// Appends a record to the revive log: its end in the log, and where it is.
    pub(super) fn append_revive(&self, record: &ReviveRecord) -> Result<(u64, Place), AppendError> {
        let now_ms = self.io.now().unix_ms;
        let topic = self.broker.borrow().pops.revive_topic;
        let plan = record.plan(topic, self.store_host, now_ms);
        let queue = self.store.queue(topic, plan.queue_id);
        let stored = self
            .store
            .append(queue, &plan.message(), plan.entry_code(), now_ms)?;
        let place = Place {
            revive_queue: plan.queue_id,
            offset: stored.queue_offset,
        };
        let bytes = stored.len as u64;
        self.broker
            .borrow_mut()
            .stored(topic, 1, bytes, now_ms as u64);
        Ok((stored.end, place))
    }
}
