//! Sends: admitted by `broker/`, appended by `store/`, answered when the log is committed.

use std::rc::Rc;

use super::acks::{Ack, Receipt, UniqueKey};
use super::connection::{Caller, Connection};
use super::inbox::Flow;
use super::room::Admitted;
use super::shard::Shard;
use crate::broker::{ConfigFile, Refusal, SendPlan, recall};
use crate::io::{Io, Now};
use crate::message::batch;
use crate::message::ids::offset_message_id;
use crate::store::{AppendError, Appended, QueueIndex};
use crate::wire::codes::{request, response};
use crate::wire::send::{RecallReply, RecallRequest, SendReply, SendRequest};
use crate::wire::{Header, Value};

impl<I: Io> Shard<I> {
    pub(super) fn send(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) -> Flow {
        if let Some(refusal) = self.busy() {
            return self.refuse_admission(connection, caller, &refusal);
        }
        let now = self.io.now();
        let (topic, plan) = {
            let mut broker = self.broker.borrow_mut();
            let peer = self.peer(connection, header);
            let admitted = SendRequest::decode(&header.ext)
                .map_err(Refusal::from)
                .and_then(|request| {
                    let plan = broker.admit_send(&request, body, &peer, now.unix_ms as u64)?;
                    Ok((request.topic, plan))
                });
            match admitted {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    broker.stats.put_failed();
                    self.refuse_send(connection, caller, refusal.code, &refusal.remark);
                    return Flow::Next;
                }
            }
        };
        if self.broker.borrow().topics.is_unsaved(topic) {
            let Some(trouble) = self.saves.trouble(ConfigFile::Topics) else {
                return Flow::Unsaved;
            };
            self.saves.soon(ConfigFile::Topics);
            let remark = format!("the new topic[{topic}] cannot be saved: {trouble}");
            let refusal = Refusal::new(response::SERVICE_NOT_AVAILABLE, remark);
            return self.refuse_admission(connection, caller, &refusal);
        }
        let len = plan.log_bytes(self.store_host);
        match self.admit(connection, len) {
            Admitted::Now => {}
            Admitted::Later => return Flow::Full(len),
            Admitted::Never(refusal) => {
                return self.refuse_admission(connection, caller, &refusal);
            }
        }
        let is_batch = header.code == request::SEND_BATCH_MESSAGE;
        self.append_send(connection, caller, &plan, is_batch, now);
        Flow::Next
    }

    /// Appends a send; it is answered once it is committed.
    fn append_send(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        plan: &SendPlan<'_>,
        is_batch: bool,
        now: Now,
    ) {
        match self.append(plan, now.unix_ms) {
            Ok((end, mut receipt)) if !caller.is_oneway => {
                if !is_batch && let Receipt::Send { recall_handle, .. } = &mut receipt {
                    let handle = self.broker.borrow().recall_handle(plan);
                    *recall_handle = handle.map(String::into_boxed_str);
                }
                let connection = connection.clone();
                let ack = Ack {
                    end,
                    appended_ns: now.mono_ns,
                    connection,
                    caller,
                    receipt,
                };
                self.acks.borrow_mut().push(ack);
            }
            Ok(_) => {}
            Err(error) => {
                self.broker.borrow_mut().stats.put_failed();
                let (code, remark) = refusal_of(&error);
                self.refuse_send(connection, caller, code, &remark);
            }
        }
    }

    /// Takes a timed message back: answered once that is committed.
    pub(super) fn recall(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Flow {
        if let Some(refusal) = self.busy() {
            self.refuse_recall(connection, caller, &refusal);
            return Flow::Next;
        }
        let now = self.io.now();
        let peer = self.peer(connection, header);
        let admitted = RecallRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                let broker = self.broker.borrow();
                broker.admit_recall(&request, &peer, now.unix_ms as u64)
            });
        let (plan, unique_key) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.refuse_recall(connection, caller, &refusal);
                return Flow::Next;
            }
        };
        let len = plan.log_bytes(self.store_host);
        match self.admit(connection, len) {
            Admitted::Now => {}
            Admitted::Later => return Flow::Full(len),
            Admitted::Never(refusal) => {
                self.refuse_recall(connection, caller, &refusal);
                return Flow::Next;
            }
        }
        match self.append(&plan, now.unix_ms) {
            Ok((end, _)) => {
                let ack = Ack {
                    end,
                    appended_ns: now.mono_ns,
                    connection: connection.clone(),
                    caller,
                    receipt: Receipt::Recall {
                        unique_key: unique_key.into(),
                        due_ms: plan.timer_out_ms.unwrap_or(i64::MAX),
                    },
                };
                self.acks.borrow_mut().push(ack);
            }
            Err(error) => {
                let remark = format!("recall failed, execute error: {error}");
                let refusal = Refusal::new(response::SYSTEM_ERROR, remark);
                self.refuse_recall(connection, caller, &refusal);
            }
        }
        Flow::Next
    }

    fn refuse_recall(&self, connection: &Connection<I::Stream>, caller: Caller, refusal: &Refusal) {
        let ext = [("MSG_REGION", Value::Str(&self.region_id))];
        connection.answer(caller, refusal.code, Some(&refusal.remark), &ext, &[]);
    }

    /// Appends what a plan says, one record or a batch. Returns the end of it in the log, and what to tell the sender.
    pub(super) fn append(
        &self,
        plan: &SendPlan<'_>,
        now_ms: i64,
    ) -> Result<(u64, Receipt), AppendError> {
        let (last, queue_offset, batch_ids) = match plan.batch {
            None => {
                let stored = self.append_one(plan, now_ms)?;
                (stored, stored.queue_offset, None)
            }
            Some(count) => {
                let (last, first_offset, ids) = self.append_batch(plan, now_ms)?;
                self.count(plan, count, &last);
                (last, first_offset, Some(ids))
            }
        };
        let receipt = Receipt::Send {
            queue_id: plan.real_queue_id,
            queue_offset,
            physical_offset: last.physical_offset,
            unique_key: UniqueKey::new(plan.unique_key.as_str().unwrap_or_default()),
            batch_ids,
            recall_handle: None,
        };
        Ok((last.end, receipt))
    }

    /// Appends what a plan that is no batch says.
    pub(super) fn append_one(
        &self,
        plan: &SendPlan<'_>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let (queue, message) = (self.queue_of(plan), plan.message());
        let stored = self
            .store
            .append(queue, &message, plan.entry_code(), now_ms)?;
        self.count(plan, 1, &stored);
        Ok(stored)
    }

    fn count(&self, plan: &SendPlan<'_>, messages: u32, last: &Appended) {
        let bytes = last.len as u64 * u64::from(messages);
        let now_ms = last.store_timestamp_ms as u64;
        self.broker
            .borrow_mut()
            .stored(&plan.topic, messages.into(), bytes, now_ms);
    }

    /// Returns the last of them, the queue offset of the first, and all their message ids.
    fn append_batch(
        &self,
        plan: &SendPlan<'_>,
        now_ms: i64,
    ) -> Result<(Appended, u64, Box<str>), AppendError> {
        // `admit_send` has found all of them well formed.
        let messages: Vec<_> = batch::iter(plan.body)
            .filter_map(Result::ok)
            .map(|item| plan.batch_message(&item))
            .collect();
        let queue = self.queue_of(plan);
        let stored = self.store.append_batch(queue, &messages, now_ms)?;
        let mut ids = String::new();
        for appended in &stored {
            if !ids.is_empty() {
                ids.push(',');
            }
            ids.push_str(&offset_message_id(
                self.store_host,
                appended.physical_offset,
            ));
        }
        let (first, last) = (stored.first(), stored.last());
        let (first, last) = first.zip(last).expect("a batch has at least one message");
        Ok((*last, first.queue_offset, ids.into()))
    }

    fn queue_of(&self, plan: &SendPlan<'_>) -> QueueIndex {
        plan.queue.unwrap_or_else(|| {
            let queue = self.store.queue(&plan.topic, plan.queue_id);
            self.remember_queue(&plan.topic, plan.queue_id, queue);
            queue
        })
    }

    /// Answers a send whose record is in the log; `code` says how safe it is there.
    pub(super) fn acknowledge(&self, ack: &Ack<I::Stream>, code: i32, remark: Option<&str>) {
        if let Receipt::Recall { unique_key, due_ms } = &ack.receipt {
            if self.io.now().unix_ms >= *due_ms {
                return self.refuse_recall(&ack.connection, ack.caller, &recall::too_late());
            }
            let reply = RecallReply { msg_id: unique_key };
            let mut ext = reply.ext().to_vec();
            ext.push(("MSG_REGION", Value::Str(&self.region_id)));
            return ack
                .connection
                .answer(ack.caller, response::SUCCESS, None, &ext, &[]);
        }
        if let Receipt::Changed(reply) = &ack.receipt {
            return ack
                .connection
                .answer(ack.caller, code, remark, &reply.ext(), &[]);
        }
        let Receipt::Send {
            queue_id,
            queue_offset,
            physical_offset,
            unique_key,
            batch_ids,
            recall_handle,
        } = &ack.receipt
        else {
            return ack.connection.answer(ack.caller, code, remark, &[], &[]);
        };
        let id = offset_message_id(self.store_host, *physical_offset);
        let reply = SendReply {
            queue_id: *queue_id as i32,
            transaction_id: Some(unique_key.as_str()),
            msg_id: batch_ids.as_deref().unwrap_or(&id),
            trace_on: Some(self.trace_on),
            region: Some(&self.region_id),
            batch_uniq_id: None,
            recall_handle: recall_handle.as_deref(),
            queue_offset: *queue_offset as i64,
        };
        ack.connection
            .answer(ack.caller, code, remark, &reply.ext(), &[]);
    }

    /// The disk does not keep up.
    pub(super) fn refuse_admission(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        refusal: &Refusal,
    ) -> Flow {
        self.broker.borrow_mut().stats.put_failed();
        self.refuse_send(connection, caller, refusal.code, &refusal.remark);
        Flow::Next
    }

    /// RocketMQ's refusals of a send carry these two fields as well.
    pub(super) fn refuse_send(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        code: i32,
        remark: &str,
    ) {
        use Value::Str;
        let ext = [
            ("TRACE_ON", Str(self.trace_on)),
            ("MSG_REGION", Str(&self.region_id)),
        ];
        connection.answer(caller, code, Some(remark), &ext, &[]);
    }
}

/// RocketMQ's code for what kept a record out of the log.
pub(super) fn refusal_of(error: &AppendError) -> (i32, String) {
    let code = match error {
        AppendError::BodySize { .. }
        | AppendError::PropertiesSize { .. }
        | AppendError::TopicSize { .. }
        | AppendError::RecordSize { .. } => response::MESSAGE_ILLEGAL,
        _ => response::SERVICE_NOT_AVAILABLE,
    };
    (code, error.to_string())
}
