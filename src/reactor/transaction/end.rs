//! The requests that end a transaction, or begin it again; each reads the half message first.

use std::rc::Rc;

use tracing::warn;

use super::{AROUND_BYTES, Transactions};
use crate::broker::requests::position;
use crate::broker::{Broker, Refusal};
use crate::io::Io;
use crate::message::ids::parse_offset_message_id;
use crate::message::{Check, Record};
use crate::reactor::access::Asker;
use crate::reactor::acks::{Ack, Receipt};
use crate::reactor::answers::{not_appended, refuse, unreadable};
use crate::reactor::caller::Caller;
use crate::reactor::connection::Connection;
use crate::store::AppendError;
use crate::wire::codes::{request, response};
use crate::wire::transaction::{EndTransaction, ResumeCheckHalfMessage};
use crate::wire::{Header, KeptExt};

impl<I: Io> Transactions<I> {
    pub(in crate::reactor) fn request(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) {
        let (code, fields) = (header.code, header.ext.kept());
        let (transactions, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.core.io.spawn("end-transaction", async move {
            let _reading = reading;
            let asker = transactions.core.asker(&connection, &fields.ext(), code);
            let asker = asker.as_ref();
            let end = match code {
                request::RESUME_CHECK_HALF_MESSAGE => {
                    transactions.resume(&fields, asker).await.map(Some)
                }
                _ => transactions.end_transaction(&fields, caller, asker).await,
            };
            match end {
                Ok(Some(end)) => transactions.answer_once_committed(connection, caller, end),
                Ok(None) => {}
                Err(refusal) => refuse(&connection, caller, &refusal),
            }
        });
    }

    /// Up to where the log has to be committed before this is answered. `None`: its producer does not know yet how it ends; there
    /// is no answer to that.
    async fn end_transaction(
        &self,
        fields: &KeptExt,
        caller: Caller,
        asker: Option<&Asker>,
    ) -> Result<Option<u64>, Refusal> {
        let request = &EndTransaction::decode(&fields.ext())?;
        if !Broker::ends_transaction(request)? {
            return Ok(None);
        }
        let bytes = self
            .half_record(position(request.half_physical_offset)?)
            .await?;
        if let Some(bytes) = &bytes {
            self.core.check_message(asker, bytes)?;
        }
        let record = decoded(&bytes)?;
        let room = bytes.as_ref().map_or(0, Vec::len) + AROUND_BYTES;
        let _turn = self.core.admission.enter(room).await?;
        let now_ms = self.core.now_ms();
        let ending = self
            .core
            .broker
            .borrow()
            .admit_end(request, record.as_ref(), now_ms)?;
        let message = match ending {
            Some(ending) => {
                let message = ending.message.as_ref();
                let message = message.map(|plan| self.core.append_one(plan, now_ms as i64));
                let message = message.transpose().map_err(|error| not_appended(&error))?;
                let mut broker = self.core.broker.borrow_mut();
                broker.half_ended(ending.half, now_ms);
                broker.transaction_ended(&ending, now_ms);
                message
            }
            // What ended it may still be on its way to the disk.
            None => None,
        };
        let is_due =
            self.core.broker.borrow().op_is_due(now_ms) && self.core.store.refuses().is_none();
        // The answer to a rollback means that it is written.
        let is_awaited = message.is_none() && !caller.is_oneway;
        let op_end = match is_due || is_awaited {
            true => self.write_op(),
            false => Ok(None),
        };
        Ok(Some(match message {
            // The message is what counts; its op record is tried again.
            Some(message) => message.end,
            None => op_end
                .map_err(|error| not_appended(&error))?
                .unwrap_or_else(|| self.core.store.tail()),
        }))
    }

    async fn resume(&self, fields: &KeptExt, asker: Option<&Asker>) -> Result<u64, Refusal> {
        let request = ResumeCheckHalfMessage::decode(&fields.ext())?;
        let msg_id = request.msg_id.unwrap_or_default();
        let parsed = parse_offset_message_id(msg_id);
        let (_, physical_offset) =
            parsed.map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
        let bytes = self.half_record(physical_offset).await?;
        if let Some(bytes) = &bytes {
            self.core.check_message(asker, bytes)?;
        }
        let record = decoded(&bytes)?;
        let room = bytes.as_ref().map_or(0, Vec::len) + AROUND_BYTES;
        let _turn = self.core.admission.enter(room).await?;
        let plan = self
            .core
            .broker
            .borrow()
            .admit_resume(record.as_ref(), msg_id)?;
        let now_ms = self.core.now_ms() as i64;
        let stored = self
            .core
            .append_one(&plan, now_ms)
            .map_err(|error| not_appended(&error))?;
        Ok(stored.end)
    }

    /// Writes the op record that has been gathered, if there is one; its end in the log.
    pub(in crate::reactor) fn write_op(&self) -> Result<Option<u64>, AppendError> {
        let Some(body) = self.core.broker.borrow().op_body() else {
            return Ok(None);
        };
        let now_ms = self.core.now_ms();
        let plan = self.core.broker.borrow().op_plan(&body, now_ms);
        let stored = self.core.append_one(&plan, now_ms as i64)?;
        self.core.broker.borrow_mut().op_stored(stored.queue_offset);
        Ok(Some(stored.end))
    }

    /// The same when it is time for it.
    pub(in crate::reactor) fn write_due_op(&self, now_ms: u64) {
        let is_due = self.core.broker.borrow().op_is_due(now_ms);
        if is_due && let Err(error) = self.write_op() {
            warn!(%error, "the ends of transactions cannot be written yet");
        }
    }

    /// Before the shard ends: after the next start no producer is asked about a transaction that has ended.
    pub(in crate::reactor) fn end_all(&self) {
        if let Err(error) = self.write_op() {
            warn!(%error, "the ends of some transactions are not written; their producers will be asked");
        }
        let now_ms = self.core.now_ms();
        self.core
            .broker
            .borrow_mut()
            .commit_transaction_offsets(now_ms);
    }

    async fn half_record(&self, physical_offset: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let record = self.core.store.record_at(physical_offset).await;
        record.map_err(unreadable)
    }

    fn answer_once_committed(
        &self,
        connection: Rc<Connection<I::Stream>>,
        caller: Caller,
        end: u64,
    ) {
        if caller.is_oneway {
            return connection.answered(caller, response::SUCCESS);
        }
        let ack = Ack {
            end,
            appended_ns: self.core.io.now().mono_ns,
            connection,
            caller,
            receipt: Receipt::Plain,
        };
        self.core.acks.push(ack);
    }
}

fn decoded(bytes: &Option<Vec<u8>>) -> Result<Option<Record<'_>>, Refusal> {
    let Some(bytes) = bytes else { return Ok(None) };
    let record = Record::decode(bytes, Check::Layout);
    record
        .map(Some)
        .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))
}
