//! Statistics by name and key (315), as the whole broker counts them.

use std::time::Duration;

use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::send::SendRequest;
use ringmq::wire::stats::BrokerStatsRequest;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::oracle::Queue;
use crate::requests::{self, Pull};

const STALL_MS: u64 = 40;

async fn view(client: &mut Client, stats_name: &str, stats_key: &str) -> Option<String> {
    let fields = BrokerStatsRequest {
        stats_name,
        stats_key,
    };
    let code = request::VIEW_BROKER_STATS_DATA;
    let reply = client.call(code, &fields.ext(), &[]).await.unwrap();
    reply
        .is_success()
        .then(|| String::from_utf8(reply.body.clone()).unwrap())
}

async fn send(client: &mut Client, topic: &str) {
    let fields = SendRequest {
        queue_id: 2,
        ..requests::send_to(topic, "")
    };
    let code = request::SEND_MESSAGE_V2;
    let reply = client.call(code, &fields.ext(), b"m").await.unwrap();
    assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
}

#[test]
fn latencies_of_sends_and_pulls_are_counted_by_queue() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        cluster.start().await;
        let mut client = cluster.client("client").await;
        requests::make_topic(&mut client, "T").await;
        assert_eq!(view(&mut client, "TOPIC_PUT_LATENCY", "2@T").await, None);
        let stall = Fault::Stall(Duration::from_millis(STALL_MS));
        let io = cluster.broker();
        io.inject(Rule::new(stall).of(Op::Write).on("/commitlog/"));
        send(&mut client, "T").await;
        io.heal();
        let text = view(&mut client, "TOPIC_PUT_LATENCY", "2@T").await;
        let text = text.expect("a send was acknowledged");
        let average: f64 = text
            .split_once(r#""avgpt":"#)
            .and_then(|(_, rest)| rest.split_once(',')?.0.parse().ok())
            .unwrap();
        assert!(average >= STALL_MS as f64, "{text}");
        assert_eq!(view(&mut client, "TOPIC_PUT_LATENCY", "1@T").await, None);
        let key = "2@T@g";
        assert_eq!(view(&mut client, "GROUP_GET_LATENCY", key).await, None);
        let queue = Queue {
            topic: "T".into(),
            id: 2,
        };
        let pull = Pull::of_all("g", &queue, 0);
        let reply = requests::pull(&mut client, &pull).await.unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
        assert!(view(&mut client, "GROUP_GET_LATENCY", key).await.is_some());
        cluster.stop().await;
    });
}
