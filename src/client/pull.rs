//! The pull consumer: the application chooses the queue, the moment and the position of each pull.
//!
//! Source: `DefaultMQPullConsumer`. It joins no group, so nothing is assigned to it; offsets are kept at the broker under its group's
//! name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ClientError;
use super::app::Client;
use super::pending::Pending;
use super::queue_requests::Pull;
use super::queues::PullResult;
use super::subscription::Subscription;
use crate::message::names::check_group;
use crate::wire::MessageQueue;

/// A pull consumer's rules; the defaults are RocketMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullConfig {
    pub group: String,
    pub subscription: Subscription,
    /// Messages of one pull at most.
    pub max_messages: u32,
    /// How long the broker may hold a pull that finds nothing; `None`: not at all.
    pub suspend: Option<Duration>,
}

impl PullConfig {
    pub fn new(group: impl Into<String>, subscription: Subscription) -> Self {
        Self {
            group: group.into(),
            subscription,
            max_messages: 32,
            suspend: Some(Duration::from_secs(20)),
        }
    }
}

/// Reads queues of one topic, each from a position that moves on with what was pulled. Clones share the positions.
///
/// ```no_run
/// use ringmq::client::{Client, ClientConfig, PullConfig, Subscription};
///
/// # fn example() -> Result<(), ringmq::client::ClientError> {
/// let client = Client::start(ClientConfig::new("127.0.0.1:9876"))?;
/// let reader = client.pull_consumer(PullConfig::new("audit", Subscription::all("Orders")))?;
/// for queue in reader.queues().wait()? {
///     let from = reader.committed(&queue).wait()?.unwrap_or(0);
///     reader.seek(&queue, from);
///     let pulled = reader.pull(&queue).wait()?;
///     println!("{} messages of {queue:?}", pulled.messages.len());
///     reader.commit(&queue, pulled.next_offset).wait()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PullConsumer {
    client: Client,
    config: Arc<PullConfig>,
    positions: Arc<Mutex<BTreeMap<MessageQueue, i64>>>,
}

impl Client {
    pub fn pull_consumer(&self, config: PullConfig) -> Result<PullConsumer, ClientError> {
        check_group(&config.group).map_err(ClientError::illegal)?;
        config.subscription.check()?;
        Ok(PullConsumer {
            client: self.clone(),
            config: Arc::new(config),
            positions: Arc::default(),
        })
    }
}

impl PullConsumer {
    /// The topic's queues, broker by broker.
    pub fn queues(&self) -> Pending<Vec<MessageQueue>> {
        let topic = self.config.subscription.topic().to_owned();
        self.client.call(|session| async move {
            let routed = session.instance.routes.route(&topic).await?;
            let routed = routed.unwrap_or_default();
            let queues = routed.to_pull.iter().map(|queue| queue.named(&topic));
            let mut queues: Vec<_> = queues.collect();
            queues.sort();
            match queues.is_empty() {
                true => Err(ClientError::NoQueue {
                    topic,
                    used: "pulled from",
                }),
                false => Ok(queues),
            }
        })
    }

    /// The next pull of `queue` begins at `offset`.
    pub fn seek(&self, queue: &MessageQueue, offset: i64) {
        self.positions().insert(queue.clone(), offset);
    }

    /// Where the next pull of `queue` begins.
    pub fn position(&self, queue: &MessageQueue) -> i64 {
        self.positions().get(queue).copied().unwrap_or(0)
    }

    /// Pulls from the position, at first the queue's start, and moves it to behind what was pulled.
    pub fn pull(&self, queue: &MessageQueue) -> Pending<PullResult> {
        let (consumer, queue) = (self.clone(), queue.clone());
        self.client.call(|session| async move {
            let (config, offset) = (Arc::clone(&consumer.config), consumer.position(&queue));
            let pull = Pull {
                group: &config.group,
                subscription: config.subscription.data(),
                offset,
                max_messages: config.max_messages,
                suspend: config.suspend,
                commit_offset: None,
                brings_subscription: true,
            };
            let instance = &session.instance;
            let pulled = instance.pull(&queue, &config.subscription, &pull).await?;
            // A seek in the meantime takes precedence.
            if consumer.position(&queue) == offset {
                consumer.seek(&queue, pulled.next_offset);
            }
            Ok(pulled)
        })
    }

    /// The group's offset; `None` if it has none.
    pub fn committed(&self, queue: &MessageQueue) -> Pending<Option<i64>> {
        let (config, queue) = (Arc::clone(&self.config), queue.clone());
        self.client
            .call(|session| async move { session.instance.committed(&config.group, &queue).await })
    }

    /// All messages before `offset` are consumed.
    pub fn commit(&self, queue: &MessageQueue, offset: i64) -> Pending<()> {
        let (config, queue) = (Arc::clone(&self.config), queue.clone());
        self.client.call(move |session| async move {
            let instance = &session.instance;
            instance.commit(&config.group, &queue, offset).await
        })
    }

    pub fn min_offset(&self, queue: &MessageQueue) -> Pending<i64> {
        let queue = queue.clone();
        self.client
            .call(|session| async move { session.instance.min_offset(&queue).await })
    }

    /// Behind the last message.
    pub fn max_offset(&self, queue: &MessageQueue) -> Pending<i64> {
        let queue = queue.clone();
        self.client
            .call(|session| async move { session.instance.max_offset(&queue).await })
    }

    /// Of the first message that was stored at `time` or later.
    pub fn offset_at(&self, queue: &MessageQueue, time: SystemTime) -> Pending<i64> {
        let queue = queue.clone();
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.client.call(move |session| async move {
            let since_ms = since.as_millis() as i64;
            session.instance.offset_at(&queue, since_ms).await
        })
    }

    fn positions(&self) -> std::sync::MutexGuard<'_, BTreeMap<MessageQueue, i64>> {
        // A panic elsewhere leaves the map whole.
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
