//! A message that its consumer sends back: it is read first, in a task of its own.

use std::rc::Rc;

use super::Sends;
use crate::broker::requests::position;
use crate::broker::{ConfigFile, Peer, Refusal};
use crate::io::Io;
use crate::message::{Check, Record};
use crate::reactor::acks::{Ack, Receipt};
use crate::reactor::answers::{not_appended, refuse, unreadable};
use crate::reactor::caller::Caller;
use crate::reactor::connection::Connection;
use crate::reactor::effects;
use crate::wire::codes::response;
use crate::wire::send_back::SendBack;
use crate::wire::{Header, KeptExt};

impl<I: Io> Sends<I> {
    pub(in crate::reactor) fn send_back_request(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) {
        let (fields, peer) = (header.ext.kept(), connection.as_peer(header));
        let (sends, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.core.io.spawn("send-back", async move {
            let _reading = reading;
            let sent = sends.send_back(&connection, caller, &fields, &peer).await;
            if let Err(refusal) = sent {
                refuse(&connection, caller, &refusal);
            }
            effects::carry_out(&sends.core);
        });
    }

    async fn send_back(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        fields: &KeptExt,
        peer: &Peer,
    ) -> Result<(), Refusal> {
        let request = &SendBack::decode(&fields.ext())?;
        let bytes = self
            .core
            .store
            .record_at(position(request.offset)?)
            .await
            .map_err(unreadable)?;
        if let Some(bytes) = &bytes {
            let asker = self.core.asker(connection, &fields.ext(), caller.code);
            self.core.check_message(asker.as_ref(), bytes)?;
        }
        let record = match &bytes {
            Some(bytes) => Some(
                Record::decode(bytes, Check::Layout)
                    .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?,
            ),
            None => None,
        };
        let now = self.core.io.now();
        let plan = self.core.broker.borrow_mut().admit_send_back(
            request,
            record.as_ref(),
            peer,
            now.unix_ms as u64,
        )?;
        let Some(plan) = plan else {
            connection.answer(caller, response::SUCCESS, None, &[], &[]);
            return Ok(());
        };
        // The message is out of reach where a start does not know the retry topic.
        effects::carry_out(&self.core);
        self.core.saves.settled(ConfigFile::Topics).await;
        let len = bytes.as_ref().map_or(0, Vec::len) + 1024;
        let _turn = self.core.admission.enter(len).await?;
        let now = self.core.io.now();
        let (end, _) = self
            .core
            .append(&plan, now.unix_ms)
            .map_err(|error| not_appended(&error))?;
        let connection = connection.clone();
        let ack = Ack {
            end,
            appended_ns: now.mono_ns,
            connection,
            caller,
            receipt: Receipt::Plain,
        };
        self.core.acks.push(ack);
        Ok(())
    }
}
