//! Groups of one broker: a bounded number of them, of their topics and of their clients.

use std::time::Duration;

use futures_util::future::join_all;

use super::notes::Notes;
use super::remote::ask;
use crate::cli::doctor::groups::{Offsets, QueueFacts};
use crate::client::Remote;
use crate::message::names::is_retry_or_dlq;
use crate::wire::codes::request;
use crate::wire::consumer::{ConsumerGroup, ConsumerRunningInfo, RunningInfo};
use crate::wire::group::{AllSubscriptionGroupRequest, SubscriptionGroupTable};
use crate::wire::heartbeat::SubscriptionData;
use crate::wire::loose_json;
use crate::wire::route::TopicList;
use crate::wire::stats::{ConsumeStats, ConsumeStatsRequest, ConsumerConnection, GroupAndTopic};

/// Groups of a broker, topics of a group, and clients of a group that are asked.
const MAX_GROUPS: i32 = 96;
const MAX_TOPICS: usize = 32;
const MAX_CLIENTS: usize = 8;
/// Requests that a broker has at a time.
const AT_A_TIME: usize = 8;
/// No further group is begun after that.
const LONG_ENOUGH: Duration = Duration::from_millis(1_500);

/// A group, and those of its topics that are looked at.
pub struct Looked {
    group: String,
    topics: Vec<String>,
}

pub async fn look(remote: &Remote, broker: &str, notes: &Notes) -> Vec<Looked> {
    let began = tokio::time::Instant::now();
    let asked = AllSubscriptionGroupRequest {
        group_seq: Some(0),
        data_version: None,
        max_group_num: Some(MAX_GROUPS),
    };
    let Ok(answer) = ask(
        remote,
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        &asked.ext(),
    )
    .await
    else {
        notes.left_out(format!("groups of {broker}"));
        return Vec::new();
    };
    let table: SubscriptionGroupTable = loose_json::from_slice(&answer.body).unwrap_or_default();
    let known = table.subscription_group_table.len();
    let all = answer
        .number("totalGroupNum")
        .ok()
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(known);
    let names = table.subscription_group_table.into_keys();
    let names: Vec<String> = names.take(MAX_GROUPS as usize).collect();
    let mut looked = Vec::new();
    let mut begun = 0;
    for some in names.chunks(AT_A_TIME) {
        if began.elapsed() > LONG_ENOUGH {
            break;
        }
        begun += some.len();
        let some = some.iter().filter(|name| !is_internal(name));
        let some = join_all(some.map(|name| look_at(remote, broker, name, notes))).await;
        looked.extend(some.into_iter().flatten());
    }
    if begun < all {
        notes.left_out(format!("{} of {all} groups of {broker}", all - begun));
    }
    looked
}

/// A broker's own.
fn is_internal(group: &str) -> bool {
    ["CID_RMQ_SYS_", "CID_SYS_RMQ_"]
        .iter()
        .any(|prefix| group.starts_with(prefix))
}

async fn look_at(remote: &Remote, broker: &str, name: &str, notes: &Notes) -> Option<Looked> {
    members(remote, name, notes).await;
    let asked = GroupAndTopic {
        group: name,
        topic: None,
    };
    let topics = ask(remote, request::QUERY_TOPICS_BY_CONSUMER, &asked.ext())
        .await
        .ok()?;
    let topics: TopicList = loose_json::from_slice(&topics.body).ok()?;
    let mut topics = topics.topic_list;
    if topics.len() > MAX_TOPICS {
        notes.left_out(format!(
            "{} of {} topics of group {name}",
            topics.len() - MAX_TOPICS,
            topics.len()
        ));
        topics.truncate(MAX_TOPICS);
    }
    let looked = Looked {
        group: name.to_owned(),
        topics,
    };
    let stats = offsets(remote, &looked).await?;
    let mut seen = notes.write();
    let facts = seen.group(name);
    for (queue, at) in stats.offset_table {
        facts
            .queues
            .entry(queue.topic)
            .or_default()
            .push(QueueFacts {
                broker: broker.to_owned(),
                queue_id: queue.queue_id,
                first: Offsets {
                    stored: at.broker_offset,
                    consumed: at.consumer_offset,
                },
                second: None,
            });
    }
    Some(looked)
}

/// Fills in where the groups are now.
pub async fn look_again(remote: &Remote, broker: &str, groups: &[Looked], notes: &Notes) {
    for some in groups.chunks(AT_A_TIME) {
        let stats = join_all(some.iter().map(|looked| offsets(remote, looked))).await;
        let mut seen = notes.write();
        for (looked, stats) in some.iter().zip(stats) {
            let facts = seen.group(&looked.group);
            for (queue, at) in stats.into_iter().flat_map(|stats| stats.offset_table) {
                let known = facts.queues.get_mut(&queue.topic).into_iter().flatten();
                let same = |known: &&mut QueueFacts| {
                    known.broker == broker && known.queue_id == queue.queue_id
                };
                for known in known.filter(same) {
                    known.second = Some(Offsets {
                        stored: at.broker_offset,
                        consumed: at.consumer_offset,
                    });
                }
            }
        }
    }
}

async fn offsets(remote: &Remote, looked: &Looked) -> Option<ConsumeStats> {
    if looked.topics.is_empty() {
        return None;
    }
    let topics = looked.topics.join(";");
    let asked = ConsumeStatsRequest {
        consumer_group: &looked.group,
        topic: None,
        topic_list: Some(&topics),
    };
    let answer = ask(remote, request::GET_CONSUME_STATS, &asked.ext())
        .await
        .ok()?;
    loose_json::from_slice(&answer.body).ok()
}

/// Who is connected; and of several, what each has subscribed to, as the broker keeps only the newest.
async fn members(remote: &Remote, name: &str, notes: &Notes) {
    let asked = ConsumerGroup {
        consumer_group: name,
    };
    let answer = ask(remote, request::GET_CONSUMER_CONNECTION_LIST, &asked.ext()).await;
    let Ok(answer) = answer else { return };
    let Ok(connected) = loose_json::from_slice::<ConsumerConnection>(&answer.body) else {
        return;
    };
    let new: Vec<String> = {
        let mut seen = notes.write();
        let members = &mut seen.group(name).members;
        let ids = connected.connection_set.into_iter().map(|it| it.client_id);
        ids.filter(|id| members.insert(id.clone())).collect()
    };
    if new.len() < 2 {
        return;
    }
    if new.len() > MAX_CLIENTS {
        notes.left_out(format!(
            "subscriptions of {} of {} clients of group {name}",
            new.len() - MAX_CLIENTS,
            new.len()
        ));
    }
    let asked = new.iter().take(MAX_CLIENTS);
    join_all(asked.map(|client| subscriptions(remote, name, client, notes))).await;
}

async fn subscriptions(remote: &Remote, name: &str, client: &str, notes: &Notes) {
    let asked = ConsumerRunningInfo {
        consumer_group: name,
        client_id: client,
        jstack_enable: false,
    };
    // Clients that do not answer this are left out: they may be of any kind.
    let Ok(answer) = ask(remote, request::GET_CONSUMER_RUNNING_INFO, &asked.ext()).await else {
        return;
    };
    let Ok(info) = loose_json::from_slice::<RunningInfo>(&answer.body) else {
        return;
    };
    let wanted = info.subscription_set.into_iter();
    let wanted = wanted.filter(|data| !is_retry_or_dlq(&data.topic));
    let wanted = wanted.map(|data| (data.topic.clone(), expression(&data)));
    let mut seen = notes.write();
    let facts = seen.group(name);
    facts
        .subscriptions
        .insert(client.to_owned(), wanted.collect());
}

/// One text for one meaning: tags in order.
fn expression(data: &SubscriptionData) -> String {
    let text = data.sub_string.trim();
    if data.expression_type != "TAG" && !data.expression_type.is_empty() {
        return format!("{}: {text}", data.expression_type);
    }
    let mut tags: Vec<&str> = text.split("||").map(str::trim).collect();
    tags.retain(|tag| !tag.is_empty());
    tags.sort_unstable();
    tags.dedup();
    match tags.is_empty() || tags.contains(&"*") {
        true => "*".to_owned(),
        false => tags.join(" || "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_for_one_meaning() {
        let text = |kind: &str, text: &str| {
            expression(&SubscriptionData {
                expression_type: kind.into(),
                sub_string: text.into(),
                ..SubscriptionData::default()
            })
        };
        assert_eq!(text("TAG", "b||a || b"), "a || b");
        assert_eq!(text("", ""), "*");
        assert_eq!(text("TAG", "a || *"), "*");
        assert_eq!(text("SQL92", "a > 1"), "SQL92: a > 1");
    }
}
