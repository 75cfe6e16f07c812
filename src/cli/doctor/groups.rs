//! Groups of consumers: what their members subscribe to, and what waits for them in the queues.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Fault, Finding};

/// A group, put together from all brokers.
#[derive(Clone, Debug, Default)]
pub struct GroupFacts {
    pub group: String,
    /// Ids of the clients that are connected.
    pub members: BTreeSet<String>,
    /// What each of those asked has subscribed to: expression by topic.
    pub subscriptions: BTreeMap<String, BTreeMap<String, String>>,
    /// By topic.
    pub queues: BTreeMap<String, Vec<QueueFacts>>,
}

#[derive(Clone, Debug, Default)]
pub struct QueueFacts {
    pub broker: String,
    pub queue_id: i32,
    pub first: Offsets,
    /// Some seconds later.
    pub second: Option<Offsets>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub stored: i64,
    pub consumed: i64,
}

impl Offsets {
    fn waiting(self) -> i64 {
        self.stored.saturating_sub(self.consumed).max(0)
    }
}

impl QueueFacts {
    fn latest(&self) -> Offsets {
        self.second.unwrap_or(self.first)
    }

    fn waiting(&self) -> i64 {
        self.latest().waiting()
    }

    /// Something waits, and nothing was consumed between the samples.
    fn stands(&self) -> bool {
        self.waiting() > 0
            && self
                .second
                .is_some_and(|it| it.consumed <= self.first.consumed)
    }
}

/// Fewer messages are consumed within seconds, whatever the reason that they wait.
const MANY: i64 = 1_000;

/// So many times what the other queues have on average.
const SKEW: i64 = 4;

pub fn findings(group: &GroupFacts) -> Vec<Finding> {
    let waiting = group.queues.iter();
    let waiting = waiting.filter_map(|(topic, queues)| backlog(group, topic, queues));
    subscriptions(group).into_iter().chain(waiting).collect()
}

fn subscriptions(group: &GroupFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let topics: BTreeSet<&String> = group
        .subscriptions
        .values()
        .flat_map(BTreeMap::keys)
        .collect();
    for topic in topics {
        let mut clients: BTreeMap<Option<&String>, Vec<&str>> = BTreeMap::new();
        for (client, subscribed) in &group.subscriptions {
            clients
                .entry(subscribed.get(topic))
                .or_default()
                .push(client);
        }
        if clients.len() < 2 {
            continue;
        }
        let sides = clients.iter().map(|(expression, clients)| {
            let expression = expression.map_or("nothing", |expression| expression);
            match clients.len() {
                1 => format!("{expression:?} by {}", clients[0]),
                many => format!("{expression:?} by {} and {} more", clients[0], many - 1),
            }
        });
        let sides: Vec<_> = sides.take(3).collect();
        found.push(Finding::new(
            Fault::Subscriptions,
            format!("group {}, topic {topic}", group.group),
            sides.join("; "),
            "subscribe to the same topics with the same expressions in all members, or give each kind a group of its own",
        ));
    }
    found
}

fn backlog(group: &GroupFacts, topic: &str, queues: &[QueueFacts]) -> Option<Finding> {
    let waiting = sum(queues.iter().map(QueueFacts::waiting));
    if waiting < MANY {
        return None;
    }
    let subject = format!("group {}, topic {topic}", group.group);
    if group.members.is_empty() {
        let todo = format!(
            "start its consumers; if the group is not used any more: mqadmin deleteSubGroup -c CLUSTER -g {} -r true",
            group.group
        );
        let seen = format!("{waiting} messages wait");
        return Some(Finding::new(Fault::NoConsumers, subject, seen, todo));
    }
    let (largest, share) = outlier(queues, QueueFacts::waiting)?;
    if share {
        let queue = &queues[largest];
        let place = format!("queue {} of {}", queue.queue_id, queue.broker);
        let is_hot = outlier(queues, |queue| queue.latest().stored)
            .is_some_and(|(hot, is_hot)| is_hot && hot == largest);
        let seen = format!(
            "{place} has {} of the {waiting} messages that wait",
            queue.waiting()
        );
        return Some(match is_hot {
            true => Finding::new(
                Fault::SkewedQueue,
                subject,
                format!(
                    "{seen}, and {} of all {} that came",
                    queue.latest().stored,
                    stored(queues)
                ),
                "spread the keys that producers choose the queue by (MessageQueueSelector, sharding key): one key has most of the messages",
            ),
            false => Finding::new(
                Fault::QueueStands,
                subject,
                match queue.stands() {
                    true => format!("{seen}, and its offset does not move"),
                    false => seen,
                },
                format!(
                    "mqadmin consumerProgress -g {} shows the client that has the queue; restart that client, or look at what its listener waits \
                     for (mqadmin consumerStatus -g {} -s); mqadmin skipAccumulatedMessage gives the messages up",
                    group.group, group.group
                ),
            ),
        });
    }
    Some(behind(group, subject, queues, waiting))
}

fn behind(group: &GroupFacts, subject: String, queues: &[QueueFacts], waiting: i64) -> Finding {
    let grown = |queue: &QueueFacts| queue.waiting().saturating_sub(queue.first.waiting());
    let consumed = |queue: &QueueFacts| {
        let before = queue.first.consumed;
        queue.latest().consumed.saturating_sub(before)
    };
    let grown = sum(queues.iter().map(grown));
    let consumed = sum(queues.iter().map(consumed));
    let trend = match (consumed, grown) {
        (0, _) => "nothing was consumed while doctor looked".to_owned(),
        (_, grown) if grown > 0 => format!("{grown} more while doctor looked"),
        (_, grown) => format!("{} fewer while doctor looked", grown.unsigned_abs()),
    };
    Finding::new(
        Fault::ConsumersBehind,
        subject,
        format!(
            "{waiting} messages wait in {} queues, {trend}; {} clients are connected",
            queues.len(),
            group.members.len()
        ),
        "add consumers (up to one for each queue) or threads (consumeThreadMax), or make the listener faster; mqadmin consumerStatus -s \
         shows what it waits for",
    )
}

fn stored(queues: &[QueueFacts]) -> i64 {
    sum(queues.iter().map(|queue| queue.latest().stored))
}

/// Brokers send any numbers.
fn sum(numbers: impl Iterator<Item = i64>) -> i64 {
    numbers.fold(0, i64::saturating_add)
}

/// The queue with the most, and whether that is far more than the others have.
fn outlier(queues: &[QueueFacts], count: impl Fn(&QueueFacts) -> i64) -> Option<(usize, bool)> {
    let counts = || queues.iter().map(&count);
    let (largest, most) = counts().enumerate().max_by_key(|(_, count)| *count)?;
    let others = (queues.len() as i64 - 1).max(1);
    let mean = sum(counts()).saturating_sub(most) / others;
    Some((
        largest,
        queues.len() > 1 && most >= MANY && most >= SKEW.saturating_mul(mean.max(1)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32, stored: i64, consumed: [i64; 2]) -> QueueFacts {
        let at = |consumed| Offsets { stored, consumed };
        QueueFacts {
            broker: "broker-a".into(),
            queue_id,
            first: at(consumed[0]),
            second: Some(at(consumed[1])),
        }
    }

    fn group(members: &[&str], queues: Vec<QueueFacts>) -> GroupFacts {
        GroupFacts {
            group: "g".into(),
            members: members.iter().map(|id| (*id).to_owned()).collect(),
            queues: [("T".to_owned(), queues)].into(),
            ..GroupFacts::default()
        }
    }

    fn faults(group: &GroupFacts) -> Vec<Fault> {
        findings(group).iter().map(|found| found.fault).collect()
    }

    #[test]
    fn who_is_away_and_who_is_slow() {
        let even = || (0..4).map(|id| queue(id, 1_000, [0, 10])).collect();
        assert_eq!(faults(&group(&[], even())), [Fault::NoConsumers]);
        assert_eq!(faults(&group(&["c"], even())), [Fault::ConsumersBehind]);
        let few = (0..4).map(|id| queue(id, 1_000, [900, 900])).collect();
        assert_eq!(faults(&group(&[], few)), [], "400 messages");
    }

    #[test]
    fn a_queue_that_stands_among_others_that_go_on() {
        let mut queues: Vec<_> = (0..4).map(|id| queue(id, 2_000, [1_900, 2_000])).collect();
        queues[2] = queue(2, 2_000, [100, 100]);
        let found = findings(&group(&["c"], queues));
        assert_eq!(found[0].fault, Fault::QueueStands);
        let seen = &found[0].seen;
        assert!(
            seen.contains("queue 2 of broker-a has 1900") && seen.contains("does not move"),
            "{seen}"
        );
    }

    #[test]
    fn a_queue_that_gets_most_of_the_messages() {
        let mut queues: Vec<_> = (0..4).map(|id| queue(id, 100, [100, 100])).collect();
        queues[1] = queue(1, 9_000, [1_000, 1_200]);
        let found = findings(&group(&["c", "d"], queues));
        assert_eq!(found[0].fault, Fault::SkewedQueue);
        assert!(
            found[0].seen.contains("9000 of all 9300"),
            "{}",
            found[0].seen
        );
        let single = vec![queue(0, 9_000, [0, 10])];
        assert_eq!(
            faults(&group(&["c"], single)),
            [Fault::ConsumersBehind],
            "it is the only one"
        );
    }

    #[test]
    fn members_that_want_different_things() {
        let with = |subscriptions: &[(&str, &[(&str, &str)])]| {
            let all = subscriptions.iter().map(|(client, topics)| {
                let topics = topics.iter();
                let topics = topics.map(|(topic, text)| ((*topic).into(), (*text).into()));
                ((*client).to_owned(), topics.collect())
            });
            let subscriptions = all.collect();
            findings(&GroupFacts {
                subscriptions,
                ..group(&["c", "d"], vec![])
            })
        };
        assert_eq!(with(&[("c", &[("T", "*")]), ("d", &[("T", "*")])]), []);
        assert_eq!(
            with(&[("c", &[("T", "*")])]),
            [],
            "the other did not answer"
        );
        let differ = with(&[("c", &[("T", "a")]), ("d", &[("T", "b")])]);
        assert_eq!(differ[0].fault, Fault::Subscriptions);
        assert_eq!(differ[0].seen, "\"a\" by c; \"b\" by d");
        let lacks = with(&[("c", &[("T", "*"), ("U", "*")]), ("d", &[("T", "*")])]);
        assert_eq!(lacks.len(), 1);
        assert!(lacks[0].subject.ends_with("topic U"));
    }
}
