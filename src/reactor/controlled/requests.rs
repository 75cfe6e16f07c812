//! A broker's questions to its controllers, as requests of the protocol.

use std::net::SocketAddr;

use crate::auth::Credentials;
use crate::io::Io;
use crate::reactor::remoting_client::RemotingClient;
use crate::replication::manager::ask::{Answer, Ask, Decision, Failure, Master, Refusal};
use crate::replication::manager::identity::{Claim, GroupName};
use crate::replication::members::{MemberId, SyncStateSet};
use crate::wire::codes::{request, response};
use crate::wire::controller::{
    AlterSyncStateSet, ApplyBrokerId, ElectMaster, ElectMasterBody, NextBrokerId, RegisterReplica,
    ReplicaInfoRequest, SyncStateSet as SetBody,
};
use crate::wire::{Value, exchange, loose_json};

/// As RocketMQ's brokers.
const PATIENCE_NS: u64 = 3_000_000_000;

/// A setting of ringmq's controller that RocketMQ's does not have.
const OWN_SETTING: &str = "ringmqBrokerSilenceLimitMillis";

/// One connection, to the controller that was asked last.
pub(super) struct Asker<I: Io> {
    io: I,
    group: GroupName,
    /// This broker's.
    addr: SocketAddr,
    /// Those in whose name it asks.
    credentials: Option<Credentials>,
    link: Option<(SocketAddr, RemotingClient<I>)>,
}

impl<I: Io> Asker<I> {
    pub fn new(
        io: I,
        group: GroupName,
        addr: SocketAddr,
        credentials: Option<Credentials>,
    ) -> Self {
        Self {
            io,
            credentials,
            group,
            addr,
            link: None,
        }
    }

    pub async fn ask(&mut self, ask: &Ask, to: SocketAddr) -> Result<Answer, Failure> {
        let reply = self.reply(ask, to).await.map_err(|error| {
            self.link = None;
            Failure::NoAnswer(format!("{to}: {error}"))
        })?;
        read(ask, &reply)
    }

    async fn reply(&mut self, ask: &Ask, to: SocketAddr) -> std::io::Result<exchange::Answer> {
        let mut link = match self.link.take() {
            Some((addr, link)) if addr == to => link,
            _ => {
                let credentials = self.credentials.as_ref();
                RemotingClient::connect(&self.io, to, credentials, PATIENCE_NS).await?
            }
        };
        let (code, ext, body) = request_of(ask, &self.group, self.addr);
        let ext = ext.iter().map(|(name, value)| (*name, value.as_value()));
        let ext: Vec<_> = ext.collect();
        let reply = link.call(code, &ext, &body, PATIENCE_NS).await?;
        self.link = Some((to, link));
        Ok(reply)
    }
}

/// A field of a request.
enum Field {
    Text(String),
    Number(i64),
    Is(bool),
}

impl Field {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Str(text),
            Self::Number(number) => Value::I64(*number),
            Self::Is(is) => Value::Bool(*is),
        }
    }
}

fn owned(ext: &[(&'static str, Value<'_>)]) -> Vec<(&'static str, Field)> {
    let owned = ext.iter().filter_map(|(name, value)| {
        let field = match value {
            Value::Absent => return None,
            Value::Bool(is) => Field::Is(*is),
            Value::I64(number) => Field::Number(*number),
            Value::Str(text) => Field::Text((*text).to_owned()),
        };
        Some((*name, field))
    });
    owned.collect()
}

type Request = (i32, Vec<(&'static str, Field)>, Vec<u8>);

fn request_of(ask: &Ask, group: &GroupName, addr: SocketAddr) -> Request {
    let (cluster_name, broker_name) = (&*group.cluster, &*group.broker_name);
    match ask {
        Ask::Leader => (request::CONTROLLER_GET_METADATA_INFO, vec![], vec![]),
        Ask::KnowsLoss => (request::GET_CONTROLLER_CONFIG, vec![], vec![]),
        Ask::NextId => {
            let fields = NextBrokerId {
                cluster_name,
                broker_name,
            };
            without_body(request::CONTROLLER_GET_NEXT_BROKER_ID, &fields.ext())
        }
        Ask::Apply(Claim { id, check_code }) => {
            let fields = ApplyBrokerId {
                cluster_name,
                broker_name,
                applied_broker_id: *id,
                register_check_code: check_code,
            };
            without_body(request::CONTROLLER_APPLY_BROKER_ID, &fields.ext())
        }
        Ask::Register(id) => {
            let fields = RegisterReplica {
                cluster_name,
                broker_name,
                broker_id: *id,
                broker_address: &addr.to_string(),
            };
            without_body(request::CONTROLLER_REGISTER_BROKER, &fields.ext())
        }
        Ask::Elect(id) => {
            let fields = ElectMaster {
                cluster_name,
                broker_name,
                broker_id: *id,
                designate_elect: false,
            };
            without_body(request::CONTROLLER_ELECT_MASTER, &fields.ext())
        }
        Ask::Decision => {
            let fields = ReplicaInfoRequest { broker_name };
            without_body(request::CONTROLLER_GET_REPLICA_INFO, &fields.ext())
        }
        Ask::Alter {
            master,
            master_epoch,
            set,
        } => alter(broker_name, *master, *master_epoch, set),
    }
}

fn without_body(code: i32, ext: &[(&'static str, Value<'_>)]) -> Request {
    (code, owned(ext), Vec::new())
}

fn alter(broker_name: &str, master: MemberId, master_epoch: i32, set: &SyncStateSet) -> Request {
    let fields = AlterSyncStateSet {
        broker_name,
        master_broker_id: master,
        master_epoch,
    };
    let body = SetBody {
        sync_state_set: set.members.clone(),
        sync_state_set_epoch: set.epoch,
    };
    let code = request::CONTROLLER_ALTER_SYNC_STATE_SET;
    (code, owned(&fields.ext()), loose_json::to_vec(&body))
}

fn read(ask: &Ask, reply: &exchange::Answer) -> Result<Answer, Failure> {
    let is_answer = reply.code == response::SUCCESS
        // The old master stays: the reply has all of its fields.
        || matches!(ask, Ask::Elect(_)) && reply.code == response::CONTROLLER_MASTER_STILL_EXIST;
    if !is_answer {
        let remark = reply.remark.as_deref().unwrap_or("no remark");
        let text = format!("code {}: {remark}", reply.code);
        return Err(Failure::Refused(refusal(reply.code), text));
    }
    Ok(match ask {
        Ask::Leader => Answer::Leader {
            is_leader: reply.field("isLeader") == Some("true"),
            leader: reply
                .field("controllerLeaderAddress")
                .and_then(|addr| addr.parse().ok()),
        },
        Ask::KnowsLoss => {
            let text = String::from_utf8_lossy(&reply.body);
            Answer::KnowsLoss(text.contains(OWN_SETTING))
        }
        Ask::NextId => Answer::NextId(number(reply, "nextBrokerId")?),
        Ask::Apply(_) => Answer::Applied,
        Ask::Register(_) => {
            let is_led = reply.field("masterBrokerId").is_some();
            let decision = is_led.then(|| decision(reply, set_of(reply)?));
            Answer::Registered(decision.transpose()?)
        }
        Ask::Elect(_) => {
            let body: ElectMasterBody = loose_json::from_slice(&reply.body).map_err(unreadable)?;
            let set = SyncStateSet {
                members: body.sync_state_set,
                epoch: number(reply, "syncStateSetEpoch")?,
            };
            Answer::Elected(decision(reply, set)?)
        }
        Ask::Decision => Answer::Decision(decision(reply, set_of(reply)?)?),
        Ask::Alter { .. } => Answer::Altered(set_of(reply)?),
    })
}

fn decision(reply: &exchange::Answer, set: SyncStateSet) -> Result<Decision, Failure> {
    let master = match (reply.field("masterBrokerId"), reply.field("masterAddress")) {
        (Some(_), Some(addr)) => Some(Master {
            id: number(reply, "masterBrokerId")?,
            addr: addr.parse().map_err(|_| {
                unreadable(format!("masterAddress={addr} is no IP address with a port"))
            })?,
        }),
        _ => None,
    };
    Ok(Decision {
        master,
        epoch: number(reply, "masterEpoch")?,
        set,
    })
}

fn set_of(reply: &exchange::Answer) -> Result<SyncStateSet, Failure> {
    let body: SetBody = loose_json::from_slice(&reply.body).map_err(unreadable)?;
    Ok(SyncStateSet {
        members: body.sync_state_set,
        epoch: body.sync_state_set_epoch,
    })
}

fn number<T: std::str::FromStr>(reply: &exchange::Answer, name: &str) -> Result<T, Failure> {
    let number = reply.field(name).and_then(|text| text.parse().ok());
    number.ok_or_else(|| unreadable(format!("{name} is missing or no number")))
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    let text = format!("the answer cannot be read: {error}");
    Failure::Refused(Refusal::Other, text)
}

fn refusal(code: i32) -> Refusal {
    match code {
        response::CONTROLLER_NOT_LEADER => Refusal::NotLeader,
        response::CONTROLLER_BROKER_METADATA_NOT_EXIST => Refusal::UnknownGroup,
        response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED => Refusal::NotRegistered,
        response::CONTROLLER_BROKER_ID_INVALID => Refusal::IdTaken,
        response::CONTROLLER_FENCED_MASTER_EPOCH | response::CONTROLLER_INVALID_MASTER => {
            Refusal::OtherMaster
        }
        response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH => Refusal::OtherSet,
        response::CONTROLLER_INVALID_REPLICAS
        | response::CONTROLLER_BROKER_NOT_ALIVE
        | response::CONTROLLER_ALTER_SYNC_STATE_SET_FAILED => Refusal::Members,
        _ => Refusal::Other,
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
