//! A registration in the making: its body is read, then the broker gets its place, then its topics are merged, each in slices.

use super::kv_config::ORDER_TOPIC_CONFIG;
use super::route::Queues;
use super::route_table::{Incomplete, Merge, Registered, Registration};
use super::{Effect, NameServer};
use crate::wire::header::Header;
use crate::wire::register::{
    RegisterBroker, RegisterBrokerReply, RegistrationReader, Row, body_crc,
};
use crate::wire::stats::KvTable;
use crate::wire::{DataVersion, Reply, loose_json};

/// A fixed topic of every broker of every version: part of each complete report.
const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";

/// REGISTER_BROKER (103) that is being carried out.
///
/// Registrations are carried out one after another: a later one of the same broker builds on an earlier one.
#[derive(Debug)]
pub struct Registering {
    conn: u64,
    report: Registration,
    has_self_test: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Read(RegistrationReader),
    Merge(Option<Merge>, Registered),
}

impl Registering {
    pub(super) fn new(header: &Header<'_>, body: &[u8], conn: u64) -> Result<Self, Reply> {
        let request = RegisterBroker::decode(&header.ext)?;
        // 0 means that there is none.
        let wanted_crc = request.body_crc32.unwrap_or(0);
        if wanted_crc != 0 && wanted_crc != body_crc(body) {
            return Err(Reply::error("crc32 not match"));
        }
        let report = Registration {
            cluster: request.cluster_name.to_owned(),
            broker_name: request.broker_name.to_owned(),
            addr: request.broker_addr.to_owned(),
            broker_id: request.broker_id,
            ha_addr: request.ha_server_addr.to_owned(),
            zone: request.zone_name.map(String::from),
            // Zero or less would expire the broker at once.
            heartbeat_timeout_ms: request
                .heartbeat_timeout_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .filter(|ms| *ms > 0),
            acting_master: request.enable_acting_master,
            data_version: DataVersion::default(),
            topics: Vec::new(),
        };
        Ok(Self {
            conn,
            report,
            has_self_test: false,
            stage: Stage::Read(RegistrationReader::new(body.to_vec(), header.version)),
        })
    }

    /// Goes on; the answer, if that was the end.
    pub fn turn(&mut self, server: &mut NameServer, now_ms: u64) -> Option<Reply> {
        match &mut self.stage {
            Stage::Read(reader) => {
                let (topics, has_self_test) = (&mut self.report.topics, &mut self.has_self_test);
                let read = reader.turn(&mut |row| {
                    // Static topics are not supported.
                    let Row::Topic(key, config) = row else { return };
                    let queues = Queues::from(&config);
                    let name = Some(config.topic_name).filter(|name| !name.is_empty());
                    let name = name.unwrap_or(key);
                    *has_self_test |= name == SELF_TEST_TOPIC;
                    topics.push((name, queues));
                });
                match read {
                    Ok(false) => {}
                    Ok(true) => {
                        self.report.data_version = reader.data_version;
                        match self.begin(server, now_ms) {
                            Ok(stage) => self.stage = stage,
                            Err(refusal) => return Some(refusal),
                        }
                    }
                    Err(error) => return Some(error.into()),
                }
            }
            Stage::Merge(merge, registered) => {
                let is_merged = match merge {
                    Some(merge) => !server.routes.merge_some(merge),
                    None => true,
                };
                if is_merged {
                    return Some(server.registered(registered).bounded());
                }
            }
        }
        None
    }

    fn begin(&mut self, server: &mut NameServer, now_ms: u64) -> Result<Stage, Reply> {
        // An incremental report has the changed topics only, and none of the broker's own.
        let is_complete = self.has_self_test;
        let forget_absent = server.settings.delete_topic_with_broker_registration && is_complete;
        let report = std::mem::take(&mut self.report);
        let (broker_name, addr) = (report.broker_name.clone(), report.addr.clone());
        let begun = server
            .routes
            .begin(report, self.conn, forget_absent, now_ms);
        let (registered, merge) =
            begun.map_err(|Incomplete| Reply::error("register broker failed"))?;
        if let Some(from) = registered.replaced.clone() {
            server.effects.push(Effect::AddressChanged {
                broker_name,
                from,
                to: addr,
            });
        }
        Ok(Stage::Merge(merge, registered))
    }
}

impl NameServer {
    fn registered(&self, registered: &Registered) -> Reply {
        let fields = RegisterBrokerReply {
            ha_server_addr: registered.ha_addr.as_deref(),
            master_addr: registered.master_addr.as_deref(),
        };
        let reply = Reply::ok().with_fields(&fields.ext());
        let is_wanted = self.settings.return_order_topic_config_to_broker;
        match self.kv.list(ORDER_TOPIC_CONFIG).filter(|_| is_wanted) {
            Some(table) => reply.with_body(loose_json::to_vec(&KvTable {
                table: table.clone(),
            })),
            None => reply,
        }
    }
}
