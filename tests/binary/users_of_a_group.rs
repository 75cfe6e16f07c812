//! Protects a replicated group with users: its brokers, name server and controller need nothing but the inner credentials for each other, no stranger makes another
//! master, at a broker or at the controller, and after the death of the master the users are those of the other broker.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::cluster::free_range;
use crate::common::client::Client;
use crate::common::signing::As;
use crate::common::{Process, ringmq, wait_until};
use ringmq::wire::Value;
use ringmq::wire::codes::request;

const USERS: &str = r#"authenticationEnabled=true
authorizationEnabled=true
initAuthenticationUser={"username":"root","password":"root-secret"}
innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"inner-secret"}
"#;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn start(command: &str, dir: &Path, lines: &str) -> Process {
    std::fs::create_dir_all(dir).expect("a directory");
    let file = dir.join("conf");
    let text = format!("bindAddress=127.0.0.1\n{USERS}{lines}");
    std::fs::write(&file, text).expect("it can be written");
    let mut command = ringmq([command, "-c"]);
    command.arg(&file).arg("--store").arg(dir.join("store"));
    let started = Process::spawn(&mut command).until_ready();
    started.expect("it serves").0
}

/// At the controller a stranger makes no broker the master, and reads nothing.
fn refuses_strangers(controller: SocketAddr) {
    let elect = [
        ("clusterName", Value::Str("DefaultCluster")),
        ("brokerName", Value::Str("a")),
        ("brokerId", Value::I64(2)),
        ("designateElect", Value::Bool(true)),
    ];
    for code in [
        request::CONTROLLER_ELECT_MASTER,
        request::CLEAN_BROKER_DATA,
        request::CONTROLLER_GET_METADATA_INFO,
        request::BROKER_HEARTBEAT,
    ] {
        let asked = Client::connect(controller).ask(code, &elect, b"");
        asked.refused(16, "username cannot be null.");
    }
    let mut root = As::new(controller, "root", "root-secret");
    root.ask(request::CONTROLLER_GET_METADATA_INFO, &[], "")
        .ok();
}

/// Empty while the broker takes its role.
fn ha_status(broker: SocketAddr) -> String {
    if TcpStream::connect(broker).is_err() {
        return String::new();
    }
    let status = As::new(broker, "root", "root-secret").ask(request::GET_BROKER_HA_STATUS, &[], "");
    String::from_utf8_lossy(&status.body).into_owned()
}

#[test]
fn a_group_with_users_survives_its_master() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_range();
    let (controller, names) = (at(port), at(port + 5));
    let lines = format!("controllerDLegerPeers=n0-{controller}\n");
    let controller_process = start("controller", &folder.path().join("controller"), &lines);
    let lines = format!("listenPort={}\n", names.port());
    let names_process = start("namesrv", &folder.path().join("names"), &lines);
    let addresses = [at(port + 10), at(port + 20)];
    let brokers = addresses.map(|address| {
        let lines = format!(
            "cores=0\nbrokerName=a\nbrokerIP1=127.0.0.1\nlistenPort={}\nnamesrvAddr={names}\nenableControllerMode=true\n\
             controllerAddr={controller}\nallAckInSyncStateSet=true\nflushDiskType=SYNC_FLUSH\nconsumeQueueMemoryBytes=16777216\n",
            address.port()
        );
        start("broker", &folder.path().join(address.port().to_string()), &lines)
    });
    let send = || {
        let mut command = ringmq(["send", "--namesrv", &names.to_string(), "--topic", "Orders"]);
        command.args(["--access-key", "root", "x"]);
        command.env("RINGMQ_SECRET_KEY", "root-secret");
        Process::spawn(&mut command).until_end().status.success()
    };
    wait_until("a message is acknowledged", send);
    let is_whole = |broker| ha_status(broker).contains("\"inSync\":true");
    let master = || addresses.iter().position(|broker| is_whole(*broker));
    wait_until("both are in the set", || master().is_some());
    let master = master().expect("it was one");

    // A stranger says that another broker is the master of a later epoch.
    for broker in addresses {
        let fields = [
            ("masterAddress", Value::Str("127.0.0.1:1")),
            ("masterBrokerId", Value::I64(9)),
            ("masterEpoch", Value::I64(1_000)),
            ("syncStateSetEpoch", Value::I64(1_000)),
        ];
        let set = br#"{"syncStateSet":[9],"syncStateSetEpoch":1000}"#;
        let notice = request::NOTIFY_BROKER_ROLE_CHANGED;
        Client::connect(broker).ask(notice, &fields, set).ok();
    }
    let log = controller_process.log();
    assert!(!log.contains("denied"), "{log}");
    refuses_strangers(controller);
    wait_until("the lines about that", || {
        controller_process.log().matches("denied").count() == 4
    });
    wait_until("the master is still one", send);
    assert!(is_whole(addresses[master]));
    let commit = [
        ("consumerGroup", Value::Str("G")),
        ("topic", Value::Str("Orders")),
        ("queueId", Value::I64(0)),
        ("commitOffset", Value::I64(1)),
    ];
    let mut root = As::new(addresses[master], "root", "root-secret");
    let group = r#"{"groupName":"G"}"#;
    root.ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group)
        .ok();
    root.ask(request::UPDATE_CONSUMER_OFFSET, &commit, "").ok();
    let slave = addresses[1 - master];
    wait_until("the slave has the offset", || {
        let asked = As::new(slave, "root", "root-secret").ask(
            request::QUERY_CONSUMER_OFFSET,
            &commit[..3],
            "",
        );
        asked
            .fields
            .get("offset")
            .is_some_and(|offset| offset == "1")
    });

    let mut brokers = Vec::from(brokers);
    let mut killed = brokers.remove(master);
    assert!(!killed.log().contains("denied"), "{}", killed.log());
    killed.signal("KILL");
    killed.until_end();
    wait_until("another message is acknowledged", send);
    Client::connect(slave)
        .ask(request::GET_BROKER_CONFIG, &[], b"")
        .refused(16, "username cannot be null.");
    let other = &brokers[0];
    let denials = || other.log().matches("denied").count();
    wait_until("the line about that", || denials() > 0);
    assert_eq!(denials(), 1, "{}", other.log());
    assert!(
        !names_process.log().contains("denied"),
        "{}",
        names_process.log()
    );
    for mut process in brokers
        .into_iter()
        .chain([names_process, controller_process])
    {
        process.signal("TERM");
        assert!(process.until_end().status.success());
    }
}
