//! Runs the listener and carries out its verdict.
//!
//! Source: `ConsumeMessageConcurrentlyService`, `ConsumeMessageOrderlyService`,
//! `DefaultMQPushConsumerImpl.sendMessageBack`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{spawn_blocking, spawn_local};

use super::assigned::Assigned;
use super::config::Verdict;
use super::member::{Member, Running};
use crate::client::instance::Instance;
use crate::client::producer_config::ProducerConfig;
use crate::client::received::Received;
use crate::client::sender::{Sender, Target};
use crate::client::{ClientError, Response};
use crate::message::names::retry_topic;
use crate::message::properties;
use crate::wire::codes::request;
use crate::wire::send_back::SendBack;

/// Before messages are consumed again that could not be sent back (`submitConsumeRequestLater`).
const SENT_BACK_PAUSE: Duration = Duration::from_secs(5);
/// Of a message that this client itself sends to the retry topic: level 3 for the first try, and so on.
const FIRST_DELAY_LEVEL: i32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);

type Batch = Vec<Arc<Received>>;

/// Concurrently, in any order.
impl Member {
    pub(super) fn consume(
        self: &Rc<Self>,
        instance: &Rc<Instance>,
        assigned: &Rc<Assigned>,
        messages: Batch,
    ) {
        for batch in messages.chunks(self.config.batch_max) {
            let member = Rc::clone(self);
            let (instance, assigned) = (Rc::clone(instance), Rc::clone(assigned));
            spawn_local(member.consume_batch(instance, assigned, batch.to_vec()));
        }
    }

    async fn consume_batch(
        self: Rc<Self>,
        instance: Rc<Instance>,
        assigned: Rc<Assigned>,
        mut batch: Batch,
    ) {
        while !batch.is_empty() {
            let Some(verdict) = self.listen(&assigned, &batch).await else {
                return;
            };
            let (verdict, running) = verdict;
            let done = match verdict {
                Verdict::Consumed => std::mem::take(&mut batch),
                Verdict::Leave => return,
                Verdict::Later => self.try_later(&instance, &assigned, &mut batch, 0).await,
                Verdict::LaterAtLevel(level) => {
                    self.try_later(&instance, &assigned, &mut batch, level)
                        .await
                }
            };
            // The offset of a dropped queue is its new owner's.
            if !assigned.is_dropped() && !done.is_empty() {
                let offsets = done.iter().map(|message| message.queue_offset);
                let offset = assigned.process.borrow_mut().remove(offsets);
                self.offsets.update(&assigned.queue, offset, true);
            }
            drop(running);
            if !batch.is_empty() {
                tokio::time::sleep(SENT_BACK_PAUSE).await;
            }
        }
    }

    /// The messages that are sent back; the others stay in `batch`, to be consumed again here.
    async fn try_later(
        &self,
        instance: &Rc<Instance>,
        assigned: &Assigned,
        batch: &mut Batch,
        level: i32,
    ) -> Batch {
        if self.config.is_broadcast() {
            for message in batch.iter() {
                tracing::warn!(
                    "{}: message {} is not consumed and, as broadcast, not tried again",
                    self.config.group,
                    message.message_id
                );
            }
            return std::mem::take(batch);
        }
        let mut done = Batch::new();
        let mut kept = Batch::new();
        for mut message in std::mem::take(batch) {
            // Another member gets it again anyway.
            if assigned.is_dropped() {
                break;
            }
            match self.send_back(instance, &message, level).await {
                Ok(()) => done.push(message),
                Err(error) => {
                    tracing::warn!("{} is not sent back: {error}", message.message_id);
                    Arc::make_mut(&mut message).reconsume_times += 1;
                    kept.push(message);
                }
            }
        }
        *batch = kept;
        done
    }
}

/// Orderly: the messages of one queue in order.
impl Member {
    pub(super) async fn consume_in_order(
        self: Rc<Self>,
        instance: Rc<Instance>,
        assigned: Rc<Assigned>,
    ) {
        while !self.is_stopping() && !assigned.is_dropped() {
            if self.locks_queues()
                && !assigned.is_locked(instance.elapsed_ms())
                && !self.lock_again(&instance, &assigned).await
            {
                tokio::time::sleep(LOCK_PAUSE).await;
                continue;
            }
            let batch = assigned.process.borrow_mut().take(self.config.batch_max);
            if batch.is_empty() {
                assigned.news.notified().await;
                continue;
            }
            assigned.begin();
            let goes_on = self.consume_next(&instance, &assigned, batch).await;
            assigned.end();
            if assigned.is_dropped() {
                // It can be released now.
                self.look_around();
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Whether to continue.
    async fn consume_next(
        self: &Rc<Self>,
        instance: &Rc<Instance>,
        assigned: &Rc<Assigned>,
        mut batch: Batch,
    ) -> bool {
        let Some((verdict, running)) = self.listen(assigned, &batch).await else {
            assigned.process.borrow_mut().put_back(batch);
            return false;
        };
        let is_done = match verdict {
            Verdict::Consumed => true,
            Verdict::Later | Verdict::LaterAtLevel(_) => self.give_up(instance, &mut batch).await,
            Verdict::Leave => {
                assigned.process.borrow_mut().put_back(batch);
                return false;
            }
        };
        if is_done {
            let offset = assigned.process.borrow_mut().commit();
            // An orderly queue is not released before this.
            if let Some(offset) = offset {
                self.offsets.update(&assigned.queue, offset, true);
            }
            return true;
        }
        assigned.process.borrow_mut().put_back(batch);
        drop(running);
        tokio::time::sleep(self.config.orderly_retry).await;
        true
    }

    /// Whether `batch` has used up its tries and is in the dead letter queue; otherwise counts one more try.
    async fn give_up(&self, instance: &Rc<Instance>, batch: &mut Batch) -> bool {
        let max = self.max_reconsume_times();
        let mut all_given_up = true;
        for message in batch.iter_mut() {
            if message.reconsume_times >= max && !self.config.is_broadcast() {
                match self.send_to_retry_topic(instance, message).await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!("{} is not given up: {error}", message.message_id),
                }
            } else {
                Arc::make_mut(message).reconsume_times += 1;
            }
            all_given_up = false;
        }
        all_given_up
    }
}

impl Member {
    /// Waits for a thread and runs the listener; `None` if the consumer is stopping.
    async fn listen(
        self: &Rc<Self>,
        assigned: &Assigned,
        batch: &Batch,
    ) -> Option<(Verdict, Running)> {
        let permit = Arc::clone(&self.threads).acquire_owned().await.ok()?;
        let running = self.begin(assigned)?;
        let (listener, messages) = (Arc::clone(&self.listener), batch.clone());
        let listening = spawn_blocking(move || {
            let verdict = catch_unwind(AssertUnwindSafe(|| listener(&messages)));
            drop(permit);
            verdict.unwrap_or(Verdict::Later)
        });
        let verdict = match tokio::time::timeout(self.config.consume_timeout, listening).await {
            Ok(verdict) => verdict.unwrap_or(Verdict::Leave),
            Err(_) if self.config.orderly => return self.hung(batch),
            Err(_) => Verdict::Later,
        };
        Some((verdict, running))
    }

    /// An orderly queue cannot continue past this message: it stops until the process restarts.
    fn hung<T>(&self, batch: &Batch) -> Option<T> {
        for message in batch {
            tracing::warn!(
                "{}: the listener does not return from message {}; its queue does not advance",
                self.config.group,
                message.message_id
            );
        }
        None
    }

    /// CONSUMER_SEND_MSG_BACK (36); where that fails, an ordinary message to the retry topic.
    async fn send_back(
        &self,
        instance: &Rc<Instance>,
        message: &Received,
        level: i32,
    ) -> Result<(), ClientError> {
        let header = SendBack {
            offset: message.physical_offset,
            group: &self.config.group,
            delay_level: level,
            origin_msg_id: Some(&message.message_id),
            origin_topic: Some(&message.topic),
            unit_mode: false,
            max_reconsume_times: Some(self.max_reconsume_times()),
        };
        let addr = instance.addr_of(&message.queue).await?;
        let code = request::CONSUMER_SEND_MSG_BACK;
        let sent = instance
            .call(&addr, code, &header.ext(), &[], SEND_BACK_TIMEOUT)
            .await
            .and_then(Response::success);
        match sent {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!("{} goes to the retry topic: {error}", message.message_id);
                self.send_to_retry_topic(instance, message).await
            }
        }
    }

    async fn send_to_retry_topic(
        &self,
        instance: &Rc<Instance>,
        message: &Received,
    ) -> Result<(), ClientError> {
        // The group of Java's own producer for this.
        let sender = Sender::new(ProducerConfig::new("CLIENT_INNER_PRODUCER"), None);
        let times = message.reconsume_times + 1;
        let max = self.max_reconsume_times();
        let origin = message
            .find(properties::ORIGIN_MESSAGE_ID)
            .unwrap_or(&message.message_id)
            .to_owned();
        let again = message
            .to_message(retry_topic(&self.config.group))
            .property(properties::RETRY_TOPIC, message.topic.clone())
            .property(properties::ORIGIN_MESSAGE_ID, origin)
            .property(properties::RECONSUME_TIME, times.to_string())
            .property(properties::MAX_RECONSUME_TIMES, max.to_string())
            .property(
                properties::DELAY,
                (FIRST_DELAY_LEVEL + message.reconsume_times).to_string(),
            );
        let mut outgoing = sender.outgoing(instance, vec![again], 0)?;
        outgoing.reconsume_times = times;
        outgoing.max_reconsume_times = Some(max);
        sender
            .transmit(instance, &outgoing, Target::InTurn)
            .await
            .map(drop)
    }
}
