//! One queue's pulls, one at a time, as long as the queue is assigned to us and its messages are consumed as fast as they arrive.
//!
//! Source: `DefaultMQPushConsumerImpl.pullMessage`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::assigned::{Assigned, shown};
use super::member::Member;
use crate::client::ClientError;
use crate::client::instance::Instance;
use crate::client::outages::log_failure;
use crate::client::queue_requests::{Pull, PullStatus};
use crate::client::queues::PullResult;
use crate::wire::codes::response;

/// `PULL_TIME_DELAY_MILLS_WHEN_CACHE_FLOW_CONTROL`
const FLOW_CONTROL_PAUSE: Duration = Duration::from_millis(50);
/// `PULL_TIME_DELAY_MILLS_WHEN_BROKER_FLOW_CONTROL`
const BROKER_FLOW_CONTROL_PAUSE: Duration = Duration::from_millis(20);

impl Member {
    pub(super) async fn keep_pulling(
        self: Rc<Self>,
        instance: Rc<Instance>,
        assigned: Rc<Assigned>,
    ) {
        while !self.is_stopping() && !assigned.is_dropped() {
            if self.is_full(&assigned) {
                tokio::time::sleep(FLOW_CONTROL_PAUSE).await;
                continue;
            }
            if self.locks_queues() && !assigned.is_locked(instance.elapsed_ms()) {
                tokio::time::sleep(self.config.pull_retry).await;
                continue;
            }
            match self.pull(&instance, &assigned).await {
                Ok(pulled) => self.pulled(&instance, &assigned, pulled).await,
                Err(error) => self.failed(&instance, &assigned, error).await,
            }
        }
    }

    fn is_full(&self, assigned: &Assigned) -> bool {
        let process = assigned.process.borrow();
        process.count() > self.config.queue_messages_max
            || process.bytes() > self.config.queue_bytes_max
            || (!self.config.orderly && process.span() > self.config.queue_span_max)
    }

    async fn pull(
        &self,
        instance: &Instance,
        assigned: &Assigned,
    ) -> Result<PullResult, ClientError> {
        let queue = &assigned.queue;
        let subscription = &self.subscriptions[&queue.topic];
        let known = self.offsets.known(queue).filter(|offset| *offset > 0);
        let pull = Pull {
            group: &self.config.group,
            subscription: subscription.data(),
            offset: assigned.next_offset.get(),
            max_messages: self.config.pull_max,
            suspend: Some(self.config.suspend),
            commit_offset: known.filter(|_| !self.config.is_broadcast()),
            brings_subscription: false,
        };
        instance.pull(queue, subscription, &pull).await
    }

    async fn pulled(
        self: &Rc<Self>,
        instance: &Rc<Instance>,
        assigned: &Rc<Assigned>,
        pulled: PullResult,
    ) {
        if self.is_stopping() || assigned.is_dropped() {
            return;
        }
        if pulled.status == PullStatus::OffsetMoved {
            return self.moved(instance, assigned, pulled.next_offset).await;
        }
        assigned.next_offset.set(pulled.next_offset);
        let messages: Vec<_> = pulled.messages.into_iter().map(Arc::new).collect();
        if messages.is_empty() {
            self.skipped(assigned);
            return;
        }
        assigned.process.borrow_mut().put(messages.iter().cloned());
        if self.config.orderly {
            assigned.news.notify_one();
        } else {
            self.consume(instance, assigned, messages);
        }
    }

    /// The scanned messages were filtered out: the offset may follow, if no earlier message is being consumed.
    fn skipped(&self, assigned: &Assigned) {
        if assigned.process.borrow().is_empty() {
            self.offsets
                .update(&assigned.queue, assigned.next_offset.get(), true);
        }
    }

    /// The broker does not have the offset any more, or not yet: continues at the offset of its answer, after a rebalance.
    async fn moved(&self, instance: &Instance, assigned: &Rc<Assigned>, offset: i64) {
        tracing::warn!(
            "{}: offset {} of {} is not there; going on from {offset}",
            self.config.group,
            assigned.next_offset.get(),
            shown(&assigned.queue)
        );
        self.offsets.update(&assigned.queue, offset, false);
        self.release(instance, assigned).await;
        self.look_around();
    }

    async fn failed(&self, instance: &Rc<Instance>, assigned: &Assigned, error: ClientError) {
        let pause = match error.code() {
            Some(response::FLOW_CONTROL) => BROKER_FLOW_CONTROL_PAUSE,
            _ => self.config.pull_retry,
        };
        if self.is_stopping() {
            return;
        }
        let (group, queue) = (&self.config.group, shown(&assigned.queue));
        log_failure(&error, format_args!("{group}: pull of {queue}"));
        if let Some(response::SUBSCRIPTION_NOT_EXIST | response::SUBSCRIPTION_NOT_LATEST) =
            error.code()
        {
            instance.heartbeat().await;
        }
        tokio::time::sleep(pause).await;
    }
}
