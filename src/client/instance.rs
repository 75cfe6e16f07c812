//! What all producers and consumers of a client share: connections, routes, heartbeats, ids.
//!
//! Everything here runs on the client's thread. A new connection to a broker begins with a heartbeat: a restarted broker knows the
//! consumers of this client before they pull from it.
//!
//! Source: `MQClientInstance`.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_local;

use super::config::ClientConfig;
use super::identity::{client_id, own_ip};
use super::outages::{Outages, log_failure};
use super::remote::Asked;
use super::route::NameServer;
use super::routes::Routes;
use super::{API_TIMEOUT, ClientError, Remote, Response, resolve, unix_ms};
use crate::message::KeyMaker;
use crate::wire::Value;
use crate::wire::codes::request;
use crate::wire::consumer::UnregisterClient;
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::loose_json;

/// The producers and consumers of the client, as far as heartbeats are about them.
pub trait Members {
    /// Adds all groups to the heartbeat.
    fn describe(&self, heartbeat: &mut HeartbeatData);
}

pub struct Instance {
    pub client_id: String,
    pub config: ClientConfig,
    pub routes: Routes,
    /// By address.
    brokers: RefCell<HashMap<String, Rc<Slot>>>,
    outages: Outages,
    members: OnceCell<Weak<dyn Members>>,
    keys: RefCell<KeyMaker>,
    to_requests: mpsc::UnboundedSender<Asked>,
    started: Instant,
}

/// A broker's connection; locked while one is being made, so that there is only one.
type Slot = Mutex<Option<Rc<Remote>>>;

impl Instance {
    /// With the requests that brokers send to this client.
    pub fn start(
        config: ClientConfig,
    ) -> Result<(Rc<Self>, mpsc::UnboundedReceiver<Asked>), ClientError> {
        let ip = own_ip();
        let (to_requests, requests) = mpsc::unbounded_channel();
        let seed = u64::from(std::process::id()) | (unix_ms() as u64) << 16;
        let names = NameServer::over(config.dial(), &config.namesrv, config.codec)?;
        let instance = Rc::new(Self {
            client_id: client_id(ip, config.instance_name.as_deref()),
            config,
            routes: Routes::new(names),
            brokers: RefCell::default(),
            outages: Outages::default(),
            members: OnceCell::new(),
            keys: RefCell::new(KeyMaker::new(ip, seed)),
            to_requests,
            started: Instant::now(),
        });
        spawn_local(Rc::clone(&instance).keep_routes());
        spawn_local(Rc::clone(&instance).keep_heartbeats());
        Ok((instance, requests))
    }

    /// The producers and consumers in the heartbeats. Set once, before the first heartbeat.
    pub fn set_members(&self, members: Weak<dyn Members>) {
        // A second call would change nothing.
        let _ = self.members.set(members);
    }

    /// A clock for what need not survive the process.
    pub fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub fn make_message_id(&self) -> String {
        self.keys.borrow_mut().next(unix_ms() as u64).to_string()
    }

    /// No connection is used any more.
    pub fn close(&self) {
        self.brokers.borrow_mut().clear();
    }

    pub async fn unregister(&self, producer_group: Option<&str>, consumer_group: Option<&str>) {
        let header = UnregisterClient {
            client_id: &self.client_id,
            producer_group,
            consumer_group,
        };
        for remote in self.open_remotes().await {
            let unregistered = remote
                .call(request::UNREGISTER_CLIENT, &header.ext(), &[], API_TIMEOUT)
                .await;
            if let Err(error) = unregistered {
                tracing::debug!("not unregistered from {}: {error}", remote.addr());
            }
        }
    }
}

/// Connections.
impl Instance {
    /// The open connection to a broker, or a new one that begins with a heartbeat.
    pub async fn remote(&self, addr: &str) -> Result<Rc<Remote>, ClientError> {
        let slot = Rc::clone(
            self.brokers
                .borrow_mut()
                .entry(addr.to_owned())
                .or_default(),
        );
        let mut slot = slot.lock().await;
        if let Some(remote) = slot.as_ref().filter(|remote| !remote.is_closed()) {
            return Ok(Rc::clone(remote));
        }
        let asked = Some(self.to_requests.clone());
        let (to, codec) = (resolve(addr)?, self.config.codec);
        let connected = Remote::connect_over(&self.config.dial(), &to, codec, asked).await;
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => return self.noted(addr, Err(error)),
        };
        let remote = Rc::new(connected);
        self.send_heartbeat(addr, &remote).await;
        *slot = Some(Rc::clone(&remote));
        Ok(remote)
    }

    /// The connection of the request.
    pub async fn remote_of(&self, asked: &Asked) -> Option<Rc<Remote>> {
        let remotes = self.open_remotes().await;
        remotes
            .into_iter()
            .find(|remote| remote.addr() == asked.peer)
    }

    pub async fn call(
        &self,
        addr: &str,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let remote = self.remote(addr).await?;
        let answered = remote.call(code, ext, body, timeout).await;
        self.noted(addr, answered)
    }

    /// Logs when a broker cannot be reached any more, and when it can again: once for each outage, whatever requests are made meanwhile. A connection
    /// without an answer does not end it: the kernel makes one for a process that is just dying, too.
    pub fn noted<T>(&self, addr: &str, ended: Result<T, ClientError>) -> Result<T, ClientError> {
        let name = || match self.routes.broker_name(addr) {
            Some(name) => format!("{name} ({addr})"),
            None => addr.to_owned(),
        };
        match &ended {
            Err(error) if error.is_of_connection() => {
                if self.outages.begin(addr) {
                    tracing::warn!("cannot reach {}: {error}; trying again", name());
                }
            }
            // An answer, of whatever kind.
            _ => {
                if self.outages.end(addr) {
                    tracing::warn!("{} is reachable again", name());
                }
            }
        }
        ended
    }

    async fn open_remotes(&self) -> Vec<Rc<Remote>> {
        let slots: Vec<_> = self.brokers.borrow().values().cloned().collect();
        let mut open = Vec::new();
        for slot in slots {
            open.extend(slot.lock().await.clone());
        }
        open.retain(|remote| !remote.is_closed());
        open
    }
}

/// What is done again from time to time.
impl Instance {
    async fn keep_routes(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.route_interval).await;
            for topic in self.routes.topics() {
                self.refresh_route(&topic).await;
            }
        }
    }

    /// Queries the name server again; the known route is kept if it does not answer.
    pub async fn refresh_route(&self, topic: &str) {
        let names = self.routes.name_servers();
        match self.routes.refresh(topic).await {
            Err(error) if error.is_of_connection() => {
                if self.outages.begin(&names) {
                    tracing::warn!("{error}; routes stay as they are, trying again");
                }
            }
            Err(error) => tracing::warn!("the route of {topic} stays as it is: {error}"),
            Ok(()) => {
                if self.outages.end(&names) {
                    tracing::warn!("the name server {names} is reachable again");
                }
            }
        }
    }

    /// The first message may have created the topic: its own route replaces that of the template topic.
    pub fn topic_may_exist(self: &Rc<Self>, topic: &str) {
        if self.routes.has_stand_in(topic) {
            let (instance, topic) = (Rc::clone(self), topic.to_owned());
            spawn_local(async move { instance.refresh_route(&topic).await });
        }
    }

    async fn keep_heartbeats(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.heartbeat_interval).await;
            self.heartbeat().await;
        }
    }

    /// Sends a heartbeat to every broker of the known routes.
    pub async fn heartbeat(self: &Rc<Self>) {
        if self.heartbeat_data().is_none() {
            return;
        }
        let sending: Vec<_> = self
            .routes
            .broker_addrs()
            .into_iter()
            .map(|addr| spawn_local(Rc::clone(self).heartbeat_to(addr)))
            .collect();
        for sent in sending {
            // It only fails together with the whole runtime.
            let _ = sent.await;
        }
    }

    async fn heartbeat_to(self: Rc<Self>, addr: String) {
        match self.remote(&addr).await {
            Ok(remote) => self.send_heartbeat(&addr, &remote).await,
            Err(error) => tracing::debug!("no heartbeat: {error}"),
        }
    }

    async fn send_heartbeat(&self, addr: &str, remote: &Remote) {
        let Some(data) = self.heartbeat_data() else {
            return;
        };
        let body = loose_json::to_vec(&data);
        let answered = remote
            .call(request::HEART_BEAT, &[], &body, API_TIMEOUT)
            .await;
        let answered = self.noted(addr, answered).and_then(Response::success);
        if let Err(error) = answered {
            log_failure(&error, format_args!("heartbeat to {}", remote.addr()));
        }
    }

    /// `None` without any producer or consumer.
    fn heartbeat_data(&self) -> Option<HeartbeatData> {
        let members = self.members.get()?.upgrade()?;
        let mut data = HeartbeatData {
            client_id: self.client_id.clone(),
            ..HeartbeatData::default()
        };
        members.describe(&mut data);
        let is_empty = data.consumer_data_set.is_empty() && data.producer_data_set.is_empty();
        (!is_empty).then_some(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Transport;
    use crate::client::fake::{Behaviour, Fake};

    /// The kernel makes one for a process that is dying.
    #[test]
    fn a_connection_without_an_answer_does_not_end_an_outage() {
        let fake = Fake::start(Behaviour::default());
        let addr = fake.addr.to_string();
        let asking = async {
            let (instance, _requests) = Instance::start(ClientConfig::new(&*addr)).unwrap();
            assert!(instance.outages.begin(&addr));
            instance.remote(&addr).await.unwrap();
            assert!(!instance.outages.begin(&addr), "it goes on");
            let topic = [("topic", Value::Str("T"))];
            let asked = instance.call(
                &addr,
                request::GET_ROUTEINFO_BY_TOPIC,
                &topic,
                b"",
                API_TIMEOUT,
            );
            asked.await.unwrap();
            assert!(instance.outages.begin(&addr), "it has ended");
        };
        Transport::Epoll.run(8, asking).unwrap();
    }
}
