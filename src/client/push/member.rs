//! A consumer's part on the client's thread: its assigned queues, its start and its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::spawn_local;

use super::assigned::{Assigned, shown};
use super::config::{ConsumeFrom, Listener, PushConfig};
use super::offsets::Offsets;
use crate::client::instance::Instance;
use crate::client::outages::log_failure;
use crate::client::subscription::Subscription;
use crate::client::{API_TIMEOUT, ClientError, Response, unix_ms};
use crate::message::names::retry_topic;
use crate::wire::MessageQueue;
use crate::wire::codes::request;
use crate::wire::consumer::{CheckClientConfig, RunningInfo};
use crate::wire::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData};
use crate::wire::loose_json;

/// RocketMQ's default of `maxReconsumeTimes`, where it is written as -1.
const MAX_RECONSUME_TIMES: i32 = 16;

pub struct Member {
    pub(super) config: PushConfig,
    pub(super) listener: Listener,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) offsets: Offsets,
    pub(super) assigned: RefCell<BTreeMap<MessageQueue, Rc<Assigned>>>,
    started_ms: i64,
    /// One permit for each listener that may run.
    pub(super) threads: Arc<Semaphore>,
    /// Listeners that run, up to the end of what their verdict calls for.
    running: Cell<usize>,
    idle: Notify,
    changed: Notify,
    stopping: Cell<bool>,
    /// Held while it stops: a second call waits for the first.
    stopped: Mutex<bool>,
}

/// A listener runs as long as this value exists.
pub struct Running(Rc<Member>);

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.0.running.get() - 1;
        self.0.running.set(left);
        if left == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Member {
    /// A member whose routes are known and whose expressions brokers accept.
    pub async fn prepare(
        instance: &Rc<Instance>,
        config: PushConfig,
        listener: Listener,
    ) -> Result<Rc<Self>, ClientError> {
        let member = Rc::new(Self::new(instance, config, listener)?);
        for topic in member.subscriptions.keys() {
            instance.routes.route(topic).await?;
        }
        member.check_expressions(instance).await?;
        Ok(member)
    }

    /// Returns once brokers know the consumer and the first rebalance is done.
    pub async fn join(self: &Rc<Self>, instance: &Rc<Instance>) {
        instance.heartbeat().await;
        let balanced = self.rebalance(instance).await;
        spawn_local(Rc::clone(self).keep_balance(Rc::clone(instance), balanced));
        if self.locks_queues() {
            spawn_local(Rc::clone(self).keep_locks(Rc::clone(instance)));
        }
    }

    fn new(
        instance: &Instance,
        config: PushConfig,
        listener: Listener,
    ) -> Result<Self, ClientError> {
        let mut subscriptions: BTreeMap<_, _> = config
            .subscriptions
            .iter()
            .map(|subscription| (subscription.topic().to_owned(), subscription.clone()))
            .collect();
        let offsets = if config.is_broadcast() {
            Offsets::in_file(&config.group, &config.offsets_dir, &instance.client_id)?
        } else {
            let retries = retry_topic(&config.group);
            subscriptions.insert(retries.clone(), Subscription::all(retries));
            Offsets::at_brokers(&config.group)
        };
        Ok(Self {
            started_ms: unix_ms(),
            threads: Arc::new(Semaphore::new(config.consume_threads)),
            config,
            listener,
            subscriptions,
            offsets,
            assigned: RefCell::default(),
            running: Cell::new(0),
            idle: Notify::new(),
            changed: Notify::new(),
            stopping: Cell::new(false),
            stopped: Mutex::new(false),
        })
    }

    pub fn group(&self) -> &str {
        &self.config.group
    }

    /// This consumer in a heartbeat.
    pub fn data(&self) -> ConsumerData {
        ConsumerData {
            consume_from_where: match self.config.from {
                ConsumeFrom::Last => ConsumeFromWhere::ConsumeFromLastOffset,
                ConsumeFrom::First => ConsumeFromWhere::ConsumeFromFirstOffset,
                ConsumeFrom::Time(_) => ConsumeFromWhere::ConsumeFromTimestamp,
            },
            consume_type: ConsumeType::ConsumePassively,
            group_name: self.config.group.clone(),
            message_model: self.config.model,
            subscription_data_set: self
                .subscriptions
                .values()
                .map(|subscription| subscription.data().clone())
                .collect(),
            unit_mode: false,
        }
    }

    /// This consumer, for an operator who asks for it.
    pub fn running_info(&self) -> RunningInfo {
        let data = self.data();
        let properties = [
            ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
            ("PROP_CONSUMEORDERLY", self.config.orderly.to_string()),
        ];
        RunningInfo {
            properties: properties
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            subscription_set: data.subscription_data_set,
        }
    }

    pub fn max_reconsume_times(&self) -> i32 {
        let usual = match self.config.orderly {
            true => i32::MAX,
            false => MAX_RECONSUME_TIMES,
        };
        self.config.max_reconsume_times.unwrap_or(usual)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub fn locks_queues(&self) -> bool {
        self.config.orderly && !self.config.is_broadcast()
    }

    /// The group may have changed.
    pub fn look_around(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn change(&self) {
        self.changed.notified().await;
    }

    /// `None` if the consumer is stopping.
    pub(super) fn begin(self: &Rc<Self>, assigned: &Assigned) -> Option<Running> {
        if self.is_stopping() || assigned.is_dropped() {
            return None;
        }
        self.running.set(self.running.get() + 1);
        Some(Running(Rc::clone(self)))
    }

    pub async fn save_offsets(&self, instance: &Instance) {
        self.offsets.save_all(instance).await;
    }

    /// No listener runs after this, and the offsets are saved.
    pub async fn stop(&self, instance: &Instance) {
        self.stopping.set(true);
        let mut stopped = self.stopped.lock().await;
        if std::mem::replace(&mut *stopped, true) {
            return;
        }
        self.look_around();
        let assigned: Vec<_> = self.assigned.borrow().values().cloned().collect();
        for queue in &assigned {
            queue.news.notify_one();
        }
        let done = tokio::time::timeout(self.config.shutdown_timeout, self.until_idle()).await;
        if done.is_err() {
            tracing::warn!(
                "a listener of the group {} does not return; its messages will come again",
                self.config.group
            );
        }
        for queue in &assigned {
            queue.drop_now();
        }
        self.save_offsets(instance).await;
        if self.locks_queues() {
            let queues = assigned.iter().map(|queue| queue.queue.clone()).collect();
            self.unlock(instance, queues).await;
        }
        self.assigned.borrow_mut().clear();
    }

    async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running.get() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// The group continues from other offsets, set by an operator.
    pub async fn reset(&self, instance: &Instance, offsets: BTreeMap<MessageQueue, i64>) {
        for (queue, offset) in offsets {
            let Some(assigned) = self.assigned.borrow().get(&queue).cloned() else {
                continue;
            };
            assigned.drop_now();
            self.offsets.update(&queue, offset, false);
            if let Err(error) = self.offsets.save(instance, &queue).await {
                let queue = shown(&queue);
                log_failure(&error, format_args!("the offset of {queue} is not reset"));
            }
            self.offsets.forget(&queue);
            self.assigned.borrow_mut().remove(&queue);
        }
        self.look_around();
    }

    /// CHECK_CLIENT_CONFIG (46): a broker checks an SQL expression before it is subscribed to.
    async fn check_expressions(&self, instance: &Instance) -> Result<(), ClientError> {
        for (topic, subscription) in &self.subscriptions {
            if subscription.is_by_tag() {
                continue;
            }
            let Some(routed) = instance.routes.route(topic).await? else {
                continue;
            };
            let Some((_, addr)) = routed.route.masters().next() else {
                continue;
            };
            let body = CheckClientConfig {
                client_id: instance.client_id.clone(),
                group: self.config.group.clone(),
                namespace: None,
                subscription_data: Some(subscription.data().clone()),
            };
            let body = loose_json::to_vec(&body);
            instance
                .call(addr, request::CHECK_CLIENT_CONFIG, &[], &body, API_TIMEOUT)
                .await
                .and_then(Response::success)?;
        }
        Ok(())
    }
}
