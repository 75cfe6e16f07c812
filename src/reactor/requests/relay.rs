//! Requests of administrators to clients: the client is asked, and its answer is forwarded.

use std::rc::Rc;

use super::Requests;
use crate::broker::requests::StatusTable;
use crate::broker::step::StatusAsked;
use crate::broker::{ClientRequest, ConnId, Refusal, Relay};
use crate::io::{Io, yield_now};
use crate::reactor::access::Asker;
use crate::reactor::answers::unreadable;
use crate::reactor::calls::{Answer, CallError, Waiting, values};
use crate::wire::Reply;
use crate::wire::codes::response;

/// As RocketMQ waits for a client (`Broker2Client`).
const PATIENCE_MS: u64 = 10_000;
const STATUS_PATIENCE_MS: u64 = 5_000;

/// Clients that are asked at the same time for one answer. Each may answer with megabytes.
const ASKED_AT_A_TIME: usize = 16;

/// Clients of a group that are looked at in one turn where one of them is asked.
const LOOKED_AT_AT_A_TIME: usize = 512;

impl<I: Io> Requests<I> {
    pub(super) async fn consume_directly(
        self: &Rc<Self>,
        mut relay: Relay,
        physical_offset: u64,
        asker: Option<&Asker>,
    ) -> Result<Reply, Refusal> {
        let record = self.core.store.record_at(physical_offset).await;
        let Some(record) = record.map_err(unreadable)? else {
            let remark = format!("can not find message by the offset, {physical_offset}");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        self.core.check_message(asker, &record)?;
        relay.request.body = record;
        self.forward(&relay).await
    }

    /// Several clients are asked at the same time, and have the same time to answer. One that does not is left out, as in RocketMQ; so are
    /// those that cannot be asked within the time of one answer.
    pub(super) async fn consumer_status(&self, mut clients: StatusAsked) -> Result<Reply, Refusal> {
        let mut table = StatusTable::default();
        let now_ms = || self.core.io.now().mono_ns / 1_000_000;
        let end_ms = now_ms() + PATIENCE_MS;
        loop {
            let relays = {
                let broker = self.core.broker.borrow();
                broker.next_to_ask(&mut clients, ASKED_AT_A_TIME, LOOKED_AT_AT_A_TIME)
            };
            let Some(relays) = relays else { break };
            // Where one is looked for there may be nothing to wait for.
            yield_now().await;
            let asked: Vec<_> = relays
                .iter()
                .filter_map(|relay| Some((relay, self.start(relay.conn, &relay.request).ok()?)))
                .collect();
            let slice_end_ms = end_ms.min(now_ms() + STATUS_PATIENCE_MS);
            for (relay, call) in asked {
                let left_ms = slice_end_ms.saturating_sub(now_ms());
                if let Ok(answer) = call.answer(&self.core.io, left_ms).await
                    && answer.code == response::SUCCESS
                {
                    table.add(&relay.name, &answer.body)?;
                }
                // A body may have thousands of queues.
                yield_now().await;
            }
            if now_ms() >= end_ms {
                break;
            }
        }
        Ok(table.into_reply())
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
        let call = self.start(conn, request)?;
        call.answer(&self.core.io, timeout_ms).await
    }

    fn start(&self, conn: ConnId, request: &ClientRequest) -> Result<Waiting, CallError> {
        let connection = self.core.connections.find(conn.0);
        let connection = connection.ok_or(CallError::Closed)?;
        let ext = values(&request.ext);
        let calls = &self.calls;
        calls.start(&connection, request.code, &ext, &request.body)
    }
}
