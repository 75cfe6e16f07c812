//! Recalls: a timed message is taken back by a record in the timer topic, and answered once that is committed.

use std::rc::Rc;

use super::Sends;
use crate::broker::Refusal;
use crate::io::Io;
use crate::reactor::acks::{Ack, Receipt};
use crate::reactor::admission::Admitted;
use crate::reactor::caller::Caller;
use crate::reactor::connection::Connection;
use crate::reactor::inbox::Flow;
use crate::wire::Header;
use crate::wire::codes::response;
use crate::wire::send::RecallRequest;

impl<I: Io> Sends<I> {
    pub(in crate::reactor) fn recall(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Flow {
        if let Some(refusal) = self.core.admission.refusal() {
            return self.refuse_recall(connection, caller, &refusal);
        }
        let now = self.core.io.now();
        let peer = connection.as_peer(header);
        let reached_ms = match mutant!(RecallsByClock) {
            true => 0,
            false => self.core.timers.reached_ms(),
        };
        let admitted = RecallRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                let broker = self.core.broker.borrow();
                broker.admit_recall(&request, &peer, now.unix_ms as u64, reached_ms)
            });
        let (plan, unique_key) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse_recall(connection, caller, &refusal),
        };
        let len = plan.log_bytes(self.core.answers.store_host);
        match self.core.admission.admit(connection, len) {
            Admitted::Now => {}
            Admitted::Later => return Flow::Full(len),
            Admitted::Never(refusal) => return self.refuse_recall(connection, caller, &refusal),
        }
        match self.core.append_one(&plan, now.unix_ms) {
            Ok(stored) => {
                let receipt = Receipt::Recall {
                    unique_key: unique_key.into(),
                };
                self.core.acks.push(Ack {
                    end: stored.end,
                    appended_ns: now.mono_ns,
                    connection: connection.clone(),
                    caller,
                    receipt,
                });
                Flow::Next
            }
            Err(error) => {
                let remark = format!("recall failed, execute error: {error}");
                let refusal = Refusal::new(response::SYSTEM_ERROR, remark);
                self.refuse_recall(connection, caller, &refusal)
            }
        }
    }

    fn refuse_recall(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        refusal: &Refusal,
    ) -> Flow {
        let answers = &self.core.answers;
        answers.refuse_recall(connection, caller, refusal);
        Flow::Next
    }
}
