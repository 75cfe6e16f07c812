//! Requests that have to read the log before they can be answered, each in a task of its own.

use std::rc::Rc;

use super::acks::{Ack, Receipt};
use super::connection::{Caller, Connection};
use super::send::refusal_of;
use super::shard::Shard;
use crate::broker::query::{self, QueryPlan};
use crate::broker::{ConfigFile, Peer, Refusal};
use crate::io::Io;
use crate::message::{Check, Record};
use crate::store::{Boundary, ReadError};
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::offset;
use crate::wire::offset::{OffsetReply, QueueRequest, SearchOffset, TimestampReply};
use crate::wire::query::{QueryMessage, ViewMessage};
use crate::wire::send_back::SendBack;

/// A question, taken from the request's bytes.
enum Question {
    SendBack {
        request: SendBackOwned,
        peer: Peer,
    },
    Message {
        physical_offset: u64,
    },
    ByKey {
        plan: QueryPlan,
    },
    OffsetByTime {
        topic: String,
        queue_id: u32,
        timestamp_ms: i64,
        boundary: Boundary,
    },
    EarliestTime {
        topic: String,
        queue_id: u32,
    },
}

/// [`SendBack`] with its texts.
struct SendBackOwned {
    group: String,
    fields: SendBack<'static>,
}

impl<I: Io> Shard<I> {
    pub(super) fn look_up(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) {
        let question = match self.question(connection, header) {
            Ok(question) => question,
            Err(refusal) => return self.refuse(connection, caller, &refusal),
        };
        let (shard, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.io.spawn("query-message", async move {
            let _reading = reading;
            if let Err(refusal) = shard.answer_question(&connection, caller, question).await {
                shard.refuse(&connection, caller, &refusal);
            }
            shard.carry_out_effects();
        });
    }

    fn question(
        &self,
        connection: &Connection<I::Stream>,
        header: &Header<'_>,
    ) -> Result<Question, Refusal> {
        Ok(match header.code {
            request::CONSUMER_SEND_MSG_BACK => {
                let request = SendBack::decode(&header.ext)?;
                let fields = SendBack {
                    group: "",
                    origin_msg_id: None,
                    origin_topic: None,
                    ..request
                };
                let request = SendBackOwned {
                    group: request.group.into(),
                    fields,
                };
                Question::SendBack {
                    request,
                    peer: self.peer(connection, header),
                }
            }
            request::VIEW_MESSAGE_BY_ID => {
                let offset = ViewMessage::decode(&header.ext)?.offset;
                Question::Message {
                    physical_offset: position(offset)?,
                }
            }
            request::QUERY_MESSAGE => {
                let request = QueryMessage::decode(&header.ext)?;
                Question::ByKey {
                    plan: self.broker.borrow().plan_query(&request),
                }
            }
            request::SEARCH_OFFSET_BY_TIMESTAMP => {
                let request = SearchOffset::decode(&header.ext)?;
                let boundary = match request.boundary {
                    offset::Boundary::Upper => Boundary::Upper,
                    offset::Boundary::Lower => Boundary::Lower,
                };
                Question::OffsetByTime {
                    topic: request.topic.into(),
                    queue_id: queue_id(request.queue_id)?,
                    timestamp_ms: request.timestamp_ms,
                    boundary,
                }
            }
            _ => {
                let request = QueueRequest::decode(&header.ext)?;
                Question::EarliestTime {
                    topic: request.topic.into(),
                    queue_id: queue_id(request.queue_id)?,
                }
            }
        })
    }

    async fn answer_question(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        question: Question,
    ) -> Result<(), Refusal> {
        match question {
            Question::SendBack { request, peer } => {
                let fields = SendBack {
                    group: &request.group,
                    ..request.fields
                };
                self.send_back(connection, caller, &fields, &peer).await?;
            }
            Question::Message { physical_offset } => {
                let record = self
                    .store
                    .record_at(physical_offset)
                    .await
                    .map_err(unreadable)?;
                let Some(record) = record else {
                    let remark = match self.store.unreadable_at(physical_offset) {
                        Some(lost) => format!(
                            "the message at {physical_offset} cannot be read any more: {}",
                            lost.reason
                        ),
                        None => format!("can not find message by the offset, {physical_offset}"),
                    };
                    return Err(Refusal::new(response::SYSTEM_ERROR, remark));
                };
                connection.answer(caller, response::SUCCESS, None, &[], &record);
            }
            Question::ByKey { plan } => {
                let found = self.store.find_by_key(&plan.query()).await;
                let found = found.map_err(unreadable)?;
                let reply = query::answer(&found)?;
                connection.answer(
                    caller,
                    response::SUCCESS,
                    None,
                    &reply.ext(),
                    &found.records,
                );
            }
            Question::OffsetByTime {
                topic,
                queue_id,
                timestamp_ms,
                boundary,
            } => {
                let offset = match self.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
                        .store
                        .offset_by_time(queue, timestamp_ms, boundary)
                        .await
                        .map_err(unreadable)?,
                    None => 0,
                };
                let reply = OffsetReply {
                    offset: offset as i64,
                };
                connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
            }
            Question::EarliestTime { topic, queue_id } => {
                let timestamp_ms = match self.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
                        .store
                        .earliest_store_time(queue)
                        .await
                        .map_err(unreadable)?,
                    None => None,
                };
                let reply = TimestampReply {
                    timestamp_ms: timestamp_ms.unwrap_or(-1),
                };
                connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
            }
        }
        Ok(())
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

pub(super) fn unreadable(error: ReadError) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}

pub(super) fn position(offset: i64) -> Result<u64, Refusal> {
    u64::try_from(offset).map_err(|_| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("a log offset of {offset} cannot be"),
        )
    })
}

fn queue_id(id: i32) -> Result<u32, Refusal> {
    u32::try_from(id).map_err(|_| {
        Refusal::new(
            response::INVALID_PARAMETER,
            format!("queueId[{id}] is illegal"),
        )
    })
}
