//! What each request leads to. Codes and remarks are those of `ControllerRequestProcessor.java` and `ReplicasInfoManager.java`.

use std::collections::BTreeSet;

use super::command::AskedBy;
use super::liveness::Heartbeat;
use super::settings::UpdateError;
use super::standing::Standing;
use super::{Agreed, Asked, Command, Controller, Step, replies};
use crate::wire::codes::{request, response};
use crate::wire::controller::*;
use crate::wire::header::Header;
use crate::wire::register::BrokerHeartbeat;
use crate::wire::{Reply, loose_json};

/// Whether only the leader answers this request, after it has made sure that it still is the leader.
pub fn needs_leader(code: i32) -> bool {
    matches!(
        code,
        request::CONTROLLER_ALTER_SYNC_STATE_SET
            | request::CONTROLLER_ELECT_MASTER
            | request::CONTROLLER_REGISTER_BROKER
            | request::CONTROLLER_GET_REPLICA_INFO
            | request::CONTROLLER_GET_SYNC_STATE_DATA
            | request::CLEAN_BROKER_DATA
            | request::CONTROLLER_GET_NEXT_BROKER_ID
            | request::CONTROLLER_APPLY_BROKER_ID
    )
}

/// A step, or a refusal.
type Answer = Result<Step, Reply>;

/// More names than this are not looked up for one request.
const MAX_NAMES: usize = 1_024;

impl Controller {
    /// A request on a connection. Of a request that [`needs_leader`], `standing` was made sure of just before.
    pub fn handle(
        &mut self,
        agreed: &Agreed,
        standing: &Standing,
        header: &Header<'_>,
        body: &[u8],
        connection: u64,
        now_ms: u64,
    ) -> Step {
        self.live.pass_time(now_ms);
        if needs_leader(header.code) && !standing.is_leader {
            return Step::Reply(replies::not_leader(standing));
        }
        let step = match header.code {
            request::CONTROLLER_ALTER_SYNC_STATE_SET => self.alter_set(header, body, now_ms),
            request::CONTROLLER_ELECT_MASTER => self.elect(agreed, header, now_ms),
            request::CONTROLLER_REGISTER_BROKER => self.register(agreed, header, now_ms),
            request::CONTROLLER_GET_REPLICA_INFO => replica_info(agreed, header),
            request::CONTROLLER_GET_METADATA_INFO => Ok(Step::Reply(replies::metadata(standing))),
            request::CONTROLLER_GET_SYNC_STATE_DATA => self.sync_state_data(agreed, body, now_ms),
            request::UPDATE_CONTROLLER_CONFIG => self.update_settings(body),
            request::GET_CONTROLLER_CONFIG => Ok(Step::Reply(self.show_settings(standing))),
            request::CLEAN_BROKER_DATA => self.clean(agreed, header, now_ms),
            request::CONTROLLER_GET_NEXT_BROKER_ID => next_id(agreed, header),
            request::CONTROLLER_APPLY_BROKER_ID => apply_id(header),
            request::BROKER_HEARTBEAT => self.heartbeat(agreed, header, connection, now_ms),
            code => {
                let remark = crate::wire::codes::not_supported_remark(code);
                Err(Reply::refused(response::REQUEST_CODE_NOT_SUPPORTED, remark))
            }
        };
        match step.unwrap_or_else(Step::Reply) {
            Step::Reply(reply) => Step::Reply(reply.bounded()),
            step => step,
        }
    }

    /// The reply to a request whose command was agreed on.
    pub fn reply(&self, asked: &Asked, applied: &super::Applied, now_ms: u64) -> Reply {
        let limit_ms = self.settings.silence_limit_ms;
        let is_fit = |name: &str, id: i64| self.live.is_fit(name, id, now_ms, limit_ms);
        replies::of(asked, applied, is_fit).bounded()
    }

    fn alter_set(&self, header: &Header<'_>, body: &[u8], now_ms: u64) -> Answer {
        let asked = AlterSyncStateSet::decode(&header.ext)?;
        let wanted: SyncStateSet = loose_json::from_slice(body)?;
        let limit_ms = self.settings.silence_limit_ms;
        let set = wanted.sync_state_set;
        if set.len() > super::MAX_REPLICAS {
            let remark = format!(
                "a set of {} members; the limit is {}",
                set.len(),
                super::MAX_REPLICAS
            );
            return Err(Reply::refused(
                response::CONTROLLER_INVALID_REPLICAS,
                remark,
            ));
        }
        let live = set.iter().copied();
        let live = live.filter(|id| self.live.is_alive(asked.broker_name, *id, now_ms, limit_ms));
        Ok(Step::Propose {
            command: Command::AlterSet {
                name: asked.broker_name.to_owned(),
                master: asked.master_broker_id,
                master_epoch: asked.master_epoch,
                set_epoch: wanted.sync_state_set_epoch,
                live: live.collect(),
                set,
            },
            asked: Asked::AlterSet,
        })
    }

    fn elect(&self, agreed: &Agreed, header: &Header<'_>, now_ms: u64) -> Answer {
        const CONTROLLER_DECIDES: i64 = -1;
        let wanted = ElectMaster::decode(&header.ext)?;
        let name = wanted.broker_name;
        let Some(group) = agreed.group(name) else {
            let remark = "Broker hasn't been registered";
            return Err(Reply::refused(
                response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED,
                remark,
            ));
        };
        let asked = match wanted.broker_id {
            CONTROLLER_DECIDES => AskedBy::Anyone,
            id if wanted.designate_elect => AskedBy::Operator(id),
            id => AskedBy::Broker(id),
        };
        Ok(Step::Propose {
            command: self.election(group, name, asked, now_ms),
            asked: Asked::Elect {
                name: name.to_owned(),
            },
        })
    }

    fn register(&self, agreed: &Agreed, header: &Header<'_>, now_ms: u64) -> Answer {
        let wanted = RegisterReplica::decode(&header.ext)?;
        let command = Command::SetAddress {
            name: wanted.broker_name.to_owned(),
            id: wanted.broker_id,
            address: wanted.broker_address.to_owned(),
        };
        let asked = Asked::Register {
            cluster: wanted.cluster_name.to_owned(),
            name: wanted.broker_name.to_owned(),
        };
        let group = agreed.group(wanted.broker_name);
        let known = group.and_then(|group| group.address(wanted.broker_id));
        if known == Some(wanted.broker_address) {
            let applied = super::Applied::ok(group);
            return Ok(Step::Reply(self.reply(&asked, &applied, now_ms)));
        }
        // RocketMQ's controller takes the new address. Two brokers with one identity would then be the same replica, each with a log of its own.
        let (name, id) = (wanted.broker_name, wanted.broker_id);
        let limit_ms = self.settings.silence_limit_ms;
        if let Some(known) = known
            && self.live.is_heard(name, id, now_ms, limit_ms)
        {
            let remark = format!(
                "broker {id} of {name} is alive at {known}: two brokers have the same brokerIdentity, as after a store was copied; remove that file \
                 of the copy"
            );
            return Err(Reply::refused(response::CONTROLLER_INVALID_REQUEST, remark));
        }
        Ok(Step::Propose { command, asked })
    }

    fn sync_state_data(&self, agreed: &Agreed, body: &[u8], now_ms: u64) -> Answer {
        let names: Vec<String> = match body {
            [] => Vec::new(),
            body => loose_json::from_slice(body)?,
        };
        if names.is_empty() {
            // What RocketMQ leaves in the reply.
            return Err(Reply::error("not set any response code".to_owned()));
        }
        if names.len() > MAX_NAMES {
            return Err(Reply::error(format!(
                "{} names; the limit is {MAX_NAMES}",
                names.len()
            )));
        }
        let limit_ms = self.settings.silence_limit_ms;
        let is_alive = |name: &str, id: i64| self.live.is_alive(name, id, now_ms, limit_ms);
        Ok(Step::Reply(replies::sync_state_data(
            agreed, &names, is_alive,
        )))
    }

    fn clean(&self, agreed: &Agreed, header: &Header<'_>, now_ms: u64) -> Answer {
        let wanted = CleanBrokerData::decode(&header.ext)?;
        let name = wanted.broker_name;
        let refused = |remark: String| {
            Reply::refused(response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA, remark)
        };
        let ids = wanted.ids.filter(|ids| !ids.trim().is_empty()).map(ids_of);
        let ids = ids.transpose().map_err(refused)?;
        if !wanted.even_living {
            let limit_ms = self.settings.silence_limit_ms;
            let living = ids.iter().flatten();
            let living = living
                .copied()
                .find(|id| self.live.is_alive(name, *id, now_ms, limit_ms));
            if let Some(id) = living {
                return Err(refused(format!(
                    "Broker [{name},  {id}] is still alive, clean up failure"
                )));
            }
            let has_master = agreed
                .group(name)
                .is_some_and(|group| group.master.is_some());
            if ids.is_none() && has_master {
                return Err(refused(format!(
                    "Broker {name} is still alive, clean up failure"
                )));
            }
        }
        Ok(Step::Propose {
            command: Command::Clean {
                name: name.to_owned(),
                ids,
            },
            asked: Asked::Clean,
        })
    }

    /// One-way and from every broker each second, to every controller: it changes this controller's memory and nothing else.
    fn heartbeat(
        &mut self,
        agreed: &Agreed,
        header: &Header<'_>,
        connection: u64,
        now_ms: u64,
    ) -> Answer {
        let heartbeat = BrokerHeartbeat::decode(&header.ext)?;
        let Some(id) = heartbeat.broker_id else {
            let remark = "Heart beat with empty brokerId";
            return Err(Reply::refused(response::CONTROLLER_INVALID_REQUEST, remark));
        };
        let name = heartbeat.broker_name;
        let known = agreed.group(name).filter(|group| {
            // An id that moved to another address (1003) is not kept alive by the former one.
            group.cluster == heartbeat.cluster_name
                && group.address(id) == Some(heartbeat.broker_addr)
        });
        if let Some(group) = known {
            let log = LogLoss::decode(&header.ext)?;
            let beat = Heartbeat {
                epoch: heartbeat.epoch.unwrap_or(-1),
                max_offset: heartbeat.max_offset.unwrap_or(-1),
                priority: heartbeat.election_priority.unwrap_or(i32::MAX),
                stated_ms: heartbeat.heartbeat_timeout_ms,
                is_lossy: log.is_lossy,
                is_damaged: log.is_damaged,
            };
            let limit_ms = self.settings.silence_limit_ms;
            let is_back = self
                .live
                .heard(name, id, beat, connection, now_ms, limit_ms);
            // It may have been master when it was last heard: it learns at once if it is no longer.
            if is_back && self.is_leader && group.master != Some(id) {
                self.notify(name, group, id);
            }
        }
        Ok(Step::Reply(Reply::ok().remark("Heart beat success")))
    }

    fn update_settings(&mut self, body: &[u8]) -> Answer {
        let updated = self.settings.update(&String::from_utf8_lossy(body));
        updated.map_err(|error| match error {
            UpdateError::Forbidden => Reply::refused(
                response::NO_PERMISSION,
                "Can not update config in black list.",
            ),
            error @ UpdateError::Value { .. } => Reply::error(error.to_string()),
        })?;
        Ok(Step::Keep {
            text: self.settings.properties_text(),
            reply: Reply::ok(),
        })
    }

    fn show_settings(&self, standing: &Standing) -> Reply {
        let fixed = &standing.fixed_settings;
        Reply::ok().with_body(format!("{fixed}{}", self.settings.properties_text()))
    }
}

fn replica_info(agreed: &Agreed, header: &Header<'_>) -> Answer {
    let wanted = ReplicaInfoRequest::decode(&header.ext)?;
    let group = agreed.group(wanted.broker_name).ok_or_else(|| {
        let code = response::CONTROLLER_BROKER_METADATA_NOT_EXIST;
        Reply::refused(code, "Broker metadata is not existed")
    })?;
    Ok(Step::Reply(replies::replica_info(group)))
}

fn next_id(agreed: &Agreed, header: &Header<'_>) -> Answer {
    let wanted = NextBrokerId::decode(&header.ext)?;
    let reply = NextBrokerIdReply {
        cluster_name: wanted.cluster_name,
        next_broker_id: agreed.next_id(wanted.broker_name),
        broker_name: wanted.broker_name,
    };
    Ok(Step::Reply(Reply::ok().with_fields(&reply.ext())))
}

fn apply_id(header: &Header<'_>) -> Answer {
    let wanted = ApplyBrokerId::decode(&header.ext)?;
    let check_code = wanted.register_check_code;
    let address = check_code.split(';').next().unwrap_or_default();
    Ok(Step::Propose {
        command: Command::ApplyId {
            cluster: wanted.cluster_name.to_owned(),
            name: wanted.broker_name.to_owned(),
            id: wanted.applied_broker_id,
            check_code: check_code.to_owned(),
            address: address.to_owned(),
        },
        asked: Asked::ApplyId {
            cluster: wanted.cluster_name.to_owned(),
            name: wanted.broker_name.to_owned(),
        },
    })
}

/// `1;2`
fn ids_of(text: &str) -> Result<BTreeSet<i64>, String> {
    let parts = text.split(';').filter(|part| !part.is_empty());
    let ids: Result<_, _> = parts.map(str::parse).collect();
    ids.map_err(|error: std::num::ParseIntError| {
        format!("Please set the option <brokerControllerIdsToClean> according to the format, exception: {error}")
    })
}
