//! Acknowledgements and changes of the invisible time: decided at once, answered when their records are committed.

use std::rc::Rc;

use super::super::acks::{Ack, Receipt};
use super::super::answers::{not_appended, refuse};
use super::super::caller::Caller;
use super::super::connection::Connection;
use super::super::view::View;
use super::{Pops, revive_log};
use crate::broker::Refusal;
use crate::broker::pop::{Acknowledged, Changed, End, Moved, ReviveRecord};
use crate::io::{Io, yield_now};
use crate::store::AppendError;
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::pop::{AckRequest, BatchAckRequest, ChangeInvisibleTime, CheckPointBody};

/// What is to be written before the answer. Until it is, nothing of it has happened.
#[allow(clippy::large_enum_variant, reason = "it lives for one turn")]
enum Step {
    End(End),
    Move(Moved),
}

impl Step {
    fn log_bytes(&self) -> usize {
        match self {
            Step::End(end) => end.record.log_bytes(),
            Step::Move(moved) => moved.log_bytes(),
        }
    }

    fn receipt(&self) -> Receipt {
        match self {
            Step::End(_) => Receipt::Plain,
            Step::Move(moved) => Receipt::Changed(moved.reply()),
        }
    }
}

/// Records that one request writes in a turn; of more each waits for its room.
const AT_ONCE: usize = 64;

/// What an answer says, and how far the log has to be committed before.
struct Answer {
    receipt: Receipt,
    end: u64,
}

impl<I: Io> Pops<I> {
    pub(in crate::reactor) fn acknowledge(
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
            Ok((steps, answer)) => self.answer_written(connection, caller, steps, answer),
            Err(refusal) => refuse(connection, caller, &refusal),
        }
    }

    fn decide_ack(
        self: &Rc<Self>,
        header: &Header<'_>,
        body: &[u8],
    ) -> Result<(Vec<Step>, Answer), Refusal> {
        let (now_ms, view) = (self.core.now_ms(), View { core: &self.core });
        let done = match header.code {
            request::BATCH_ACK_MESSAGE => {
                let request = BatchAckRequest::decode(body)?;
                let mut broker = self.core.broker.borrow_mut();
                broker.admit_batch_ack(&request, &view, now_ms)?
            }
            _ => {
                let request = AckRequest::decode(&header.ext)?;
                let mut broker = self.core.broker.borrow_mut();
                broker.admit_ack(&request, &view, now_ms)?
            }
        };
        let Acknowledged {
            ends,
            is_repeated,
            freed,
        } = done;
        for (group, topic, queue_id) in freed {
            self.wake_freed(&group, &topic, queue_id);
        }
        let end = match is_repeated {
            true => self.core.store.tail(),
            false => self.core.store.committed(),
        };
        let receipt = Receipt::Plain;
        let steps = ends.into_iter().map(Step::End).collect();
        Ok((steps, Answer { receipt, end }))
    }

    fn decide_change(&self, header: &Header<'_>) -> Result<(Vec<Step>, Answer), Refusal> {
        let request = ChangeInvisibleTime::decode(&header.ext)?;
        let (now_ms, view) = (self.core.now_ms(), View { core: &self.core });
        let changed = self
            .core
            .broker
            .borrow_mut()
            .admit_change(&request, &view, now_ms)?;
        let (steps, reply) = match changed {
            Changed::Moved(moved) => {
                let reply = moved.reply();
                (vec![Step::Move(moved)], reply)
            }
            Changed::InOrder(reply) => (Vec::new(), reply),
        };
        let (receipt, end) = (Receipt::Changed(reply), self.core.store.committed());
        Ok((steps, Answer { receipt, end }))
    }

    /// Writes now if there is room, else in a task of its own.
    fn answer_written(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        steps: Vec<Step>,
        answer: Answer,
    ) {
        let bytes = steps.iter().map(Step::log_bytes).sum();
        if steps.len() <= AT_ONCE && self.core.store.room_for(bytes) {
            let written = self.write_all(&steps, answer);
            return self.answer_at(connection, caller, written);
        }
        let (pops, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.core.io.spawn("pop-ack", async move {
            let _reading = reading;
            let written = pops.write_in_turn(steps, answer).await;
            pops.answer_at(&connection, caller, written);
        });
    }

    fn write_all(self: &Rc<Self>, steps: &[Step], answer: Answer) -> Result<Answer, Refusal> {
        steps.iter().try_fold(answer, |_, step| {
            let end = self.write(step).map_err(|error| not_appended(&error))?;
            let receipt = step.receipt();
            Ok(Answer { receipt, end })
        })
    }

    /// Each when there is room for it, and as it is then.
    async fn write_in_turn(
        self: &Rc<Self>,
        steps: Vec<Step>,
        mut answer: Answer,
    ) -> Result<Answer, Refusal> {
        for (index, step) in steps.into_iter().enumerate() {
            if index % AT_ONCE == AT_ONCE - 1 {
                yield_now().await;
            }
            let _turn = self.core.admission.enter(step.log_bytes()).await?;
            answer = match self.decide_again(&step)? {
                Some(step) => self.write_all(&[step], answer)?,
                None => Answer {
                    end: self.core.store.tail(),
                    ..answer
                },
            };
        }
        Ok(answer)
    }

    fn decide_again(&self, step: &Step) -> Result<Option<Step>, Refusal> {
        let broker = self.core.broker.borrow();
        Ok(match step {
            Step::End(end) => broker.end_again(end).map(Step::End),
            Step::Move(moved) => Some(Step::Move(broker.move_again(moved, self.core.now_ms())?)),
        })
    }

    /// The end of its last record in the log.
    fn write(self: &Rc<Self>, step: &Step) -> Result<u64, AppendError> {
        let ended = match step {
            Step::End(ended) => ended,
            Step::Move(moved) => {
                self.core.store.takes(moved.log_bytes())?;
                self.append_check_point(&moved.record, &moved.check_point)?;
                &moved.end
            }
        };
        let (end, _) = revive_log::append(&self.core, &ended.record)?;
        let freed = self.core.broker.borrow_mut().ended(ended);
        if let Some((group, topic, queue_id)) = freed {
            self.wake_freed(&group, &topic, queue_id);
        }
        Ok(end)
    }

    fn answer_at(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        written: Result<Answer, Refusal>,
    ) {
        let Answer { receipt, end } = match written {
            Ok(answer) => answer,
            Err(refusal) => return refuse(connection, caller, &refusal),
        };
        let ack = Ack {
            end,
            appended_ns: self.core.io.now().mono_ns,
            connection: connection.clone(),
            caller,
            receipt,
        };
        if end <= self.core.store.committed() {
            return self.core.answers.acknowledge(&ack, response::SUCCESS, None);
        }
        self.core.acks.push(ack);
    }

    /// Appends a check point, from which on its messages are in flight; returns its end.
    pub(super) fn append_check_point(
        &self,
        record: &ReviveRecord,
        body: &CheckPointBody,
    ) -> Result<u64, AppendError> {
        let (end, place) = revive_log::append(&self.core, record)?;
        self.core
            .broker
            .borrow_mut()
            .checked(place, body, self.core.now_ms());
        self.due_at(body.pop_time_ms.saturating_add(body.invisible_ms));
        Ok(end)
    }
}
