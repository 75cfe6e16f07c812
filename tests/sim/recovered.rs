//! What a broker has after a restart, held against what its clients were promised.

use std::ops::Range;

use ringmq::io::Clock;
use ringmq::message::Record;
use ringmq::wire::codes::{request, response};
use ringmq::wire::query::{QueryMessage, ViewMessage};
use ringmq::wire::route::RouteRequest;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::oracle::{Copy, Queue, Stored, Told};
use crate::requests::{self, Pull, QUEUES};
use crate::sent::{Sent, TAGS, number_of};
use crate::workload::{CREATED, Shared, keeper};

const GROUP: &str = "readers";

/// Of each queue so many messages are looked up by their keys.
const LOOKED_UP: usize = 2;

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
    check_commits(cluster, shared, crashed_ns).await;
}

/// Also of a second shard.
pub async fn check_commits(cluster: &Cluster, shared: &Shared, crashed_ns: Option<u64>) {
    let mut client = cluster.client_of(shared.addr, "reader").await;
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
    keeper::check_kept(&mut client, shared).await.unwrap();
}

/// Reads every queue from its beginning to its end; all records.
pub async fn read_all(cluster: &Cluster, shared: &Shared) -> Stored {
    let mut client = cluster.client_of(shared.addr, "reader").await;
    read_all_of(&mut client, shared).await
}

/// The same of the broker that this client is connected to.
pub async fn read_all_of(client: &mut Client, shared: &Shared) -> Stored {
    let mut stored = Stored::new();
    let topics = shared.oracle.borrow().topics();
    for topic in topics {
        for id in 0..QUEUES {
            let queue = Queue {
                topic: topic.clone(),
                id,
            };
            read_queue(client, shared, &queue, &mut stored).await;
        }
    }
    stored
}

async fn read_queue(client: &mut Client, shared: &Shared, queue: &Queue, stored: &mut Stored) {
    let promised = shared.oracle.borrow().last_promised(queue);
    let (mut first, mut offset) = (0, 0);
    loop {
        let asked_ns = client.io.now().mono_ns;
        let pull = Pull::of_all(GROUP, queue, offset);
        let reply = requests::pull(client, &pull).await.unwrap();
        match reply.code {
            response::SUCCESS => {}
            // It has been overtaken by what goes.
            response::PULL_OFFSET_MOVED => {
                first = reply.number("nextBeginOffset") as u64;
                assert!(offset < first, "{queue:?} from {offset}: {reply:?}");
                let kept_from_ms = shared.kept_from_ms(client.io.now().unix_ms);
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
            let copies = stored.entry((queue.topic.clone(), number)).or_default();
            copies.push(Copy {
                reconsume_times: record.reconsume_times,
                store_timestamp_ms: record.store_timestamp_ms,
            });
            offset += 1;
        }
        assert_eq!(reply.number("nextBeginOffset") as u64, offset, "{reply:?}");
    }
    shared.oracle.borrow().looks_at(queue);
    assert!(
        promised.is_none_or(|promised| promised < offset),
        "lost: {queue:?} ends at {offset}, {promised:?} was promised"
    );
    let tag = TAGS[offset as usize % TAGS.len()];
    for expression in [tag, &format!("TAGS = '{tag}'")] {
        check_filter(client, shared, queue, first..offset, tag, expression).await;
    }
    let youngest = shared.oracle.borrow().youngest(queue, LOOKED_UP);
    for (offset, sent) in youngest {
        look_up(client, shared, queue, offset, &sent).await;
    }
}

/// A query for a message by its key or its id finds it.
async fn look_up(client: &mut Client, shared: &Shared, queue: &Queue, offset: u64, sent: &Sent) {
    let key = sent.key();
    let fields = QueryMessage {
        max_num: 64,
        begin_timestamp_ms: 0,
        key: &key,
        unique_key_query: None,
        topic: &queue.topic,
        end_timestamp_ms: i64::MAX,
        index_type: None,
    };
    let code = request::QUERY_MESSAGE;
    let reply = client.call(code, &fields.ext(), &[]).await.unwrap();
    let is_old = sent.born_ms < shared.kept_from_ms(client.io.now().unix_ms);
    if is_old || shared.is_index_rotten.get() {
        return;
    }
    let records = requests::records(&reply.body);
    let is_it =
        |record: &&Record<'_>| record.queue_id as i32 == queue.id && record.queue_offset == offset;
    let found = records.iter().find(is_it);
    let found = found.unwrap_or_else(|| {
        panic!(
            "{key} does not find the {offset}th of {queue:?}: {:?}",
            reply.remark
        )
    });
    assert_eq!(number_of(found), sent.number);
    let fields = ViewMessage {
        offset: found.physical_offset as i64,
        topic: Some(&queue.topic),
    };
    let code = request::VIEW_MESSAGE_BY_ID;
    let viewed = client.call(code, &fields.ext(), &[]).await.unwrap();
    assert_eq!(requests::records(&viewed.body), [*found], "{viewed:?}");
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
    let kept_from_ms = shared.kept_from_ms(client.io.now().unix_ms);
    let expected = shared
        .oracle
        .borrow()
        .tagged(queue, start..end.max(start), tag, kept_from_ms);
    let expected: Vec<u64> = expected
        .iter()
        .filter(|(offset, may_be_gone)| !may_be_gone || found.contains(offset))
        .map(|(offset, _)| *offset)
        .collect();
    assert_eq!(found, expected, "{expression} of {queue:?}");
}
