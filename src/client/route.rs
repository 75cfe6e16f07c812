//! Routes of topics, as the name server has them, and the creation of topics.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::stream::{Dial, Endpoint, Transport};
use super::{API_TIMEOUT, ClientError, Remote, Response, resolve};
use crate::wire::Value;
use crate::wire::codes::{request, response};
use crate::wire::loose_json;
use crate::wire::route::{ClusterInfo, QueueData, TopicRouteData};
use crate::wire::{Codec, MessageQueue};

/// The template topic: its route is used for a topic that does not exist yet (`autoCreateTopicEnable`).
const DEFAULT_TOPIC: &str = "TBW102";
/// `defaultTopicQueueNums` of the Java producer: it uses at most so many queues of the template topic.
const DEFAULT_TOPIC_QUEUES: i32 = 4;
/// `pollNameServerInterval` of the Java client.
const ROUTE_AGE: Duration = Duration::from_secs(30);
const PERM_READ: i32 = 4;
const PERM_WRITE: i32 = 2;
const MASTER_ID: i64 = 0;
/// More than any topic has: a bound on the memory of a route.
const MAX_QUEUES: i32 = 1 << 16;

/// A queue and the address of the broker that takes writes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedQueue {
    pub broker: String,
    pub addr: String,
    pub queue_id: u32,
}

impl RoutedQueue {
    pub(super) fn named(&self, topic: &str) -> MessageQueue {
        MessageQueue {
            broker_name: self.broker.clone(),
            queue_id: self.queue_id as i32,
            topic: topic.to_owned(),
        }
    }
}

/// A topic's route (TopicRouteData).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicRoute(TopicRouteData);

impl TopicRoute {
    /// From either form of JSON: name servers before 4.9.4 leave the numeric keys of addresses unquoted.
    pub fn parse(body: &[u8]) -> Result<Self, ClientError> {
        loose_json::from_slice(body)
            .map(Self)
            .map_err(|error| ClientError::Answer {
                what: format!("topic route: {error}"),
            })
    }

    /// Queues that can be sent to: writable, and with a master. In a producer's round-robin order: the first queue of each broker, then
    /// the second of each.
    pub fn queues_to_send(&self) -> Vec<RoutedQueue> {
        self.queues(PERM_WRITE, |data| data.write_queue_nums)
    }

    pub fn queues_to_pull(&self) -> Vec<RoutedQueue> {
        self.queues(PERM_READ, |data| data.read_queue_nums)
    }

    /// Names and addresses of the masters.
    pub fn masters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.broker_datas.iter().filter_map(|broker| {
            let addr = broker.broker_addrs.get(&MASTER_ID)?;
            Some((broker.broker_name.as_str(), addr.as_str()))
        })
    }

    fn queues(&self, perm: i32, count: fn(&QueueData) -> i32) -> Vec<RoutedQueue> {
        let mut queues = Vec::new();
        for data in self
            .0
            .queue_datas
            .iter()
            .filter(|data| data.perm & perm != 0)
        {
            let master = self.masters().find(|(name, _)| *name == data.broker_name);
            let Some((broker, addr)) = master else {
                continue;
            };
            queues.extend(
                (0..count(data).clamp(0, MAX_QUEUES) as u32).map(|queue_id| RoutedQueue {
                    broker: broker.to_owned(),
                    addr: addr.to_owned(),
                    queue_id,
                }),
            );
        }
        queues.sort_by(|a, b| (a.queue_id, &a.broker).cmp(&(b.queue_id, &b.broker)));
        queues
    }

    /// The template topic's route as a producer uses it for a topic that does not exist yet.
    fn trimmed(mut self) -> Self {
        for data in &mut self.0.queue_datas {
            let queues = DEFAULT_TOPIC_QUEUES.min(data.read_queue_nums);
            (data.read_queue_nums, data.write_queue_nums) = (queues, queues);
        }
        self
    }
}

/// The name servers of a cluster: one is used until it fails, then the next.
pub struct NameServer {
    addrs: Vec<Endpoint>,
    codec: Codec,
    dial: Dial,
    chosen: Cell<usize>,
    remote: RefCell<Option<Rc<Remote>>>,
    routes: RefCell<HashMap<String, (Instant, TopicRoute)>>,
}

impl NameServer {
    /// `addrs` is a list as the Java client takes it: `host:port;host:port`.
    pub fn new(addrs: &str, codec: Codec) -> Result<Self, ClientError> {
        Self::over(Transport::fastest().into(), addrs, codec)
    }

    /// On the runtime of the transport.
    pub fn over(dial: Dial, addrs: &str, codec: Codec) -> Result<Self, ClientError> {
        let addrs = addrs
            .split(';')
            .filter(|addr| !addr.trim().is_empty())
            .map(|addr| resolve(addr.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        if addrs.is_empty() {
            let error = std::io::ErrorKind::NotFound.into();
            return Err(ClientError::Address {
                text: String::new(),
                error,
            });
        }
        Ok(Self {
            addrs,
            codec,
            dial,
            chosen: Cell::new(0),
            remote: RefCell::default(),
            routes: RefCell::default(),
        })
    }

    /// The route of a topic that exists; `None` if the name server has none.
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRoute>, ClientError> {
        let ext = [
            ("topic", Value::Str(topic)),
            ("acceptStandardJsonOnly", Value::Bool(true)),
        ];
        let answer = self.call(request::GET_ROUTEINFO_BY_TOPIC, &ext).await?;
        if answer.code == response::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        Ok(Some(TopicRoute::parse(&answer.success()?.body)?))
    }

    /// The route that a producer uses, at most 30 s old; for a topic that does not exist, TBW102's.
    pub async fn route_to_send(&self, topic: &str) -> Result<TopicRoute, ClientError> {
        let known = self.routes.borrow().get(topic).cloned();
        if let Some((_, route)) = known.filter(|(asked, _)| asked.elapsed() < ROUTE_AGE) {
            return Ok(route);
        }
        let route = match self.route(topic).await? {
            Some(route) => route,
            None => self.route_of_stand_in().await?.unwrap_or_default(),
        };
        self.routes
            .borrow_mut()
            .insert(topic.to_owned(), (Instant::now(), route.clone()));
        Ok(route)
    }

    /// The route that a producer uses for a topic that does not exist yet; `None` where brokers do not create topics automatically.
    pub async fn route_of_stand_in(&self) -> Result<Option<TopicRoute>, ClientError> {
        Ok(self.route(DEFAULT_TOPIC).await?.map(TopicRoute::trimmed))
    }

    pub async fn queues_to_send(&self, topic: &str) -> Result<Vec<RoutedQueue>, ClientError> {
        let queues = self.route_to_send(topic).await?.queues_to_send();
        if queues.is_empty() {
            return Err(ClientError::NoQueue {
                topic: topic.to_owned(),
                used: "sent to",
            });
        }
        Ok(queues)
    }

    pub async fn queues_to_pull(&self, topic: &str) -> Result<Vec<RoutedQueue>, ClientError> {
        let queues = self
            .route(topic)
            .await?
            .unwrap_or_default()
            .queues_to_pull();
        if queues.is_empty() {
            return Err(ClientError::NoQueue {
                topic: topic.to_owned(),
                used: "pulled from",
            });
        }
        Ok(queues)
    }

    /// Makes the topic on every master of the cluster, or changes its number of queues.
    pub async fn create_topic(&self, topic: &str, queues: u32) -> Result<(), ClientError> {
        for addr in self.master_addrs().await? {
            let to = resolve(&addr)?;
            let remote = Remote::connect_by(&self.dial, &to, self.codec).await?;
            let ext = [
                ("topic", Value::Str(topic)),
                ("defaultTopic", Value::Str(DEFAULT_TOPIC)),
                ("readQueueNums", Value::I64(i64::from(queues))),
                ("writeQueueNums", Value::I64(i64::from(queues))),
                ("perm", Value::I64(i64::from(PERM_READ | PERM_WRITE))),
                ("topicFilterType", Value::Str("SINGLE_TAG")),
                ("topicSysFlag", Value::I64(0)),
                ("order", Value::Bool(false)),
            ];
            let answer = remote
                .call(request::UPDATE_AND_CREATE_TOPIC, &ext, &[], API_TIMEOUT)
                .await?;
            answer.success()?;
        }
        self.routes.borrow_mut().remove(topic);
        Ok(())
    }

    /// Waits until the name server has the topic with at least `queues` queues on each of its brokers.
    pub async fn await_topic(
        &self,
        topic: &str,
        queues: u32,
        timeout: Duration,
    ) -> Result<TopicRoute, ClientError> {
        let end = Instant::now() + timeout;
        loop {
            let route = self.route(topic).await?.unwrap_or_default();
            let enough = |data: &QueueData| i64::from(data.write_queue_nums) >= i64::from(queues);
            if !route.0.queue_datas.is_empty() && route.0.queue_datas.iter().all(enough) {
                return Ok(route);
            }
            if Instant::now() >= end {
                return Err(ClientError::NoQueue {
                    topic: topic.to_owned(),
                    used: "sent to",
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Addresses of all masters, from the cluster table (106).
    async fn master_addrs(&self) -> Result<Vec<String>, ClientError> {
        let answer = self
            .call(request::GET_BROKER_CLUSTER_INFO, &[])
            .await?
            .success()?;
        // This one is always in the loose form: numeric keys without quotes.
        let table: ClusterInfo =
            loose_json::from_slice(&answer.body).map_err(|error| ClientError::Answer {
                what: format!("cluster table: {error}"),
            })?;
        let route = TopicRoute(TopicRouteData {
            broker_datas: table.broker_addr_table.into_values().collect(),
            ..TopicRouteData::default()
        });
        Ok(route.masters().map(|(_, addr)| addr.to_owned()).collect())
    }

    async fn call(&self, code: i32, ext: &[(&str, Value<'_>)]) -> Result<Response, ClientError> {
        let mut last = None;
        for _ in 0..self.addrs.len() {
            let tried = self.chosen.get();
            match self.call_chosen(code, ext).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
            // Another call that failed at the same time may have switched to the next already.
            if self.chosen.get() == tried {
                self.remote.take();
                self.chosen.set((tried + 1) % self.addrs.len());
            }
        }
        Err(last.expect("there is at least one address"))
    }

    async fn call_chosen(
        &self,
        code: i32,
        ext: &[(&str, Value<'_>)],
    ) -> Result<Response, ClientError> {
        let open = self
            .remote
            .borrow()
            .clone()
            .filter(|remote| !remote.is_closed());
        let remote = match open {
            Some(remote) => remote,
            None => {
                let to = &self.addrs[self.chosen.get()];
                let connecting = Remote::connect_by(&self.dial, to, self.codec);
                let remote = connecting.await.map_err(|error| match error {
                    ClientError::Connect { addr, error } => ClientError::NameServer { addr, error },
                    other => other,
                })?;
                let remote = Rc::new(remote);
                self.remote.replace(Some(Rc::clone(&remote)));
                remote
            }
        };
        remote.call(code, ext, &[], API_TIMEOUT).await
    }
}

/// Their addresses, as they are written in the configuration.
impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, addr) in self.addrs.iter().enumerate() {
            let separator = if nth > 0 { ";" } else { "" };
            write!(f, "{separator}{}", addr.addr)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a 5.x name server writes it.
    const ROUTE: &str = r#"{"brokerDatas":[
        {"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.9:10911"},"brokerName":"a","cluster":"c","enableActingMaster":false},
        {"brokerAddrs":{"0":"10.0.0.2:10911"},"brokerName":"b","cluster":"c","enableActingMaster":false},
        {"brokerAddrs":{"1":"10.0.0.3:10911"},"brokerName":"slaves","cluster":"c","enableActingMaster":false}],
        "filterServerTable":{},
        "queueDatas":[
        {"brokerName":"a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":2},
        {"brokerName":"b","perm":4,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":8},
        {"brokerName":"slaves","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4},
        {"brokerName":"unknown","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;

    #[test]
    fn only_queues_with_permission_and_master_count() {
        let route = TopicRoute::parse(ROUTE.as_bytes()).unwrap();
        let send = route.queues_to_send();
        assert_eq!(send.len(), 2);
        assert!(send.iter().all(|queue| queue.addr == "10.0.0.1:10911"));
        let pull = route.queues_to_pull();
        assert_eq!(pull.len(), 9);
        assert_eq!(
            (pull[0].broker.as_str(), pull[1].broker.as_str()),
            ("a", "b")
        );
        assert_eq!(pull.last().map(|queue| queue.queue_id), Some(7));
    }

    #[test]
    fn both_forms_of_json_say_the_same() {
        let loose = ROUTE.replace("\"0\":", "0:").replace("\"1\":", "1:");
        assert_eq!(
            TopicRoute::parse(loose.as_bytes()).unwrap(),
            TopicRoute::parse(ROUTE.as_bytes()).unwrap()
        );
    }

    #[test]
    fn the_stand_in_is_trimmed_to_four_queues() {
        let route = TopicRoute::parse(ROUTE.as_bytes()).unwrap().trimmed();
        assert_eq!(route.queues_to_send().len(), 4);
        assert_eq!(route.queues_to_pull().len(), 5);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(TopicRoute::parse(b"{\"queueDatas\":7}").is_err());
        assert!(TopicRoute::parse(b"").is_err());
        assert_eq!(TopicRoute::parse(b"{}").unwrap(), TopicRoute::default());
    }
}
