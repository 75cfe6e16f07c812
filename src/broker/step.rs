//! What is to be done for a request: the one kind of outcome of [`super::requests`].

use super::query::QueryPlan;
use super::store_view::At;
use crate::wire::Reply;

use super::{Broker, ConnId, Refusal};
use crate::store::Boundary;
use crate::wire::Language;

/// What is to be done for a request that is not a message's own (see [`super::requests::Kind`]).
#[derive(Debug)]
pub enum Step {
    Reply(Reply),
    /// The answer is made in slices; see [`Work`].
    Work(Box<dyn Work>),
    /// Read from the store, then answer.
    Read(ReadPlan),
    /// Find where each queue of the group goes on, then [`Broker::rewind`].
    Rewind {
        rewind: Rewind,
        language: Language,
    },
    /// Ask a client, and forward its answer.
    Ask(Relay),
    /// Read the message at this offset, and send it to a client as the request's body.
    AskWithMessage {
        relay: Relay,
        physical_offset: u64,
    },
    /// Ask each client of a group how far it is; see [`Broker::next_to_ask`].
    AskStatus(StatusAsked),
}

/// What is to be read before an answer can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadPlan {
    /// A message, by where it is in the log.
    Message {
        physical_offset: u64,
        /// What was read of the log before does not count.
        is_from_device: bool,
    },
    ByKey(QueryPlan),
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
    /// Entries of a queue, for [`Broker::queue_entries`].
    QueueEntries(EntriesPlan),
}

/// Which entries of a queue are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntriesPlan {
    pub topic: String,
    pub queue_id: i32,
    pub index: i64,
    pub count: usize,
    pub(super) group: Option<String>,
}

/// A request to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    pub code: i32,
    pub ext: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A consumer, and what to ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    pub conn: ConnId,
    /// For remarks: `<group> <client id>`.
    pub name: String,
    pub request: ClientRequest,
}

/// Which clients of a group are asked how far they are in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusAsked {
    pub(super) group: String,
    pub(super) topic: String,
    /// Only the client of this id; `None`: all.
    pub(super) client_id: Option<String>,
    /// Clients up to this one have been asked.
    pub(super) after: Option<ConnId>,
}

/// Where a group is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewind {
    pub group: String,
    pub topic: String,
    pub queues: Vec<u32>,
    pub target: Target,
    pub(super) timestamp_ms: i64,
    pub(super) is_forced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Offset(u64),
    End,
    /// The first message that was stored at this time or later.
    Time(i64),
}

/// What a slice of an answer has come to.
#[derive(Debug)]
pub enum Progress {
    /// There are more rows. Others may run first.
    More,
    /// The next rows need these store times.
    Times(Vec<MessagePlace>),
    /// The store is to remove this topic's queues, in slices as well, before the next turn.
    RemoveQueues(String),
    Done(Reply),
}

/// A message in its queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessagePlace {
    pub topic: String,
    pub queue_id: u32,
    pub offset: u64,
}

/// An answer that is made in slices, so that none of them takes long.
///
/// The caller calls [`Work::turn`] until the answer is there, and lets others run in between.
pub trait Work: std::fmt::Debug {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal>;

    /// The store times that [`Progress::Times`] has asked for, in its order.
    fn times(&mut self, _: Vec<Option<i64>>) {
        unreachable!("{self:?} has asked for no times");
    }
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}
