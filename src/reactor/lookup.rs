//! A message that its consumer sends back: it is read first, in a task of its own.

use std::rc::Rc;

use super::acks::{Ack, Receipt};
use super::admin::unreadable;
use super::connection::{Caller, Connection};
use super::send::refusal_of;
use super::shard::Shard;
use crate::broker::requests::position;
use crate::broker::{ConfigFile, Peer, Refusal};
use crate::io::Io;
use crate::message::{Check, Record};
use crate::wire::Header;
use crate::wire::codes::response;
use crate::wire::send_back::SendBack;

impl<I: Io> Shard<I> {
    pub(super) fn send_back_request(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) {
        let request = match SendBack::decode(&header.ext) {
            Ok(request) => request,
            Err(error) => return self.refuse(connection, caller, &error.into()),
        };
        let group = request.group.to_owned();
        let fields = SendBack {
            group: "",
            origin_msg_id: None,
            origin_topic: None,
            ..request
        };
        let peer = self.peer(connection, header);
        let (shard, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.io.spawn("send-back", async move {
            let _reading = reading;
            let request = SendBack {
                group: &group,
                ..fields
            };
            let sent = shard.send_back(&connection, caller, &request, &peer).await;
            if let Err(refusal) = sent {
                shard.refuse(&connection, caller, &refusal);
            }
            shard.carry_out_effects();
        });
    }

    async fn send_back(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        request: &SendBack<'_>,
        peer: &Peer,
    ) -> Result<(), Refusal> {
        let bytes = self
            .store
            .record_at(position(request.offset)?)
            .await
            .map_err(unreadable)?;
        let record = match &bytes {
            Some(bytes) => Some(
                Record::decode(bytes, Check::Layout)
                    .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?,
            ),
            None => None,
        };
        let now = self.io.now();
        let plan = self.broker.borrow_mut().admit_send_back(
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
        self.carry_out_effects();
        self.saves.settled(ConfigFile::Topics).await;
        let len = bytes.as_ref().map_or(0, Vec::len) + 1024;
        let _turn = self.turn(len).await?;
        let now = self.io.now();
        let (end, _) = self.append(&plan, now.unix_ms).map_err(|error| {
            let (code, remark) = refusal_of(&error);
            Refusal::new(code, remark)
        })?;
        let connection = connection.clone();
        let ack = Ack {
            end,
            appended_ns: now.mono_ns,
            connection,
            caller,
            receipt: Receipt::Plain,
        };
        self.acks.borrow_mut().push(ack);
        Ok(())
    }
}
