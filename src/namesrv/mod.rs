//! The name server: brokers register their topics, clients query the route of a topic.
//!
//! [`NameServer::handle`] answers every request of RocketMQ's name server. It does no I/O and reads no clock: the connection's
//! number and a monotonic time in milliseconds are arguments, what is to be saved is returned as [`Effect`]s.

mod admin;
mod brokers;
mod clients;
mod kv_config;
mod listing;
mod merge;
mod passes;
mod registering;
mod route;
mod route_table;
mod settings;

pub use kv_config::{KvConfig, KvText};
pub use listing::Listing;
pub use passes::PermChange;
pub use registering::Registering;
pub use route::{BrokerGroup, Queues, Route};
pub use route_table::{Merge, Registered, Registration, RouteTable};
pub use settings::Settings;

use admin::perm_change;

use crate::wire::codes::{request, response};
use crate::wire::header::Header;
use crate::wire::{BodyError, Reply, loose_json};

#[derive(Debug, Default)]
pub struct NameServer {
    pub routes: RouteTable,
    kv: KvConfig,
    settings: Settings,
    effects: Vec<Effect>,
}

/// What is to be done outside. Losing one loses an administrator's change, no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `kvConfig.json` has changed: [`NameServer::write_kv`] writes it.
    SaveKvConfig,
    /// The new text of `namesrv.properties`.
    SaveSettings(String),
    /// For the log: another address has registered a broker's name and id.
    AddressChanged {
        broker_name: String,
        from: String,
        to: String,
    },
}

impl NameServer {
    /// Starts with what was saved; see [`Effect`].
    pub fn new(kv: KvConfig, settings: Settings) -> Self {
        Self {
            kv,
            settings,
            ..Self::default()
        }
    }

    /// Appends what has to be saved since the last call.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
    }

    /// Writes some of the text of `kvConfig.json`; whether there may be more.
    pub fn write_kv(&self, text: &mut KvText) -> bool {
        self.kv.write_some(text)
    }

    /// To be called when a connection ends: removes its brokers.
    pub fn connection_closed(&mut self, conn: u64) {
        self.routes.connection_closed(conn);
    }

    /// To be called again and again: removes some of what brokers that are gone have left; whether there may be more.
    pub fn sweep_some(&mut self) -> bool {
        self.routes.sweep_some()
    }

    /// To be called every few seconds: removes expired brokers and returns their connections, which are to be closed.
    pub fn expire(&mut self, now_ms: u64) -> Vec<u64> {
        self.routes.expire(now_ms)
    }

    /// Answers one request, or begins to; the caller drops the answer to a one-way one.
    pub fn handle(&mut self, header: &Header<'_>, body: &[u8], conn: u64, now_ms: u64) -> Handled {
        match self.listing(header) {
            Some(Ok(listing)) => return Handled::InSlices(listing),
            Some(Err(refusal)) => return Handled::Answered(refusal),
            None => {}
        }
        if header.code == request::REGISTER_BROKER {
            return match Registering::new(header, body, conn) {
                Ok(registering) => Handled::Registering(Box::new(registering)),
                Err(refusal) => Handled::Answered(refusal),
            };
        }
        if let Some(change) = perm_change(header) {
            return match change {
                Ok(change) => Handled::Changing(change),
                Err(refusal) => Handled::Answered(refusal),
            };
        }
        let answer = self.answer(header, body, conn, now_ms);
        Handled::Answered(answer.unwrap_or_else(|refusal| refusal).bounded())
    }

    fn answer(&mut self, header: &Header<'_>, body: &[u8], conn: u64, now_ms: u64) -> Answer {
        match header.code {
            request::GET_ROUTEINFO_BY_TOPIC => self.route(header),
            request::GET_BROKER_CLUSTER_INFO => Ok(self.cluster_info()),
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => Ok(self.system_topics()),

            request::UNREGISTER_BROKER => self.unregister_broker(header, conn),
            request::BROKER_HEARTBEAT => self.heartbeat(header, now_ms),
            request::QUERY_DATA_VERSION => self.query_data_version(header, body, now_ms),
            request::GET_BROKER_MEMBER_GROUP => self.member_group(header),
            request::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(header, body),

            request::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(header),
            request::PUT_KV_CONFIG => self.put_kv(header),
            request::GET_KV_CONFIG => self.find_kv(header),
            request::DELETE_KV_CONFIG => self.delete_kv(header),
            request::GET_KVLIST_BY_NAMESPACE => self.list_kv(header),
            request::UPDATE_NAMESRV_CONFIG => self.update_settings(body),
            request::GET_NAMESRV_CONFIG => Ok(self.show_settings()),

            code => {
                let remark = format!(" request type {code} not supported");
                Err(Reply::refused(response::REQUEST_CODE_NOT_SUPPORTED, remark))
            }
        }
    }
}

/// What a request has come to.
#[derive(Debug)]
pub enum Handled {
    Answered(Reply),
    /// A turn of the list follows another until the answer is there.
    InSlices(Listing),
    /// The same of a change of all topics of a broker.
    Changing(PermChange),
    /// The same of a registration. Registrations, and what else [`is_in_line`] names, are carried out one after another.
    Registering(Box<Registering>),
}

/// Whether a request waits until the registrations in front of it are carried out.
pub fn is_in_line(code: i32) -> bool {
    matches!(code, request::REGISTER_BROKER | request::UNREGISTER_BROKER)
}

/// A reply, or a refusal, which is one too.
type Answer = Result<Reply, Reply>;

/// No body is what a body without members is.
fn body_or_default<T: serde::de::DeserializeOwned + Default>(body: &[u8]) -> Result<T, BodyError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    loose_json::from_slice(body)
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
