//! Faults of a running cluster: routes, replicas, groups and queues. The broker is found by its store, or by a name server.

use std::net::TcpListener;
use std::process::Command;

use super::{ERROR, WARNING, doctor_at, doctor_of, names, names_nothing};
use crate::common::client::{Client, send_to};
use crate::common::{Broker, Options, SMALL, free_ports, wait_until};
use ringmq::client::{
    Client as AppClient, ClientConfig, PushConfig, PushConsumer, Subscription, Verdict,
};
use ringmq::wire::codes::request;
use ringmq::wire::offset::UpdateConsumerOffset;

fn start(folder: &tempfile::TempDir, config: &str) -> Broker {
    let config = format!("{SMALL}{config}");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    Broker::start(&folder.path().join("store"), &options)
}

/// So many messages in each queue of the topic, and where the group is in each.
fn fill(broker: &Broker, topic: &str, queues: [(usize, i64); 4]) -> Client {
    let mut client = Client::connect(broker.addr());
    client
        .ask(
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            &[],
            br#"{"groupName":"g"}"#,
        )
        .ok();
    for (queue_id, (count, consumed)) in queues.into_iter().enumerate() {
        let queue_id = queue_id as i32;
        client.send(&send_to(topic, queue_id), b"first").ok();
        let mut left = count - 1;
        while left > 0 {
            let batch = left.min(500);
            let bodies = vec![&b"x"[..]; batch];
            client
                .send_batch(&send_to(topic, queue_id), &bodies, "")
                .ok();
            left -= batch;
        }
        let offset = UpdateConsumerOffset {
            consumer_group: "g",
            topic,
            queue_id,
            commit_offset: consumed,
        };
        client
            .ask(request::UPDATE_CONSUMER_OFFSET, &offset.ext(), &[])
            .ok();
    }
    client
}

#[test]
fn a_cluster_without_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    let mut client = fill(&broker, "T", [(50, 50), (50, 49), (50, 50), (50, 50)]);
    client.heartbeat("c", "g", &["T"]).ok();
    let diagnosis = names_nothing(|| doctor_of(&broker.store));
    let looked_at = diagnosis.json["lookedAt"].to_string();
    assert!(
        looked_at.contains("name servers 1, brokers 1"),
        "found by its store: {looked_at}"
    );
    names_nothing(|| doctor_at(&broker.namesrv.to_string()));
    // Nothing of the look is left, and the broker goes on.
    let names = std::fs::read_dir(&broker.store).expect("its store");
    let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("doctor")),
        "{names:?}"
    );
    client.send(&send_to("T", 0), b"x").ok();
    assert!(broker.terminate().success());
}

#[test]
fn messages_that_wait_for_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    let mut client = fill(&broker, "T", [(400, 1), (400, 1), (400, 1), (400, 1)]);
    client.heartbeat("c", "g", &["T"]).ok();
    drop(client);
    let words = ["group g, topic T", "1596 messages wait"];
    names("no-consumers", &words, WARNING, || doctor_of(&broker.store));
}

#[test]
fn a_queue_that_its_consumer_does_not_consume() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    let mut client = fill(
        &broker,
        "T",
        [(1_500, 1_500), (1_500, 1_500), (1_500, 20), (1_500, 1_500)],
    );
    client.heartbeat("c", "g", &["T"]).ok();
    let words = [
        "group g, topic T",
        "queue 2 of",
        "has 1480",
        "does not move",
    ];
    names("unconsumed-queue", &words, WARNING, || {
        doctor_of(&broker.store)
    });
}

#[test]
fn a_queue_that_gets_most_of_the_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    let mut client = fill(&broker, "T", [(20, 20), (3_000, 100), (20, 20), (20, 20)]);
    client.heartbeat("c", "g", &["T"]).ok();
    let words = ["queue 1 of", "3000 of all 3060"];
    names("skewed-queue", &words, WARNING, || doctor_of(&broker.store));
}

fn consumer(broker: &Broker, tags: &str) -> (AppClient, PushConsumer) {
    let client = AppClient::start(ClientConfig::new(broker.namesrv.to_string())).expect("a client");
    let config = PushConfig::new("g", vec![Subscription::tags("T", tags)]);
    let consumer = client.push_consumer(config, |_| Verdict::Consumed);
    let consumer = consumer.wait().expect("a consumer");
    (client, consumer)
}

#[test]
fn members_of_a_group_that_subscribe_to_different_things() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    Client::connect(broker.addr())
        .send(&send_to("T", 0), b"x")
        .ok();
    wait_until("the topic has a route", || {
        Client::connect(broker.namesrv).route("T").is_some()
    });
    let _first = consumer(&broker, "paid || created");
    let same = consumer(&broker, "created||paid");
    names_nothing(|| doctor_of(&broker.store));
    drop(same);
    let _other = consumer(&broker, "refunded");
    let words = ["group g, topic T", "created || paid", "refunded"];
    names("inconsistent-subscriptions", &words, ERROR, || {
        doctor_of(&broker.store)
    });
}

#[test]
fn a_route_to_a_broker_that_does_not_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "brokerName=alive\n");
    let namesrv = broker.namesrv.to_string();
    let other = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}brokerName=stopped\n");
    let options = Options {
        config: &config,
        joins_namesrv: true,
        ports: Some((free_ports().0, broker.namesrv.port())),
        ..Options::default()
    };
    let stopped = Broker::start(&other.path().join("store"), &options);
    names_nothing(|| doctor_at(&namesrv));
    // It keeps its connections, and answers nothing.
    stopped.signal("STOP");
    let words = ["stopped, 127.0.0.1", "did not answer"];
    names("route-to-nowhere", &words, ERROR, || doctor_at(&namesrv));
    stopped.signal("CONT");
}

#[test]
fn a_name_server_that_is_away_and_one_that_answers_nothing() {
    let away = format!("127.0.0.1:{}", free_ports().0);
    names("name-server-away", &[&away, "refused"], ERROR, || {
        doctor_at(&away)
    });
    // Connections are accepted by the kernel, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    names("name-server-away", &[&silent], ERROR, || doctor_at(&silent));
}

#[test]
fn a_master_whose_slave_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "brokerRole=SYNC_MASTER\ninSyncReplicas=2\n");
    let words = ["1 of 2 copies", "replicas are away"];
    names("replicas-away", &words, ERROR, || doctor_of(&broker.store));
}

const USERS: &str = r#"authenticationEnabled=true
authorizationEnabled=true
initAuthenticationUser={"username":"root","password":"root-secret"}
innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"inner-secret"}
"#;

#[test]
fn a_broker_that_answers_users_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "root-secret\n").expect("it can be written");
    let signed = |mut command: Command| {
        command.args(["--access-key", "root", "--secret-key-file"]);
        command.arg(&secret);
        command
    };
    for also_reading in ["", "namesrvAuth=all\n"] {
        let store = tempfile::tempdir().expect("a folder");
        let broker = start(&store, &format!("{USERS}{also_reading}"));
        let namesrv = broker.namesrv.to_string();
        let words = ["username cannot be null", "--access-key"];
        names("denied", &words, WARNING, || doctor_of(&broker.store));
        names("denied", &words, WARNING, || doctor_at(&namesrv));
        names_nothing(|| signed(doctor_of(&broker.store)));
        let diagnosis = names_nothing(|| signed(doctor_at(&namesrv)));
        let looked_at = diagnosis.json["lookedAt"].to_string();
        assert!(looked_at.contains("brokers 1"), "{looked_at}");
    }
}
