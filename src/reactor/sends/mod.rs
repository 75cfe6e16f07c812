//! Sends: admitted by `broker/`, appended by `store/`, answered when the log is committed.
//!
//! `recall.rs` takes timed messages back, `back.rs` takes messages that consumers send back, `reply.rs` forwards replies to requests.

mod back;
mod recall;
mod reply;

use std::rc::Rc;

use super::acks::{Ack, Receipt};
use super::admission::Admitted;
use super::answers::not_appended;
use super::caller::Caller;
use super::calls::Calls;
use super::connection::Connection;
use super::core::Core;
use super::inbox::Flow;
use super::stages::Stopwatch;
use crate::broker::{ConfigFile, Refusal, SendPlan};
use crate::io::{Io, Now};
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::send::SendRequest;

/// Stores what clients send.
pub(super) struct Sends<I: Io> {
    core: Rc<Core<I>>,
    calls: Rc<Calls>,
}

impl<I: Io> Sends<I> {
    pub(super) fn new(core: Rc<Core<I>>, calls: Rc<Calls>) -> Rc<Self> {
        Rc::new(Sends { core, calls })
    }

    pub(super) fn send(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) -> Flow {
        if let Some(refusal) = self.core.admission.refusal() {
            return self.refuse(connection, caller, &refusal);
        }
        let now = self.core.io.now();
        let stopwatch = self
            .core
            .stages
            .send_begins(&self.core.io, caller.arrived_ns);
        let peer = connection.as_peer(header);
        let admitted = SendRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                let mut broker = self.core.broker.borrow_mut();
                let plan = broker.admit_send(&request, body, &peer, now.unix_ms as u64)?;
                Ok((request.topic, plan))
            });
        let (topic, plan) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse(connection, caller, &refusal),
        };
        if self.core.broker.borrow().topics().is_unsaved(topic) {
            let Some(trouble) = self.core.saves.trouble(ConfigFile::Topics) else {
                return Flow::Unsaved;
            };
            self.core.saves.soon(ConfigFile::Topics);
            let remark = format!("the new topic[{topic}] cannot be saved: {trouble}");
            let refusal = Refusal::new(response::SERVICE_NOT_AVAILABLE, remark);
            return self.refuse(connection, caller, &refusal);
        }
        if let Some(replication) = &self.core.replication
            && let Some(refusal) = replication.refuses_send(plan.waits_for_replicas())
        {
            return self.refuse(connection, caller, &refusal);
        }
        let len = plan.log_bytes(self.core.answers.store_host);
        match self.core.admission.admit(connection, len) {
            Admitted::Now => {}
            Admitted::Later => return Flow::Full(len),
            Admitted::Never(refusal) => return self.refuse(connection, caller, &refusal),
        }
        let is_batch = header.code == request::SEND_BATCH_MESSAGE;
        let stopwatch = stopwatch.map(Stopwatch::admitted);
        let is_stored = self.append(connection, caller, &plan, is_batch, now);
        if let Some(stopwatch) = stopwatch {
            stopwatch.appended();
        }
        if is_stored && plan.is_half() {
            self.core.broker.borrow_mut().half_stored(topic);
        }
        Flow::Next
    }

    /// Appends a send; it is answered once it is committed. `false`: it could not be appended, and was refused.
    fn append(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        plan: &SendPlan<'_>,
        is_batch: bool,
        now: Now,
    ) -> bool {
        match self.core.append(plan, now.unix_ms) {
            Ok((end, mut receipt)) if !caller.is_oneway => {
                if !is_batch {
                    let handle = self.core.broker.borrow().recall_handle(plan);
                    receipt.recall_handle = handle.map(String::into_boxed_str);
                }
                let ack = Ack {
                    end,
                    appended_ns: now.mono_ns,
                    connection: connection.clone(),
                    caller,
                    receipt: Receipt::Send(receipt),
                };
                match &self.core.replication {
                    Some(replication)
                        if replication.waits_for_replicas() && !plan.waits_for_replicas() =>
                    {
                        replication.wait_alone(ack);
                    }
                    _ => self.core.acks.push(ack),
                }
            }
            Ok(_) => connection.answered(caller, response::SUCCESS),
            Err(error) => {
                self.refuse(connection, caller, &not_appended(&error));
                return false;
            }
        }
        true
    }

    fn refuse(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        refusal: &Refusal,
    ) -> Flow {
        self.core.broker.borrow_mut().send_failed();
        self.core.answers.refuse_send(connection, caller, refusal);
        Flow::Next
    }
}
