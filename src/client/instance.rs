//! What one client keeps alive: connections, heartbeats, and who of the application is behind it.
//!
//! Everything here lives on the client's thread. A new connection to a broker begins with a heartbeat, so that a broker that came
//! back knows the consumers of this client before it is asked for their messages.
//!
//! Source: `MQClientInstance`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_local;

use super::app::ClientConfig;
use super::identity::{client_id, own_ip};
use super::push::Member;
use super::remote::Asked;
use super::route::NameServer;
use super::routes::Routes;
use super::sender::Sender;
use super::stream::Transport;
use super::{API_TIMEOUT, ClientError, Remote, Response, questions, resolve, unix_ms};
use crate::message::KeyMaker;
use crate::wire::codes::request;
use crate::wire::consumer::UnregisterClient;
use crate::wire::frame::Value;
use crate::wire::heartbeat::{HeartbeatData, ProducerData};
use crate::wire::loose_json;

pub struct Instance {
    pub client_id: String,
    pub config: ClientConfig,
    /// By address.
    brokers: RefCell<HashMap<String, Rc<Slot>>>,
    pub(super) names: NameServer,
    pub(super) routes: Routes,
    /// By group, as are the consumers.
    producers: RefCell<BTreeMap<String, Rc<Sender>>>,
    consumers: RefCell<BTreeMap<String, Rc<Member>>>,
    keys: RefCell<KeyMaker>,
    to_questions: mpsc::UnboundedSender<Asked>,
    started: Instant,
    left: Cell<bool>,
}

/// A broker's connection; locked while one is being made, so that there is only one.
type Slot = Mutex<Option<Rc<Remote>>>;

impl Instance {
    pub fn start(config: ClientConfig) -> Result<Rc<Self>, ClientError> {
        let ip = own_ip();
        let (to_questions, questions) = mpsc::unbounded_channel();
        let seed = u64::from(std::process::id()) | (unix_ms() as u64) << 16;
        let instance = Rc::new(Self {
            client_id: client_id(ip, config.instance_name.as_deref()),
            names: NameServer::over(Transport::Epoll, &config.namesrv, config.codec)?,
            config,
            brokers: RefCell::default(),
            routes: Routes::default(),
            producers: RefCell::default(),
            consumers: RefCell::default(),
            keys: RefCell::new(KeyMaker::new(ip, seed)),
            to_questions,
            started: Instant::now(),
            left: Cell::new(false),
        });
        spawn_local(Rc::clone(&instance).keep_routes());
        spawn_local(Rc::clone(&instance).keep_heartbeats());
        spawn_local(Rc::clone(&instance).keep_offsets());
        spawn_local(questions::answer(Rc::clone(&instance), questions));
        Ok(instance)
    }

    pub fn has_left(&self) -> bool {
        self.left.get()
    }

    /// A clock for what need not survive the process.
    pub fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub fn make_message_id(&self) -> String {
        self.keys.borrow_mut().next(unix_ms() as u64).to_string()
    }

    /// Ends everything, in the order that loses and repeats least.
    pub async fn leave(&self) {
        if self.left.replace(true) {
            return;
        }
        let consumers: Vec<_> = self.consumers.borrow().values().cloned().collect();
        for consumer in consumers {
            self.remove_consumer(&consumer).await;
        }
        let groups: Vec<_> = self.producers.borrow().keys().cloned().collect();
        for group in groups {
            self.remove_producer(&group).await;
        }
        self.brokers.borrow_mut().clear();
    }
}

/// Who is behind the client.
impl Instance {
    pub fn add_producer(&self, sender: Sender) -> Result<(), ClientError> {
        let mut producers = self.producers.borrow_mut();
        if producers.contains_key(&sender.config.group) {
            return Err(ClientError::illegal(format!(
                "this client has a producer of the group {} already",
                sender.config.group
            )));
        }
        producers.insert(sender.config.group.clone(), Rc::new(sender));
        Ok(())
    }

    pub fn producer(&self, group: &str) -> Result<Rc<Sender>, ClientError> {
        let known = self.producers.borrow().get(group).cloned();
        known.ok_or(ClientError::Stopped)
    }

    pub async fn remove_producer(&self, group: &str) {
        if self.producers.borrow_mut().remove(group).is_some() {
            self.unregister(Some(group), None).await;
        }
    }

    pub fn add_consumer(&self, member: &Rc<Member>) -> Result<(), ClientError> {
        let mut consumers = self.consumers.borrow_mut();
        if consumers.contains_key(member.group()) {
            return Err(ClientError::illegal(format!(
                "this client has a consumer of the group {} already",
                member.group()
            )));
        }
        consumers.insert(member.group().to_owned(), Rc::clone(member));
        Ok(())
    }

    pub fn consumer(&self, group: &str) -> Option<Rc<Member>> {
        self.consumers.borrow().get(group).cloned()
    }

    pub async fn remove_consumer(&self, member: &Rc<Member>) {
        member.stop(self).await;
        let removed = self.consumers.borrow_mut().remove(member.group());
        if removed.is_some() {
            self.unregister(None, Some(member.group())).await;
        }
    }

    async fn unregister(&self, producer_group: Option<&str>, consumer_group: Option<&str>) {
        let header = UnregisterClient {
            client_id: &self.client_id,
            producer_group,
            consumer_group,
        };
        for remote in self.open_remotes().await {
            let told = remote
                .call(request::UNREGISTER_CLIENT, &header.ext(), &[], API_TIMEOUT)
                .await;
            if let Err(error) = told {
                tracing::debug!("{} was not told that we leave: {error}", remote.addr());
            }
        }
    }
}

/// Connections.
impl Instance {
    /// The open connection to a broker, or a new one on which it has heard our heartbeat.
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
        let asked = Some(self.to_questions.clone());
        let (peer, codec) = (resolve(addr)?, self.config.codec);
        let remote = Rc::new(Remote::connect_over(Transport::Epoll, peer, codec, asked).await?);
        self.tell_heartbeat(&remote).await;
        *slot = Some(Rc::clone(&remote));
        Ok(remote)
    }

    /// The connection on which something was asked.
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
        remote.call(code, ext, body, timeout).await
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

/// Heartbeats and offsets.
impl Instance {
    async fn keep_heartbeats(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.heartbeat_interval).await;
            self.heartbeat().await;
        }
    }

    /// Tells every broker of the known routes who is here.
    pub async fn heartbeat(self: &Rc<Self>) {
        if self.heartbeat_data().is_none() {
            return;
        }
        let telling: Vec<_> = self
            .broker_addrs()
            .into_iter()
            .map(|addr| spawn_local(Rc::clone(self).heartbeat_to(addr)))
            .collect();
        for told in telling {
            // It only fails together with the whole runtime.
            let _ = told.await;
        }
    }

    async fn heartbeat_to(self: Rc<Self>, addr: String) {
        match self.remote(&addr).await {
            Ok(remote) => self.tell_heartbeat(&remote).await,
            Err(error) => tracing::debug!("no heartbeat: {error}"),
        }
    }

    async fn tell_heartbeat(&self, remote: &Remote) {
        let Some(data) = self.heartbeat_data() else {
            return;
        };
        let body = loose_json::to_vec(&data);
        let told = remote
            .call(request::HEART_BEAT, &[], &body, API_TIMEOUT)
            .await
            .and_then(Response::success);
        if let Err(error) = told {
            tracing::warn!("heartbeat to {}: {error}", remote.addr());
        }
    }

    /// `None` if nobody is behind this client.
    fn heartbeat_data(&self) -> Option<HeartbeatData> {
        let producers = self.producers.borrow();
        let consumers = self.consumers.borrow();
        if producers.is_empty() && consumers.is_empty() {
            return None;
        }
        Some(HeartbeatData {
            client_id: self.client_id.clone(),
            consumer_data_set: consumers.values().map(|member| member.data()).collect(),
            producer_data_set: producers
                .keys()
                .map(|group| ProducerData {
                    group_name: group.clone(),
                })
                .collect(),
            ..HeartbeatData::default()
        })
    }

    async fn keep_offsets(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.offset_interval).await;
            let consumers: Vec<_> = self.consumers.borrow().values().cloned().collect();
            for consumer in consumers {
                consumer.save_offsets(&self).await;
            }
        }
    }
}
