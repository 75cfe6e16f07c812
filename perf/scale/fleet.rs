//! Many clients of one process, each on a connection of its own, as real consumers behave: heartbeats, a pull that stays parked,
//! a commit after each pull.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmq::wire::codes::{request, response};
use ringmq::wire::heartbeat::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use ringmq::wire::loose_json;
use ringmq::wire::offset::UpdateConsumerOffset;
use ringmq::wire::pull::{PullRequest, pull_sys_flag};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::caller::Result;
use crate::connection::{Reader, Writer, connect};
use crate::names::{client_id, group, topic};
use crate::settings::Settings;

/// As RocketMQ's clients do by default.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
const PULL_SUSPENDED_MS: i64 = 15_000;

/// With messages, without any, after skipped ones, and below the first message of the queue.
const PULL_ANSWERS: [i32; 4] = [
    response::SUCCESS,
    response::PULL_NOT_FOUND,
    response::PULL_RETRY_IMMEDIATELY,
    response::PULL_OFFSET_MOVED,
];

/// Numbers of requests.
const HEARTBEAT: i32 = 1;
const PULL: i32 = 2;

#[derive(Default)]
struct Counts {
    heartbeats: Cell<u64>,
    pulls: Cell<u64>,
}

/// A client that produces and consumes in the group, with these subscriptions.
pub fn heartbeat(client_id: &str, group: &str, topics: &[String]) -> Vec<u8> {
    let subscription = |topic: &String| SubscriptionData {
        topic: topic.clone(),
        sub_version: 1,
        ..SubscriptionData::default()
    };
    loose_json::to_vec(&HeartbeatData {
        client_id: client_id.into(),
        producer_data_set: vec![ProducerData {
            group_name: format!("{group}-producers"),
        }],
        consumer_data_set: vec![ConsumerData {
            group_name: group.into(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    })
}

/// A pull of all messages that stays parked for so long.
pub fn parked_pull<'a>(
    group: &'a str,
    topic: &'a str,
    queue_id: i32,
    offset: i64,
    suspend_ms: i64,
) -> PullRequest<'a> {
    PullRequest {
        consumer_group: group,
        topic,
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: pull_sys_flag::SUBSCRIPTION | pull_sys_flag::SUSPEND,
        commit_offset: 0,
        suspend_timeout_ms: suspend_ms,
        subscription: Some("*"),
        sub_version: 1,
        expression_type: Some("TAG"),
        max_msg_bytes: None,
        request_source: None,
    }
}

/// Runs the clients for so long; what they did. All are connected before the time begins to count.
pub async fn run(broker: SocketAddr, settings: &Settings, time: Duration) -> Result<String> {
    let counts = Rc::new(Counts::default());
    let clients = LocalSet::new();
    let mut tasks = Vec::new();
    for number in 0..settings.clients {
        let client = Client {
            number,
            topic: topic(number % settings.topics),
            queue_id: (number / settings.topics % settings.queues) as i32,
            counts: counts.clone(),
        };
        let (writer, reader) = clients.run_until(connect(broker)).await?;
        tasks.push(clients.spawn_local(client.run(writer, reader)));
    }
    clients.run_until(sleep(time)).await;
    for task in tasks {
        if task.is_finished() {
            clients.run_until(task).await??;
        }
    }
    Ok(format!(
        "{} clients, {} heartbeats, {} pulls",
        settings.clients,
        counts.heartbeats.get(),
        counts.pulls.get()
    ))
}

struct Client {
    number: usize,
    topic: String,
    queue_id: i32,
    counts: Rc<Counts>,
}

impl Client {
    /// Ends only with an error.
    async fn run(self, mut writer: Writer, mut reader: Reader) -> Result<()> {
        let group = group(self.number);
        let heartbeat = heartbeat(
            &client_id(self.number),
            &group,
            std::slice::from_ref(&self.topic),
        );
        let mut offset = 0;
        writer.ask(HEARTBEAT, request::HEART_BEAT, &[], &heartbeat);
        self.pull(&mut writer, &group, offset);
        let mut next_heartbeat = Instant::now() + HEARTBEAT_EVERY;
        loop {
            writer.flush().await?;
            let Ok(answer) = timeout_at(next_heartbeat, reader.answer()).await else {
                next_heartbeat += HEARTBEAT_EVERY;
                writer.ask(HEARTBEAT, request::HEART_BEAT, &[], &heartbeat);
                continue;
            };
            let answer = answer?;
            if answer.opaque == HEARTBEAT {
                self.counts.heartbeats.update(|count| count + 1);
                continue;
            }
            if !PULL_ANSWERS.contains(&answer.code) {
                return Err(format!("a pull was answered with {}", answer.code).into());
            }
            self.counts.pulls.update(|count| count + 1);
            offset = answer.next_offset.unwrap_or(offset);
            let commit = UpdateConsumerOffset {
                consumer_group: &group,
                topic: &self.topic,
                queue_id: self.queue_id,
                commit_offset: offset,
            };
            writer.tell(request::UPDATE_CONSUMER_OFFSET, &commit.ext());
            self.pull(&mut writer, &group, offset);
        }
    }

    fn pull(&self, writer: &mut Writer, group: &str, offset: i64) {
        let pull = parked_pull(group, &self.topic, self.queue_id, offset, PULL_SUSPENDED_MS);
        writer.ask(PULL, request::PULL_MESSAGE, &pull.ext(), &[]);
    }
}
