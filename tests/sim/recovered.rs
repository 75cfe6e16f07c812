//! What a broker has after a restart, held against what its clients were promised.

use std::collections::BTreeSet;
use std::ops::Range;

use ringmq::io::Clock;
use ringmq::wire::codes::{request, response};
use ringmq::wire::route::RouteRequest;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::oracle::{Queue, Told};
use crate::requests::{self, Pull, QUEUES};
use crate::sent::TAGS;
use crate::workload::{CREATED, Shared};

const GROUP: &str = "readers";

/// Right after the broker said that it is ready, while nobody else asks it for anything.
pub async fn check_state(cluster: &Cluster, shared: &Shared, crashed_ns: Option<u64>) {
    let mut names = cluster.namesrv_client("reader").await;
    for topic in CREATED {
        let fields = RouteRequest {
            topic,
            accept_standard_json_only: true,
        };
        let reply = names
            .call(request::GET_ROUTEINFO_BY_TOPIC, &fields.ext(), &[])
            .await
            .unwrap();
        assert!(
            reply.is_success(),
            "no route to {topic} at once after a restart: {reply:?}"
        );
    }
    let mut client = cluster.client("reader").await;
    let committed = shared.oracle.borrow().committed_queues();
    for (group, queue) in committed {
        let offset = requests::query_offset(&mut client, &group, &queue)
            .await
            .unwrap();
        shared
            .oracle
            .borrow_mut()
            .recovered_commit(&group, &queue, offset, crashed_ns);
    }
}

/// Reads every queue from its beginning to its end; `(topic, number)` of all messages.
pub async fn read_all(cluster: &Cluster, shared: &Shared) -> BTreeSet<(String, u64)> {
    let mut client = cluster.client("reader").await;
    let mut stored = BTreeSet::new();
    let topics = shared.oracle.borrow().topics();
    for topic in topics {
        for id in 0..QUEUES {
            let queue = Queue {
                topic: topic.clone(),
                id,
            };
            read_queue(&mut client, shared, &queue, &mut stored).await;
        }
    }
    stored
}

async fn read_queue(
    client: &mut Client,
    shared: &Shared,
    queue: &Queue,
    stored: &mut BTreeSet<(String, u64)>,
) {
    let promised = shared.oracle.borrow().last_promised(queue);
    let (mut first, mut offset) = (0, 0);
    loop {
        let asked_ns = client.io.now().mono_ns;
        let pull = Pull {
            group: GROUP,
            queue,
            offset,
            expression: "*",
            hold_ms: 0,
        };
        let reply = requests::pull(client, &pull).await.unwrap();
        match reply.code {
            response::SUCCESS => {}
            // It has been overtaken by what goes.
            response::PULL_OFFSET_MOVED => {
                first = reply.number("nextBeginOffset") as u64;
                assert!(offset < first, "{queue:?} from {offset}: {reply:?}");
                let kept_from_ms = client.io.now().unix_ms - shared.reserved_ms as i64;
                let mut oracle = shared.oracle.borrow_mut();
                oracle.begins_at(queue, first, kept_from_ms);
                offset = first;
                continue;
            }
            response::PULL_NOT_FOUND | response::TOPIC_NOT_EXIST | response::INVALID_PARAMETER => {
                break;
            }
            _ => panic!("a pull of {queue:?} from {offset}: {reply:?}"),
        }
        let told = Told {
            asked_ns,
            told_ns: client.io.now().mono_ns,
        };
        let records = requests::records(&reply.body);
        assert!(!records.is_empty(), "found nothing: {reply:?}");
        for record in &records {
            let number = shared
                .oracle
                .borrow_mut()
                .delivered(queue, offset, record, told);
            stored.insert((queue.topic.clone(), number));
            offset += 1;
        }
        assert_eq!(reply.number("nextBeginOffset") as u64, offset, "{reply:?}");
    }
    assert!(
        promised.is_none_or(|promised| promised < offset),
        "lost: {queue:?} ends at {offset}, {promised:?} was promised"
    );
    let tag = TAGS[offset as usize % TAGS.len()];
    for expression in [tag, &format!("TAGS = '{tag}'")] {
        check_filter(client, shared, queue, first..offset, tag, expression).await;
    }
}

/// A consumer of one tag gets exactly the messages with it, whichever way it asks for them.
async fn check_filter(
    client: &mut Client,
    shared: &Shared,
    queue: &Queue,
    range: Range<u64>,
    tag: &str,
    expression: &str,
) {
    let Range { mut start, end } = range;
    let (mut found, mut offset) = (Vec::new(), start);
    while offset < end {
        let pull = Pull {
            group: GROUP,
            queue,
            offset,
            expression,
            hold_ms: 0,
        };
        let reply = requests::pull(client, &pull).await.unwrap();
        if reply.code == response::PULL_OFFSET_MOVED {
            offset = reply.number("nextBeginOffset") as u64;
            (start, found) = (offset, Vec::new());
            continue;
        }
        assert!(
            matches!(
                reply.code,
                response::SUCCESS | response::PULL_RETRY_IMMEDIATELY
            ),
            "a pull of {expression} in {queue:?} from {offset}: {reply:?}"
        );
        let records = requests::records(&reply.body);
        found.extend(records.iter().map(|record| record.queue_offset));
        let next = reply.number("nextBeginOffset") as u64;
        assert!(next > offset, "{reply:?}");
        offset = next;
    }
    found.retain(|offset| *offset < end);
    let expected = shared
        .oracle
        .borrow()
        .tagged(queue, start..end.max(start), tag);
    assert_eq!(found, expected, "{expression} of {queue:?}");
}
