//! A push consumer's configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::client::ClientError;
use crate::client::received::Received;
use crate::client::subscription::Subscription;
use crate::message::names::check_group;
use crate::wire::heartbeat::MessageModel;

/// What the listener made of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, for good.
    Consumed,
    /// To be tried again. Clustering: the broker delivers it later, to whichever member, and after `max_reconsume_times` puts it to
    /// the group's dead letters. Orderly: it is tried again here after a pause, before the messages behind it. Broadcasting: dropped.
    Later,
    /// As [`Later`](Self::Later), after this level of the broker's table of delays; negative: straight to the dead letters.
    LaterAtLevel(i32),
    /// Neither done nor tried again: this consumer is being shut down, and the next owner of the queue gets it.
    Leave,
}

/// Where a group begins in a queue of which nothing was saved for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeFrom {
    /// With messages that arrive from now on.
    Last,
    /// With the first message there is.
    First,
    /// With the first message stored then or later.
    Time(SystemTime),
}

/// A push consumer's rules; the defaults are RocketMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    pub group: String,
    pub subscriptions: Vec<Subscription>,
    /// Each message to one member of the group, or to all.
    pub model: MessageModel,
    /// The messages of a queue one after the other, in the order in which they were sent.
    pub orderly: bool,
    pub from: ConsumeFrom,
    /// Threads that the listener runs on at most (`consumeThreadMax`).
    pub consume_threads: usize,
    /// Messages that the listener gets at once at most (`consumeMessageBatchMaxSize`).
    pub batch_max: usize,
    /// Messages of one pull at most (`pullBatchSize`).
    pub pull_max: u32,
    /// Tries after which a message goes to the dead letters; `None`: 16, or without end if orderly.
    pub max_reconsume_times: Option<i32>,
    /// A queue with more messages than this in consumption is not pulled (`pullThresholdForQueue`)
    pub queue_messages_max: usize,
    /// ... or with more bytes of them (`pullThresholdSizeForQueue`)
    pub queue_bytes_max: usize,
    /// ... or with a greater distance from the first to the last of them (`consumeConcurrentlyMaxSpan`).
    pub queue_span_max: i64,
    /// How long the broker may hold a pull (`brokerSuspendMaxTimeMillis`).
    pub suspend: Duration,
    /// Pause after a pull that failed (`pullTimeDelayMillsWhenException`).
    pub pull_retry: Duration,
    /// Pause before an orderly message is tried again (`suspendCurrentQueueTimeMillis`).
    pub orderly_retry: Duration,
    /// A listener that takes longer is given up: its messages are tried again (`consumeTimeout`).
    pub consume_timeout: Duration,
    /// How long a shutdown waits for listeners to return.
    pub shutdown_timeout: Duration,
    /// Where a broadcast consumer keeps its offsets [default: `~/.rocketmq_offsets`]. It finds them again under the same
    /// [`instance_name`](crate::client::ClientConfig::instance_name).
    pub offsets_dir: PathBuf,
}

impl PushConfig {
    pub fn new(group: impl Into<String>, subscriptions: Vec<Subscription>) -> Self {
        let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        Self {
            group: group.into(),
            subscriptions,
            model: MessageModel::Clustering,
            orderly: false,
            from: ConsumeFrom::Last,
            consume_threads: 20,
            batch_max: 1,
            pull_max: 32,
            max_reconsume_times: None,
            queue_messages_max: 1000,
            queue_bytes_max: 100 << 20,
            queue_span_max: 2000,
            suspend: Duration::from_secs(15),
            pull_retry: Duration::from_secs(3),
            orderly_retry: Duration::from_secs(1),
            consume_timeout: Duration::from_secs(15 * 60),
            shutdown_timeout: Duration::from_secs(30),
            offsets_dir: home.join(".rocketmq_offsets"),
        }
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        check_group(&self.group).map_err(ClientError::illegal)?;
        if self.subscriptions.is_empty() {
            return Err(ClientError::illegal("a consumer subscribes to a topic"));
        }
        for subscription in &self.subscriptions {
            subscription.check()?;
        }
        for (name, number) in [
            ("consume_threads", self.consume_threads),
            ("batch_max", self.batch_max),
            ("pull_max", self.pull_max as usize),
        ] {
            if number == 0 {
                return Err(ClientError::illegal(format!("{name} is 0, the least is 1")));
            }
        }
        Ok(())
    }

    pub(super) fn is_broadcast(&self) -> bool {
        self.model == MessageModel::Broadcasting
    }
}

pub(super) type Listener = Arc<dyn Fn(&[Arc<Received>]) -> Verdict + Send + Sync>;
