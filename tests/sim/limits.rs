//! What one client can make the broker do for it: each limit refuses at once, and nobody beside it waits.

use std::time::Duration;

use ringmq::message::batch::{self, BatchItem};
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::Codec;
use ringmq::wire::codes::{request, response};
use ringmq::wire::pop::{AckRequest, NotificationRequest, PollingInfoRequest, PopRequest};
use ringmq::wire::send::SendRequest;
use ringmq::wire::topic::CreateTopic;

use crate::client::Client;
use crate::cluster::{Cluster, MAX_MESSAGE_BYTES};
use crate::faults::{Producer, started};
use crate::requests;
use crate::workload::CREATED;

const MS: u64 = 1_000_000;
const TOPIC: &str = CREATED[0];
const GROUP: &str = "limits";

/// Its records are far larger than its body.
async fn send_tiny_messages(client: &mut Client, count: usize) -> i32 {
    let mut body = Vec::new();
    for _ in 0..count {
        let item = BatchItem {
            flag: 0,
            body: b"x",
            properties: b"",
        };
        batch::push(&mut body, &item);
    }
    assert!(body.len() <= MAX_MESSAGE_BYTES);
    let fields = SendRequest {
        batch: true,
        ..requests::send_to(TOPIC, "")
    };
    let fields = fields.ext();
    client.ask(request::SEND_BATCH_MESSAGE, &fields, &body)
}

#[test]
fn a_batch_that_is_too_large_for_the_log_is_refused_and_nobody_waits_behind_it() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 1).await;
        let mut bystander = Producer::new(&cluster, &shared, "bystander").await;
        let mut greedy = cluster.client("greedy").await;
        for _ in 0..4 {
            send_tiny_messages(&mut greedy, 1_400).await;
        }
        let asked_ns = cluster.sim.mono_ns();
        greedy.flush().await.unwrap();
        bystander.send_well(3).await;
        let took_ms = (bystander.told.told_ns - bystander.told.asked_ns) / MS;
        assert!(took_ms < 50, "a send waited {took_ms} ms");
        for _ in 0..4 {
            let reply = greedy.reply().await.unwrap();
            assert_eq!(reply.code, response::MESSAGE_ILLEGAL, "{reply:?}");
        }
        let took_ms = (cluster.sim.mono_ns() - asked_ns) / MS;
        assert!(took_ms < 200, "refused after {took_ms} ms");
        // One that fits is taken.
        send_tiny_messages(&mut greedy, 500).await;
        greedy.flush().await.unwrap();
        let reply = greedy.reply().await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
    });
}

#[test]
fn as_many_connections_as_may_be_and_no_more() {
    let cluster = Cluster::new(2, Flush::Sync);
    // One is the registration's.
    cluster.limits.set(|setup| setup.max_connections = 4);
    cluster.sim.run(async {
        let shared = started(&cluster, 2).await;
        cluster.sleep_ms(100).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Producer::new(&cluster, &shared, "client").await);
        }
        cluster.sleep_ms(100).await;
        let mut excess = cluster.client("excess").await;
        let refused = crate::requests::heartbeat(&mut excess, "excess").await;
        assert!(refused.is_err(), "one too many is closed");
        for client in &mut clients {
            client.send_well(1).await;
        }
        clients.pop();
        cluster.sleep_ms(100).await;
        let mut next = Producer::new(&cluster, &shared, "next").await;
        next.send_well(1).await;
    });
}

fn notification(born_ms: i64) -> NotificationRequest<'static> {
    NotificationRequest {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        poll_ms: 20_000,
        born_ms,
        order: false,
        attempt_id: None,
    }
}

#[test]
fn every_notification_that_waits_is_told_of_a_message() {
    let cluster = Cluster::new(3, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 3).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let mut consumer = json_client(&cluster, "consumer").await;
        let born_ms = ringmq::io::Clock::now(&consumer.io).unix_ms;
        for _ in 0..100 {
            consumer.ask(request::NOTIFICATION, &notification(born_ms).ext(), &[]);
        }
        consumer.flush().await.unwrap();
        cluster.sleep_ms(200).await;
        producer.send_well(1).await;
        consumer.patience = Duration::from_secs(1);
        for _ in 0..100 {
            let reply = consumer.reply().await.unwrap();
            assert_eq!(reply.text("hasMsg"), "true", "{reply:?}");
        }
    });
}

#[test]
fn a_closed_client_leaves_no_pop_waiting() {
    let cluster = Cluster::new(4, Flush::Sync);
    cluster.sim.run(async {
        started(&cluster, 4).await;
        let mut consumer = json_client(&cluster, "consumer").await;
        let pop = PopRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: 0,
            max_msg_nums: 1,
            invisible_ms: 60_000,
            poll_ms: i64::MAX / 2,
            born_ms: None,
            init_mode: 0,
            expression_type: None,
            expression: None,
            order: false,
            attempt_id: None,
        };
        for _ in 0..40 {
            consumer.ask(request::POP_MESSAGE, &pop.ext(), &[]);
        }
        consumer.flush().await.unwrap();
        cluster.sleep_ms(500).await;
        let mut other = json_client(&cluster, "other").await;
        assert_eq!(polling(&mut other).await, 40);
        drop(consumer);
        cluster.sleep_ms(500).await;
        assert_eq!(polling(&mut other).await, 0);
    });
}

/// More queues than one turn looks at: a message in any of them ends a pop and a notification that wait for all of them.
#[test]
fn a_message_in_one_of_very_many_queues_is_found() {
    let cluster = Cluster::new(6, Flush::Sync);
    cluster.sim.run(async {
        started(&cluster, 6).await;
        let mut admin = json_client(&cluster, "admin").await;
        let config = CreateTopic {
            topic: "Wide",
            default_topic: "TBW102",
            read_queue_nums: 700,
            write_queue_nums: 700,
            perm: 6,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: false,
            attributes: None,
            force: false,
        };
        let fields = config.ext();
        let made = admin.call(request::UPDATE_AND_CREATE_TOPIC, &fields, &[]);
        assert!(made.await.unwrap().is_success());
        for queue_id in [3, 699] {
            let mut consumer = json_client(&cluster, "consumer").await;
            let notification = NotificationRequest {
                consumer_group: "watchers",
                topic: "Wide",
                queue_id: -1,
                ..notification(ringmq::io::Clock::now(&consumer.io).unix_ms)
            };
            consumer.ask(request::NOTIFICATION, &notification.ext(), &[]);
            consumer.flush().await.unwrap();
            let mut popper = json_client(&cluster, "popper").await;
            let pop = PopRequest {
                consumer_group: GROUP,
                topic: "Wide",
                queue_id: -1,
                max_msg_nums: 1,
                invisible_ms: 60_000,
                poll_ms: 20_000,
                born_ms: None,
                init_mode: 0,
                expression_type: None,
                expression: None,
                order: false,
                attempt_id: None,
            };
            popper.ask(request::POP_MESSAGE, &pop.ext(), &[]);
            popper.flush().await.unwrap();
            cluster.sleep_ms(200).await;
            let send = SendRequest {
                queue_id,
                ..requests::send_to("Wide", "")
            };
            let sent = admin
                .call(request::SEND_MESSAGE_V2, &send.ext(), b"somewhere")
                .await;
            assert!(sent.unwrap().is_success());
            consumer.patience = Duration::from_secs(1);
            popper.patience = Duration::from_secs(1);
            assert_eq!(consumer.reply().await.unwrap().text("hasMsg"), "true");
            let popped = popper.reply().await.unwrap();
            assert!(popped.is_success(), "{popped:?}");
            let mut found = popped.body.windows(9);
            assert!(found.any(|part| part == b"somewhere"));
        }
    });
}

async fn polling(client: &mut Client) -> i64 {
    let fields = PollingInfoRequest {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
    };
    let fields = fields.ext();
    let reply = client.call(request::POLLING_INFO, &fields, &[]);
    reply.await.unwrap().number("pollingNum")
}

#[test]
fn nothing_is_written_for_who_asks_while_the_broker_stops() {
    let cluster = Cluster::new(5, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 5).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(1).await;
        let mut client = json_client(&cluster, "client").await;
        let slow = Rule::new(Fault::Stall(Duration::from_millis(900)));
        let slow = slow.of(Op::Write).on("commitlog").times(1);
        cluster.broker().inject(slow);
        let asked = producer.client.io.clone();
        let sent = {
            let born_ms = ringmq::io::Clock::now(&asked).unix_ms;
            producer.oracle().sends(TOPIC, 300, 0, born_ms)
        };
        crate::requests::send(&mut producer.client, &sent, 0);
        producer.client.flush().await.unwrap();
        cluster.sleep_ms(50).await;
        // The end waits for that write.
        cluster.stop_for(50 * MS).await;
        let ack = AckRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: 0,
            receipt: "0 0 0 0 0 broker 0 0",
            offset: 0,
        };
        for code in [
            request::ACK_MESSAGE,
            request::CHANGE_MESSAGE_INVISIBLETIME,
            request::CONSUMER_SEND_MSG_BACK,
            request::RECALL_MESSAGE,
            request::END_TRANSACTION,
        ] {
            let reply = client.call(code, &ack.ext(), &[]).await.unwrap();
            let is_refused = reply.code == response::SERVICE_NOT_AVAILABLE;
            assert!(is_refused, "{code}: {reply:?}");
        }
        cluster.stop().await;
    });
}

/// The other codec has no room for the codes of POP.
async fn json_client(cluster: &Cluster, host: &str) -> Client {
    let io = cluster.sim.host(host);
    let connected = Client::connect(&io, cluster.addr(), Codec::Json).await;
    connected.unwrap()
}
