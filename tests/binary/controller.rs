//! Protects `ringmq controller`: a file of RocketMQ's starts it, it serves, a signal ends it, and what is wrong is said; and controllers inside
//! other processes.

use std::net::SocketAddr;

use crate::cluster::free_range;
use crate::common::client::Client;
use crate::common::{Process, free_ports, ringmq, wait_until};
use crate::metrics::scrape;
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};

const BROKER: [(&str, Value<'_>); 2] = [
    ("clusterName", Value::Str("c")),
    ("brokerName", Value::Str("broker-a")),
];

#[test]
fn a_file_of_rocketmq_starts_it_and_what_was_agreed_on_outlives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports().0));
    let config = folder.path().join("controller.conf");
    let store = folder.path().join("store");
    let text = format!(
        "controllerDLegerGroup=group1\ncontrollerDLegerPeers=n0-{address}\ncontrollerDLegerSelfId=n0\n\
         controllerStorePath={}\nbindAddress=127.0.0.1\ncontrollerThreadPoolNums=16\n",
        store.display()
    );
    std::fs::write(&config, text).expect("it can be written");
    let start = || {
        let mut command = ringmq(["controller", "-c"]);
        let started = Process::spawn(command.arg(&config)).until_ready();
        let (process, banner) = started.expect("it serves");
        assert!(banner.contains("controller n0 of group1"), "{banner}");
        process
    };
    let next_id = || {
        let mut asked = Client::connect(address);
        let answer = asked.ask(request::CONTROLLER_GET_NEXT_BROKER_ID, &BROKER, b"");
        (answer.code == response::SUCCESS).then(|| answer.fields["nextBrokerId"].clone())
    };
    let mut process = start();
    wait_until("it leads", || next_id().is_some_and(|id| id == "1"));
    let apply = [
        &BROKER[..],
        &[
            ("appliedBrokerId", Value::I64(1)),
            ("registerCheckCode", Value::Str("127.0.0.1:1;1")),
        ],
    ]
    .concat();
    let applied = Client::connect(address).ask(request::CONTROLLER_APPLY_BROKER_ID, &apply, b"");
    assert_eq!(applied.code, response::SUCCESS);
    process.signal("KILL");
    process.until_end();

    let mut process = start();
    wait_until("it leads again", || next_id().is_some_and(|id| id == "2"));
    process.signal("TERM");
    assert!(process.until_end().status.success());
}

#[test]
fn what_is_wrong_is_said() {
    for (words, expected) in [
        (&["--peers", "n0"][..], "controllerDLegerPeers"),
        (&["--self-id", "n3"], "n3 is none of the controllers"),
        (&["-c", "/nonexistent/file"], "/nonexistent/file"),
    ] {
        let mut command = ringmq(["controller"]);
        let ended = Process::spawn(command.args(words)).until_end();
        assert!(!ended.status.success());
        assert!(ended.err.contains(expected), "{words:?}: {}", ended.err);
    }
}

/// A majority of three controllers without a process of their own: one in the name server, one in each broker.
#[test]
fn controllers_inside_a_name_server_and_two_brokers_elect_a_master() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_range();
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let peers = (0..3).map(|n| format!("n{n}-{}", at(port + n)));
    let peers = peers.collect::<Vec<_>>().join(";");
    let addresses = (0..3).map(|n| at(port + n).to_string());
    let addresses = addresses.collect::<Vec<_>>().join(";");
    let (names, sockets) = (at(port + 5), [at(port + 10), at(port + 20)]);
    let start = |n: u16, command: &str, lines: &str| {
        let dir = folder.path().join(format!("{command}{n}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let file = dir.join("conf");
        let text = format!(
            "bindAddress=127.0.0.1\nenableControllerInNamesrv=true\ncontrollerDLegerGroup=group1\n\
             controllerDLegerPeers={peers}\ncontrollerDLegerSelfId=n{n}\ncontrollerStorePath={}\n{lines}",
            dir.join("controller").display()
        );
        std::fs::write(&file, text).expect("it can be written");
        let mut command = ringmq([command, "--config"]);
        let command = command.arg(&file).arg("--store").arg(dir.join("store"));
        let started = Process::spawn(command).until_ready();
        let (process, banner) = started.expect("it serves");
        let inside = format!("controller n{n} of group1");
        assert!(banner.contains(&inside), "{banner}");
        assert!(
            !process.log().contains("controllerDLeger"),
            "{}",
            process.log()
        );
        process
    };
    let shown = [at(port + 3), at(port + 4), at(port + 6)];
    let exporting = |shown: SocketAddr| {
        format!(
            "metricsExporterType=PROM\nmetricsPromExporterHost=127.0.0.1\nmetricsPromExporterPort={}\n",
            shown.port()
        )
    };
    let lines = format!("listenPort={}\n{}", names.port(), exporting(shown[0]));
    let names_process = start(0, "namesrv", &lines);
    let brokers = [0, 1].map(|n: u16| {
        let lines = format!(
            "cores=0\nbrokerName=a\nbrokerIP1=127.0.0.1\nlistenPort={}\nnamesrvAddr={names}\nenableControllerMode=true\n\
             controllerAddr={addresses}\nflushDiskType=SYNC_FLUSH\nconsumeQueueMemoryBytes=16777216\n{}",
            sockets[usize::from(n)].port(),
            exporting(shown[usize::from(n) + 1])
        );
        start(n + 1, "broker", &lines)
    });
    check_metrics(shown);
    let names = names.to_string();
    let send = || {
        let mut command = ringmq(["send", "--namesrv", &names, "--topic", "Orders", "x"]);
        Process::spawn(&mut command).until_end().status.success()
    };
    wait_until("a message is acknowledged", send);
    // A broker that takes its role does not listen.
    let has_a_slave_in_sync = |broker: &SocketAddr| {
        std::net::TcpStream::connect(broker).is_ok() && {
            let state = Client::connect(*broker).ask(request::GET_BROKER_HA_STATUS, &[], b"");
            String::from_utf8_lossy(&state.body).contains("\"inSync\":true")
        }
    };
    let master = || sockets.iter().position(has_a_slave_in_sync);
    wait_until("both are in the set", || master().is_some());
    let master = master().expect("it was one");
    let mut brokers = Vec::from(brokers);
    let mut killed = brokers.remove(master);
    killed.signal("KILL");
    killed.until_end();
    wait_until("another message is acknowledged", send);
    let mut asked = Client::connect(sockets[1 - master]);
    let stored: u64 = (0..4).map(|queue| asked.max_offset("Orders", queue)).sum();
    assert!(stored >= 2, "{stored} messages");
    for mut process in brokers.into_iter().chain([names_process]) {
        process.signal("TERM");
        assert!(process.until_end().status.success());
    }
}

/// Each process shows its controller: the brokers beside their own figures.
fn check_metrics(shown: [SocketAddr; 3]) {
    wait_until("one controller leads the others", || {
        let mut roles = shown.map(|addr| scrape(addr).value("role", &[("group", "group1")]));
        roles.sort_by(f64::total_cmp);
        roles == [2.0, 2.0, 3.0]
    });
    let [of_names, of_broker, _] = shown.map(scrape);
    let own = [("peer_id", "n1"), ("otel_scope_name", "controller")];
    assert_eq!(of_broker.find("role", &own).len(), 1);
    assert!(of_broker.types.contains_key("rocketmq_topic_number"));
    assert!(
        !of_names
            .types
            .keys()
            .any(|name| name.starts_with("ringmq_namesrv"))
    );
}

/// The path of the manual for a machine that is gone for good: another one takes its number, with an address of its own and an empty store.
#[test]
fn a_controller_is_replaced_by_another_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let list = |ports: [u16; 3]| {
        let peers = (0..3).map(|n| format!("n{n}-{}", at(ports[n])));
        peers.collect::<Vec<_>>().join(";")
    };
    let [n0, n1, n2, other] = [(); 4].map(|()| free_ports().0);
    let (before, after) = ([n0, n1, n2], [n0, other, n2]);
    let start = |n: usize, ports: [u16; 3], store: &str| {
        let mut command = ringmq(["controller", "--bind", "127.0.0.1"]);
        let command = command.args(["--self-id", &format!("n{n}"), "--peers", &list(ports)]);
        let started = Process::spawn(command.arg("--store").arg(folder.path().join(store)));
        started.until_ready().expect("it serves").0
    };
    let next_id = |ports: &[u16]| {
        ports.iter().find_map(|port| {
            let mut asked = Client::connect(at(*port));
            let answer = asked.ask(request::CONTROLLER_GET_NEXT_BROKER_ID, &BROKER, b"");
            (answer.code == response::SUCCESS).then(|| answer.fields["nextBrokerId"].clone())
        })
    };
    let leads = |port: u16| {
        let mut asked = Client::connect(at(port));
        let answer = asked.ask(request::CONTROLLER_GET_METADATA_INFO, &[], b"");
        answer.fields.get("isLeader").is_some_and(|is| is == "true")
    };
    let mut first = start(0, before, "n0");
    let mut dead = start(1, before, "n1");
    let mut third = start(2, before, "n2");
    wait_until("they agree", || next_id(&before).is_some());
    apply_id(&before, at);
    // A controller with an empty store does not vote, as it may have lost its store.
    wait_until("the third one has what the others agreed on", || {
        third.log().contains("has what the others agreed on")
    });

    dead.signal("KILL");
    dead.until_end();
    let new = start(1, after, "new");
    first.signal("TERM");
    first.until_end();
    first = start(0, after, "n0");
    wait_until("they agree", || next_id(&after).is_some());
    third.signal("TERM");
    third.until_end();
    let third = start(2, after, "n2");
    wait_until("the new one has what the others agreed on", || {
        new.log().contains("has what the others agreed on")
    });
    first.signal("KILL");
    first.until_end();
    let two = [after[1], after[2]];
    wait_until("the other two agree, and know what was agreed on", || {
        next_id(&two).is_some_and(|id| id == "2")
    });

    // The machine that was given up starts again on what it had.
    let returned = start(1, before, "n1");
    wait_until("it is refused", || {
        returned.log().contains("was replaced by another machine")
    });
    assert!(!leads(before[1]));
    assert_eq!(next_id(&two).as_deref(), Some("2"));
    drop(third);
}

/// The first number of a broker is given.
fn apply_id(ports: &[u16; 3], at: impl Fn(u16) -> SocketAddr) {
    let apply = [
        &BROKER[..],
        &[
            ("appliedBrokerId", Value::I64(1)),
            ("registerCheckCode", Value::Str("127.0.0.1:1;1")),
        ],
    ]
    .concat();
    wait_until("the number is given", || {
        ports.iter().any(|port| {
            let mut asked = Client::connect(at(*port));
            let applied = asked.ask(request::CONTROLLER_APPLY_BROKER_ID, &apply, b"");
            applied.code == response::SUCCESS
        })
    });
}
