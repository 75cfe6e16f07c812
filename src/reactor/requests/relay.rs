//! Questions of administrators to a client: it is asked, and its answer is forwarded.

use std::rc::Rc;

use super::Requests;
use crate::broker::{ClientRequest, ConnId, Refusal, Relay};
use crate::io::Io;
use crate::reactor::answers::unreadable;
use crate::reactor::calls::{Answer, CallError, values};
use crate::wire::Reply;
use crate::wire::admin::{ConsumerTable, QueueOffsets};
use crate::wire::codes::response;
use crate::wire::loose_json;
use crate::wire::stats::ConsumerStatusBody;

/// As RocketMQ waits for a client (`Broker2Client`).
const PATIENCE_MS: u64 = 10_000;
const STATUS_PATIENCE_MS: u64 = 5_000;

impl<I: Io> Requests<I> {
    pub(super) async fn consume_directly(
        self: &Rc<Self>,
        mut relay: Relay,
        physical_offset: u64,
    ) -> Result<Reply, Refusal> {
        let record = self.core.store.record_at(physical_offset).await;
        let Some(record) = record.map_err(unreadable)? else {
            let remark = format!("can not find message by the offset, {physical_offset}");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        relay.request.body = record;
        self.forward(&relay).await
    }

    /// A client that does not answer is left out, as in RocketMQ.
    pub(super) async fn consumer_status(
        self: &Rc<Self>,
        relays: Vec<Relay>,
    ) -> Result<Reply, Refusal> {
        let mut table = ConsumerTable::default();
        for relay in relays {
            let answer = self
                .ask(relay.conn, &relay.request, STATUS_PATIENCE_MS)
                .await;
            if let Ok(answer) = answer
                && answer.code == response::SUCCESS
                && let Ok(status) = loose_json::from_slice::<ConsumerStatusBody>(&answer.body)
            {
                let offsets = QueueOffsets(status.message_queue_table);
                table.consumer_table.insert(relay.name, offsets);
            }
        }
        Ok(Reply {
            body: loose_json::to_vec(&table),
            ..Reply::ok()
        })
    }

    pub(super) async fn forward(&self, relay: &Relay) -> Result<Reply, Refusal> {
        let name = &relay.name;
        match self.ask(relay.conn, &relay.request, PATIENCE_MS).await {
            Ok(answer) => Ok(Reply {
                code: answer.code,
                remark: answer.remark.map(Into::into),
                ext: Vec::new(),
                body: answer.body,
            }),
            Err(error @ CallError::TimedOut { .. }) => Err(Refusal::new(
                response::CONSUME_MSG_TIMEOUT,
                format!("consumer {name} Timeout: {error}"),
            )),
            Err(error) => Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("invoke consumer {name} Exception: {error}"),
            )),
        }
    }

    async fn ask(
        &self,
        conn: ConnId,
        request: &ClientRequest,
        timeout_ms: u64,
    ) -> Result<Answer, CallError> {
        let connection = self
            .core
            .connections
            .find(conn.0)
            .ok_or(CallError::Closed)?;
        let ext = values(&request.ext);
        let calls = &self.calls;
        let call = calls.start(&connection, request.code, &ext, &request.body)?;
        call.answer(&self.core.io, timeout_ms).await
    }
}
