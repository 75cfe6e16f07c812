//! What controllers say to each other: a request of RocketMQ's remoting protocol with a code of ringmq's own, on the port that brokers use.
//!
//! ```text
//! request  code 931001, fields group, from, at, crc, joining; body PeerRequest as JSON
//! reply    code 0, field crc; body PeerReply as JSON. Anything else: code 1 and a remark
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::types::{Raft, Types};
use crate::wire::header::Header;
use crate::wire::{Reply, Value};

/// The longest frame that a controller's port takes.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// A part of a snapshot; as JSON it is four times as long.
pub const SNAPSHOT_PART_BYTES: u64 = 512 << 10;
/// Entries in one request; each has a few names and addresses.
pub const MAX_ENTRIES: u64 = 64;
/// The longest snapshot that is taken from a peer, above what the limits of groups and replicas allow.
const MAX_SNAPSHOT_BYTES: u64 = 128 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<Types>),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum PeerReply {
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
}

/// What is wrong with a peer's bytes. Its connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("the peer belongs to the group {got:?}, this controller to {expected:?}")]
    Group { got: String, expected: String },
    #[error("the peer says to be {got:?}, which is no other controller of this group")]
    Stranger { got: String },
    #[error(
        "the peer says to be n{id} at {got:?}, and n{id} of this controller's list is at {expected:?}: it was replaced by another machine, or the lists differ"
    )]
    Replaced {
        id: u64,
        got: String,
        expected: String,
    },
    #[error("the field {0} is missing")]
    Field(&'static str),
    #[error("the body has CRC {got:08x}, its header says {expected}")]
    Crc { got: u32, expected: String },
    #[error("the body cannot be read: {0}")]
    Body(String),
    #[error("this controller has an empty store and does not vote before a leader has filled it")]
    Joining,
    #[error("a part of a snapshot ends at byte {end}; the limit is {MAX_SNAPSHOT_BYTES}")]
    Snapshot { end: u64 },
    #[error("the peer answered with code {code}: {remark}")]
    Refused { code: i32, remark: String },
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer within {0} ms")]
    Silent(u128),
}

/// The body of a message, and the value of its field `crc`.
pub fn encode<T: Serialize>(message: &T) -> (Vec<u8>, i64) {
    let body = serde_json::to_vec(message).expect("numbers, texts and lists");
    let crc = i64::from(crc32fast::hash(&body));
    (body, crc)
}

pub fn decode<T: DeserializeOwned>(body: &[u8], crc: Option<&str>) -> Result<T, PeerError> {
    let expected = crc.ok_or(PeerError::Field("crc"))?;
    let got = crc32fast::hash(body);
    if expected.parse() != Ok(got) {
        return Err(PeerError::Crc {
            got,
            expected: expected.to_owned(),
        });
    }
    serde_json::from_slice(body).map_err(|error| PeerError::Body(error.to_string()))
}

/// The two ends of a connection between controllers.
#[derive(Debug)]
pub struct Door {
    pub group: String,
    pub self_id: u64,
    /// `host:port` of each controller, as the list of this one says.
    pub addresses: BTreeMap<u64, String>,
    /// The store of this controller was empty when it was opened, and no leader has filled it yet.
    pub is_joining: AtomicBool,
}

impl Door {
    pub fn fields<'a>(&'a self, crc: i64) -> [(&'static str, Value<'a>); 5] {
        [
            ("group", Value::Str(&self.group)),
            ("from", Value::I64(self.self_id as i64)),
            ("at", Value::Str(self.address_of(self.self_id))),
            ("crc", Value::I64(crc)),
            (
                "joining",
                Value::Bool(self.is_joining.load(Ordering::Relaxed)),
            ),
        ]
    }

    fn address_of(&self, id: u64) -> &str {
        self.addresses.get(&id).map_or("", String::as_str)
    }

    /// Two machines with one number could vote twice in one election. An older version does not say where it is.
    fn check_not_replaced(&self, id: u64, at: Option<&str>) -> Result<(), PeerError> {
        let expected = self.address_of(id);
        match at.filter(|at| *at != expected) {
            None => Ok(()),
            Some(at) => Err(PeerError::Replaced {
                id,
                got: at.chars().take(300).collect(),
                expected: expected.to_owned(),
            }),
        }
    }

    /// A peer's request, if it is one of this group.
    pub fn admit(&self, header: &Header<'_>, body: &[u8]) -> Result<PeerRequest, PeerError> {
        let group = header.ext.find("group").ok_or(PeerError::Field("group"))?;
        if group != self.group {
            return Err(PeerError::Group {
                got: group.chars().take(64).collect(),
                expected: self.group.clone(),
            });
        }
        let from = header.ext.find("from").ok_or(PeerError::Field("from"))?;
        let is_peer = |id: &u64| *id != self.self_id && self.addresses.contains_key(id);
        let Some(id) = from.parse().ok().filter(is_peer) else {
            return Err(PeerError::Stranger {
                got: from.chars().take(64).collect(),
            });
        };
        self.check_not_replaced(id, header.ext.find("at"))?;
        let request = decode(body, header.ext.find("crc"))?;
        let is_joining = header.ext.find("joining") == Some("true");
        if let PeerRequest::Vote(vote) = &request
            && self.must_not_elect(vote, is_joining)
        {
            return Err(PeerError::Joining);
        }
        if let PeerRequest::Snapshot(part) = &request {
            let end = part.offset.saturating_add(part.data.len() as u64);
            if end > MAX_SNAPSHOT_BYTES {
                return Err(PeerError::Snapshot { end });
            }
        }
        Ok(request)
    }

    /// A controller that lost its disk has forgotten what it voted for and what it helped to agree on: it must not elect one that
    /// lacks it. In a group that is only beginning all are joining, and nothing was agreed on.
    fn must_not_elect(&self, vote: &VoteRequest<u64>, is_joining: bool) -> bool {
        let has_entries = vote.last_log_id.is_some_and(|last| last.index > 0);
        self.is_joining.load(Ordering::Relaxed) && has_entries && !is_joining
    }
}

pub async fn answer(raft: &Raft, request: PeerRequest) -> Reply {
    let reply = match request {
        PeerRequest::Append(request) => PeerReply::Append(raft.append_entries(request).await),
        PeerRequest::Vote(request) => PeerReply::Vote(raft.vote(request).await),
        PeerRequest::Snapshot(request) => PeerReply::Snapshot(raft.install_snapshot(request).await),
    };
    let (body, crc) = encode(&reply);
    Reply::ok().with("crc", crc).with_body(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::{CommittedLeaderId, LogId, Vote};

    #[test]
    fn one_that_is_joining_elects_nobody_who_may_lack_what_it_has_forgotten() {
        let vote = |index| {
            VoteRequest::new(
                Vote::new(2, 1),
                Some(LogId::new(CommittedLeaderId::new(1, 1), index)),
            )
        };
        for (self_joins, index, other_joins, expected) in [
            (false, 7, false, false),
            (false, 7, true, false),
            (true, 7, false, true),
            // A group that is only beginning: its first leader was gone before anything was agreed on.
            (true, 7, true, false),
            (true, 0, false, false),
        ] {
            let door = Door {
                group: "g".to_owned(),
                self_id: 0,
                addresses: BTreeMap::new(),
                is_joining: AtomicBool::new(self_joins),
            };
            let refused = door.must_not_elect(&vote(index), other_joins);
            assert_eq!(refused, expected, "{self_joins} {index} {other_joins}");
        }
    }

    #[test]
    fn one_that_was_replaced_by_another_machine_is_refused() {
        let addresses = [(0, "a:1"), (1, "b:1")];
        let door = Door {
            group: "g".to_owned(),
            self_id: 0,
            addresses: addresses.map(|(id, at)| (id, at.to_owned())).into(),
            is_joining: AtomicBool::new(false),
        };
        assert!(door.check_not_replaced(1, Some("b:1")).is_ok());
        assert!(door.check_not_replaced(1, None).is_ok(), "an older version");
        let refused = door.check_not_replaced(1, Some("c:1"));
        assert!(matches!(refused, Err(PeerError::Replaced { id: 1, .. })));
    }
}
