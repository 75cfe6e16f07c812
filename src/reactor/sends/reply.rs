//! Replies to requests between clients: pushed to the client that asked and stored, answered when both are done.

use std::rc::Rc;

use super::Sends;
use crate::broker::Refusal;
use crate::broker::request_reply::{Asker, Hosts, ReplyPlan, push, pushed_properties};
use crate::io::Io;
use crate::message::ids::offset_message_id;
use crate::reactor::acks::SendReceipt;
use crate::reactor::admission::Admitted;
use crate::reactor::answers::not_appended;
use crate::reactor::caller::Caller;
use crate::reactor::calls::{CallError, Waiting};
use crate::reactor::connection::Connection;
use crate::reactor::inbox::Flow;
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::send::{SendReply, SendRequest};

/// As long as RocketMQ gives the client that asked (`Broker2Client.callClient`).
const PATIENCE_MS: u64 = 10_000;

/// A reply that is being pushed and committed.
struct UnderWay {
    push: Result<(Waiting, Asker), String>,
    /// Where it ends in the log, and what its sender's answer says.
    stored: Option<(u64, SendReceipt)>,
    queue_id: u32,
}

impl<I: Io> Sends<I> {
    pub(in crate::reactor) fn send_reply(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) -> Flow {
        let answers = &self.core.answers;
        if let Some(refusal) = self.core.admission.refusal() {
            return self.refuse(connection, caller, &refusal);
        }
        let now = self.core.io.now();
        let now_ms = now.unix_ms as u64;
        let peer = connection.as_peer(header);
        let admitted = SendRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                let mut broker = self.core.broker.borrow_mut();
                let plan = broker.admit_reply(&request, body, &peer, now_ms)?;
                Ok((request, plan))
            });
        let (request, plan) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                answers.refuse_send(connection, caller, &refusal);
                return Flow::Next;
            }
        };
        let mut stored = None;
        if let Some(record) = &plan.stored {
            let len = record.log_bytes(answers.store_host);
            match self.core.admission.admit(connection, len) {
                Admitted::Now => {}
                Admitted::Later => return Flow::Full(len),
                Admitted::Never(refusal) => return self.refuse(connection, caller, &refusal),
            }
            match self.core.append(record, now.unix_ms) {
                Ok(appended) => stored = Some(appended),
                Err(error) => {
                    answers.refuse_send(connection, caller, &not_appended(&error));
                    return Flow::Next;
                }
            }
        }
        let under_way = UnderWay {
            push: self.push_reply(connection, &plan, &request, body, now_ms),
            stored,
            queue_id: plan.queue_id,
        };
        let (sends, connection) = (self.clone(), connection.clone());
        self.core.io.spawn("request-reply", async move {
            sends.finish_reply(&connection, caller, under_way).await;
        });
        Flow::Next
    }

    fn push_reply(
        &self,
        from: &Connection<I::Stream>,
        plan: &ReplyPlan<'_>,
        request: &SendRequest<'_>,
        body: &[u8],
        now_ms: u64,
    ) -> Result<(Waiting, Asker), String> {
        let asker = plan.asker.clone()?;
        let hosts = Hosts {
            born: from.peer.to_string(),
            store: self.core.answers.store_host.to_string(),
        };
        let properties = pushed_properties(request.properties.unwrap_or(""), now_ms);
        let fields = push(request, &properties, &hosts, now_ms);
        let code = request::PUSH_REPLY_MESSAGE_TO_CLIENT;
        let waiting = match self.core.connections.find(asker.conn.0) {
            Some(connection) => self.calls.start(&connection, code, &fields.ext(), body),
            None => Err(CallError::Closed),
        };
        match waiting {
            Ok(waiting) => Ok((waiting, asker)),
            Err(error) => Err(not_pushed(&asker, &error.to_string())),
        }
    }

    /// The sender is answered when the client that asked has the reply and the log is as safe as for a send.
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
            Ok((waiting, asker)) => match waiting.answer(&self.core.io, PATIENCE_MS).await {
                Ok(answer) if answer.code == response::SUCCESS => Ok(()),
                Ok(answer) => Err(not_pushed(&asker, answer.remark.as_deref().unwrap_or(""))),
                Err(error) => Err(not_pushed(&asker, &error.to_string())),
            },
            Err(remark) => Err(remark),
        };
        let answers = &self.core.answers;
        let mut reply = SendReply {
            queue_id: queue_id as i32,
            transaction_id: None,
            msg_id: "0",
            trace_on: Some(answers.trace_on()),
            region: Some(&answers.region_id),
            batch_uniq_id: None,
            recall_handle: None,
            queue_offset: 0,
        };
        let mut id = None;
        if let Some((end, receipt)) = &stored {
            if let Err(error) = self.core.store.committed_beyond(end - 1).await {
                let refusal = Refusal::new(response::SYSTEM_ERROR, error.to_string());
                return answers.refuse_send(connection, caller, &refusal);
            }
            id = Some(offset_message_id(
                answers.store_host,
                receipt.physical_offset,
            ));
            reply.queue_offset = receipt.queue_offset as i64;
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
