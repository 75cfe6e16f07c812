//! Answers whose fields do not depend on the service that gives them: refusals, and those to sends and recalls.

use std::cell::Cell;
use std::net::SocketAddr;

use super::ShardSetup;
use super::acks::{Ack, Receipt, SendReceipt};
use super::caller::Caller;
use super::connection::Connection;
use crate::broker::Refusal;
use crate::io::Stream;
use crate::message::ids::offset_message_id;
use crate::metrics::text::truth;
use crate::store::{AppendError, ReadError};
use crate::wire::Reply;
use crate::wire::Value;
use crate::wire::codes::response;
use crate::wire::send::{RecallReply, SendReply};

pub(super) fn answer<S: Stream>(connection: &Connection<S>, caller: Caller, mut reply: Reply) {
    let body = std::mem::take(&mut reply.body);
    let remark = reply.remark.as_deref();
    connection.answer_with(caller, reply.code, remark, &reply.ext_values(), body);
}

pub(super) fn refuse<S: Stream>(connection: &Connection<S>, caller: Caller, refusal: &Refusal) {
    let forbidden = refusal
        .forbidden_type
        .map(|kind| ("forbiddenType", Value::I64(kind.into())));
    connection.answer(
        caller,
        refusal.code,
        Some(&refusal.remark),
        forbidden.as_slice(),
        &[],
    );
}

/// RocketMQ's code for what kept a record out of the log.
pub(super) fn not_appended(error: &AppendError) -> Refusal {
    let code = match error {
        AppendError::BodySize { .. }
        | AppendError::PropertiesSize { .. }
        | AppendError::TopicSize { .. }
        | AppendError::RecordSize { .. } => response::MESSAGE_ILLEGAL,
        _ => response::SERVICE_NOT_AVAILABLE,
    };
    Refusal::new(code, error.to_string())
}

pub(super) fn unreadable(error: ReadError) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}

/// Answers to sends and recalls: RocketMQ's have fields about the broker.
pub(super) struct SendAnswers {
    pub store_host: SocketAddr,
    pub region_id: String,
    trace_on: Cell<bool>,
}

impl SendAnswers {
    pub fn new(setup: &ShardSetup) -> Self {
        SendAnswers {
            store_host: setup.store.store_host,
            region_id: setup.broker.region_id.clone(),
            trace_on: Cell::new(setup.broker.trace_on),
        }
    }

    pub fn say_trace_on(&self, is_on: bool) {
        self.trace_on.set(is_on);
    }

    /// `traceOn`, as it is now.
    pub fn trace_on(&self) -> &'static str {
        truth(self.trace_on.get())
    }

    /// Answers a request whose record is in the log; `code` says how safe it is there.
    pub fn acknowledge<S: Stream>(&self, ack: &Ack<S>, code: i32, remark: Option<&str>) {
        let (connection, caller) = (&*ack.connection, ack.caller);
        // Only senders are told that replicas are missing. Other clients take everything but success for a failure, and would send back or
        // acknowledge again what is stored (`AckMessageProcessor`, `EndTransactionProcessor`).
        let (code, remark) = match (&ack.receipt, code) {
            (Receipt::Send(_), _) => (code, remark),
            (_, response::SLAVE_NOT_AVAILABLE | response::FLUSH_SLAVE_TIMEOUT) => {
                (response::SUCCESS, None)
            }
            _ => (code, remark),
        };
        match &ack.receipt {
            Receipt::Send(receipt) => {
                self.acknowledge_send(connection, caller, receipt, code, remark);
            }
            // It counts, also if the message has become due meanwhile: what is due waits for the recalls that were granted before.
            Receipt::Recall { unique_key } => {
                let reply = RecallReply { msg_id: unique_key };
                let mut ext = reply.ext().to_vec();
                ext.push(("MSG_REGION", Value::Str(&self.region_id)));
                connection.answer(caller, response::SUCCESS, None, &ext, &[]);
            }
            Receipt::Changed(reply) => connection.answer(caller, code, remark, &reply.ext(), &[]),
            Receipt::Plain => connection.answer(caller, code, remark, &[], &[]),
        }
    }

    fn acknowledge_send<S: Stream>(
        &self,
        connection: &Connection<S>,
        caller: Caller,
        receipt: &SendReceipt,
        code: i32,
        remark: Option<&str>,
    ) {
        let id = offset_message_id(self.store_host, receipt.physical_offset);
        let reply = SendReply {
            queue_id: receipt.queue_id as i32,
            transaction_id: Some(receipt.unique_key.as_str()),
            msg_id: receipt.batch_ids.as_deref().unwrap_or(&id),
            trace_on: Some(self.trace_on()),
            region: Some(&self.region_id),
            batch_uniq_id: receipt
                .is_inner_batch
                .then_some(receipt.unique_key.as_str()),
            recall_handle: receipt.recall_handle.as_deref(),
            queue_offset: receipt.queue_offset as i64,
        };
        connection.answer(caller, code, remark, &reply.ext(), &[]);
    }

    /// RocketMQ's refusals of a send have these two fields as well.
    pub fn refuse_send<S: Stream>(
        &self,
        connection: &Connection<S>,
        caller: Caller,
        refusal: &Refusal,
    ) {
        let ext = [
            ("TRACE_ON", Value::Str(self.trace_on())),
            ("MSG_REGION", Value::Str(&self.region_id)),
        ];
        connection.answer(caller, refusal.code, Some(&refusal.remark), &ext, &[]);
    }

    pub fn refuse_recall<S: Stream>(
        &self,
        connection: &Connection<S>,
        caller: Caller,
        refusal: &Refusal,
    ) {
        let ext = [("MSG_REGION", Value::Str(&self.region_id))];
        connection.answer(caller, refusal.code, Some(&refusal.remark), &ext, &[]);
    }
}
