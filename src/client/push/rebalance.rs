//! Which queues are assigned to this member: computed when the group changes, and from time to time. The offset of a released queue is
//! saved first; a new one begins at the group's offset.
//!
//! Source: `RebalanceImpl`, `RebalancePushImpl`.

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::spawn_local;

use super::assigned::{Assigned, Lock, shown};
use super::config::ConsumeFrom;
use super::member::Member;
use crate::client::instance::Instance;
use crate::client::outages::log_failure;
use crate::client::routes::Routed;
use crate::client::{API_TIMEOUT, ClientError, Response};
use crate::message::division;
use crate::message::names::retry_topic;
use crate::wire::MessageQueue;
use crate::wire::codes::request;
use crate::wire::consumer::{ConsumerGroup, ConsumerList};
use crate::wire::lock::{LockBatch, LockedQueues};
use crate::wire::loose_json;

/// The pause while something could not be done (`minInterval`).
const SOON: Duration = Duration::from_secs(1);
/// `rocketmq.client.rebalance.lockInterval`
const LOCK_INTERVAL: Duration = Duration::from_secs(20);

impl Member {
    pub(super) async fn keep_balance(self: Rc<Self>, instance: Rc<Instance>, mut balanced: bool) {
        while !self.is_stopping() {
            let pause = match balanced {
                true => instance.config.rebalance_interval,
                false => SOON.min(instance.config.rebalance_interval),
            };
            // Either is a reason to rebalance.
            let _ = tokio::time::timeout(pause, self.change()).await;
            balanced = self.rebalance(&instance).await;
        }
    }

    /// Whether every queue of ours is taken, and no other.
    pub(super) async fn rebalance(self: &Rc<Self>, instance: &Rc<Instance>) -> bool {
        let mut balanced = true;
        for topic in self.subscriptions.keys() {
            if self.is_stopping() {
                return true;
            }
            match self.rebalance_topic(instance, topic).await {
                Ok(done) => balanced &= done,
                Err(error) => {
                    let group = &self.config.group;
                    log_failure(&error, format_args!("{group}: the queues of {topic}"));
                    balanced = false;
                }
            }
        }
        balanced
    }

    async fn rebalance_topic(
        self: &Rc<Self>,
        instance: &Rc<Instance>,
        topic: &str,
    ) -> Result<bool, ClientError> {
        let Some(routed) = instance.routes.route(topic).await? else {
            // The topic may be created by the first message; the retry topic is created by the first heartbeat, its route shortly after.
            return Ok(false);
        };
        let mut queues: Vec<MessageQueue> = routed
            .to_pull
            .iter()
            .map(|queue| queue.named(topic))
            .collect();
        queues.sort();
        if self.config.is_broadcast() {
            return Ok(self.take_and_release(instance, topic, &queues).await);
        }
        let mut members = self.members(instance, &routed).await?;
        members.sort();
        let place = members.iter().position(|id| *id == instance.client_id);
        let mine = place.map(|place| division::averagely(queues.len(), members.len(), place));
        let mine = mine.and_then(|mine| queues.get(mine)).unwrap_or_default();
        Ok(self.take_and_release(instance, topic, mine).await)
    }

    /// The group's members, by the first broker of the topic that answers.
    async fn members(
        &self,
        instance: &Instance,
        routed: &Routed,
    ) -> Result<Vec<String>, ClientError> {
        let header = ConsumerGroup {
            consumer_group: &self.config.group,
        };
        let mut last = None;
        for (_, addr) in routed.route.masters() {
            let code = request::GET_CONSUMER_LIST_BY_GROUP;
            let answer = instance
                .call(addr, code, &header.ext(), &[], API_TIMEOUT)
                .await
                .and_then(Response::success);
            match answer {
                Ok(answer) => {
                    let list: ConsumerList =
                        loose_json::from_slice(&answer.body).map_err(|error| {
                            ClientError::Answer {
                                what: format!("consumer list: {error}"),
                            }
                        })?;
                    return Ok(list.consumer_id_list);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::NoBroker {
            name: "any".to_owned(),
        }))
    }

    /// Whether all of `mine` are taken and all others released.
    async fn take_and_release(
        self: &Rc<Self>,
        instance: &Rc<Instance>,
        topic: &str,
        mine: &[MessageQueue],
    ) -> bool {
        let held: Vec<_> = self
            .assigned
            .borrow()
            .values()
            .filter(|held| held.queue.topic == topic)
            .cloned()
            .collect();
        let mut done = true;
        for held in held {
            if held.is_dropped() || !mine.contains(&held.queue) {
                done &= self.release(instance, &held).await;
            }
        }
        for queue in mine {
            let is_held = self.assigned.borrow().contains_key(queue);
            if is_held || self.is_stopping() {
                continue;
            }
            if let Err(error) = self.take(instance, queue).await {
                let (group, queue) = (&self.config.group, shown(queue));
                log_failure(&error, format_args!("{group}: {queue} is not taken yet"));
                done = false;
            }
        }
        done
    }

    /// Releases the queue to another member; not while an orderly listener is running, which the next owner would overtake.
    pub(super) async fn release(&self, instance: &Instance, held: &Rc<Assigned>) -> bool {
        held.drop_now();
        if held.is_consuming() {
            return false;
        }
        if let Err(error) = self.offsets.save(instance, &held.queue).await {
            let queue = shown(&held.queue);
            log_failure(&error, format_args!("the offset of {queue} is not saved"));
        }
        if self.locks_queues() {
            self.unlock(instance, vec![held.queue.clone()]).await;
        }
        self.offsets.forget(&held.queue);
        self.assigned.borrow_mut().remove(&held.queue);
        true
    }

    async fn take(
        self: &Rc<Self>,
        instance: &Rc<Instance>,
        queue: &MessageQueue,
    ) -> Result<(), ClientError> {
        let mut lock = Lock::None;
        if self.locks_queues() {
            let asked_at_ms = instance.elapsed_ms();
            let locked = self.lock(instance, vec![queue.clone()]).await?;
            if !locked.contains(queue) {
                return Err(ClientError::illegal("another member has it locked"));
            }
            lock = Lock::Since { asked_at_ms };
        }
        self.offsets.forget(queue);
        let begin_at = self.begin_at(instance, queue).await;
        if lock != Lock::None && (begin_at.is_err() || self.is_stopping()) {
            self.unlock(instance, vec![queue.clone()]).await;
        }
        let offset = begin_at?;
        if self.is_stopping() {
            return Ok(());
        }
        let assigned = Rc::new(Assigned::new(queue.clone(), offset, lock));
        self.assigned
            .borrow_mut()
            .insert(queue.clone(), Rc::clone(&assigned));
        tracing::debug!("{} takes {} at {offset}", self.config.group, shown(queue));
        if self.config.orderly {
            let consuming = Rc::clone(self).consume_in_order(Rc::clone(instance), assigned.clone());
            spawn_local(consuming);
        }
        spawn_local(Rc::clone(self).keep_pulling(Rc::clone(instance), assigned));
        Ok(())
    }

    /// `RebalancePushImpl.computePullFromWhereWithException`
    async fn begin_at(
        &self,
        instance: &Instance,
        queue: &MessageQueue,
    ) -> Result<i64, ClientError> {
        if let Some(offset) = self.offsets.saved(instance, queue).await? {
            return Ok(offset);
        }
        let is_retry = queue.topic == retry_topic(&self.config.group);
        match self.config.from {
            ConsumeFrom::First => Ok(0),
            ConsumeFrom::Last if is_retry => Ok(0),
            ConsumeFrom::Last => instance.max_offset(queue).await,
            ConsumeFrom::Time(_) if is_retry => instance.max_offset(queue).await,
            ConsumeFrom::Time(time) => {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                instance.offset_at(queue, since.as_millis() as i64).await
            }
        }
    }
}

/// Locks: only one member at a time consumes a queue.
impl Member {
    pub(super) async fn keep_locks(self: Rc<Self>, instance: Rc<Instance>) {
        while !self.is_stopping() {
            tokio::time::sleep(LOCK_INTERVAL.min(instance.config.rebalance_interval)).await;
            let held: Vec<_> = self.assigned.borrow().values().cloned().collect();
            for held in held {
                self.lock_again(&instance, &held).await;
            }
        }
    }

    /// Whether the queue is surely locked for us.
    pub(super) async fn lock_again(&self, instance: &Instance, held: &Assigned) -> bool {
        if held.is_dropped() || self.is_stopping() {
            return false;
        }
        let asked_at_ms = instance.elapsed_ms();
        match self.lock(instance, vec![held.queue.clone()]).await {
            Ok(locked) if locked.contains(&held.queue) => {
                held.set_lock(Lock::Since { asked_at_ms });
            }
            Ok(_) => held.set_lock(Lock::None),
            Err(error) => {
                let queue = shown(&held.queue);
                log_failure(&error, format_args!("{queue} is not locked"));
            }
        }
        held.is_locked(instance.elapsed_ms())
    }

    /// Of queues of one broker, those that are locked for us now.
    async fn lock(
        &self,
        instance: &Instance,
        queues: Vec<MessageQueue>,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let answer = self
            .ask_lock(instance, request::LOCK_BATCH_MQ, queues)
            .await?;
        let locked: LockedQueues =
            loose_json::from_slice(&answer.body).map_err(|error| ClientError::Answer {
                what: format!("locked queues: {error}"),
            })?;
        Ok(locked.queues)
    }

    pub(super) async fn unlock(&self, instance: &Instance, queues: Vec<MessageQueue>) {
        for queue in queues {
            let code = request::UNLOCK_BATCH_MQ;
            if let Err(error) = self.ask_lock(instance, code, vec![queue]).await {
                log_failure(&error, format_args!("a lock is left to expire"));
            }
        }
    }

    async fn ask_lock(
        &self,
        instance: &Instance,
        code: i32,
        queues: Vec<MessageQueue>,
    ) -> Result<Response, ClientError> {
        let Some(first) = queues.first() else {
            return Err(ClientError::illegal("no queue to lock"));
        };
        let addr = instance.addr_of(first).await?;
        let body = LockBatch {
            client_id: instance.client_id.clone(),
            consumer_group: self.config.group.clone(),
            mq_set: queues,
            only_this_broker: false,
        };
        let body = loose_json::to_vec(&body);
        instance
            .call(&addr, code, &[], &body, API_TIMEOUT)
            .await
            .and_then(Response::success)
    }
}
