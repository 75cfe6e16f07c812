//! Replies to requests: handed to who asked and stored, answered when both are done.

use std::rc::Rc;

use super::acks::Receipt;
use super::calls::{CallError, Waiting};
use super::connection::{Caller, Connection};
use super::inbox::Flow;
use super::room::Admitted;
use super::send::refusal_of;
use super::shard::Shard;
use crate::broker::Refusal;
use crate::broker::request_reply::{Asker, Hosts, ReplyPlan, push, pushed_properties};
use crate::io::Io;
use crate::message::ids::offset_message_id;
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::send::{SendReply, SendRequest};

/// As long as RocketMQ gives who asked (`Broker2Client.callClient`).
const PATIENCE_MS: u64 = 10_000;

/// A reply on its way.
struct UnderWay {
    push: Result<(Waiting, Asker), String>,
    /// Where it ends in the log, and what its sender is told of it.
    stored: Option<(u64, Receipt)>,
    queue_id: u32,
}

impl<I: Io> Shard<I> {
    pub(super) fn send_reply(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) -> Flow {
        if let Some(refusal) = self.busy() {
            return self.refuse_admission(connection, caller, &refusal);
        }
        let now = self.io.now();
        let now_ms = now.unix_ms as u64;
        let peer = self.peer(connection, header);
        let admitted = SendRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                let mut broker = self.broker.borrow_mut();
                let plan = broker.admit_reply(&request, body, &peer, now_ms)?;
                Ok((request, plan))
            });
        let (request, plan) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.refuse_send(connection, caller, refusal.code, &refusal.remark);
                return Flow::Next;
            }
        };
        let stored = plan.stored.as_ref();
        let len = stored.map_or(0, |plan| plan.log_bytes(self.store_host));
        if len > 0 {
            match self.admit(connection, len) {
                Admitted::Now => {}
                Admitted::Later => return Flow::Full(len),
                Admitted::Never(refusal) => {
                    return self.refuse_admission(connection, caller, &refusal);
                }
            }
        }
        let stored = match plan
            .stored
            .as_ref()
            .map(|plan| self.append(plan, now.unix_ms))
        {
            Some(Err(error)) => {
                let (code, remark) = refusal_of(&error);
                self.refuse_send(connection, caller, code, &remark);
                return Flow::Next;
            }
            stored => stored.and_then(Result::ok),
        };
        let hosts = Hosts {
            born: connection.peer.to_string(),
            store: self.store_host.to_string(),
        };
        let under_way = UnderWay {
            push: self.push_reply(&plan, &request, body, &hosts, now_ms),
            stored,
            queue_id: plan.queue_id,
        };
        let (shard, connection) = (self.clone(), connection.clone());
        self.io.spawn("request-reply", async move {
            shard.finish_reply(&connection, caller, under_way).await;
        });
        Flow::Next
    }

    fn push_reply(
        &self,
        plan: &ReplyPlan<'_>,
        request: &SendRequest<'_>,
        body: &[u8],
        hosts: &Hosts,
        now_ms: u64,
    ) -> Result<(Waiting, Asker), String> {
        let asker = plan.asker.clone()?;
        let properties = pushed_properties(request.properties.unwrap_or(""), now_ms);
        let fields = push(request, &properties, hosts, now_ms);
        let code = request::PUSH_REPLY_MESSAGE_TO_CLIENT;
        let waiting = match self.connections.find(asker.conn.0) {
            Some(connection) => self.start_call(&connection, code, &fields.ext(), body),
            None => Err(CallError::Closed),
        };
        match waiting {
            Ok(waiting) => Ok((waiting, asker)),
            Err(error) => Err(not_pushed(&asker, &error.to_string())),
        }
    }

    /// The sender hears of success when who asked has the reply and the log is as safe as a send's.
    async fn finish_reply(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        under_way: UnderWay,
    ) {
        let UnderWay {
            push,
            stored,
            queue_id,
        } = under_way;
        let pushed = match push {
            Ok((waiting, asker)) => match self.answer_of(&waiting, PATIENCE_MS).await {
                Ok(answer) if answer.code == response::SUCCESS => Ok(()),
                Ok(answer) => Err(not_pushed(&asker, answer.remark.as_deref().unwrap_or(""))),
                Err(error) => Err(not_pushed(&asker, &error.to_string())),
            },
            Err(remark) => Err(remark),
        };
        let mut reply = SendReply {
            queue_id: queue_id as i32,
            transaction_id: None,
            msg_id: "0",
            trace_on: Some(self.trace_on),
            region: Some(&self.region_id),
            batch_uniq_id: None,
            recall_handle: None,
            queue_offset: 0,
        };
        let mut id = None;
        if let Some((end, receipt)) = &stored {
            if let Err(error) = self.store.committed_beyond(end - 1).await {
                let code = response::SYSTEM_ERROR;
                return self.refuse_send(connection, caller, code, &error.to_string());
            }
            if let Receipt::Send {
                physical_offset,
                queue_offset,
                ..
            } = receipt
            {
                id = Some(offset_message_id(self.store_host, *physical_offset));
                reply.queue_offset = *queue_offset as i64;
            }
        }
        reply.msg_id = id.as_deref().unwrap_or("0");
        let (code, remark) = match &pushed {
            Ok(()) => (response::SUCCESS, None),
            Err(remark) => (response::SYSTEM_ERROR, Some(&**remark)),
        };
        connection.answer(caller, code, remark, &reply.ext(), &[]);
    }
}

fn not_pushed(asker: &Asker, why: &str) -> String {
    format!("push reply message to {} fail: {why}", asker.client_id)
}
