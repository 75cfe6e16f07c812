//! Protects `ringmq controller`: a file of RocketMQ's starts it, it serves, a signal ends it, and what is wrong is said; and controllers inside
//! other processes.

use std::net::SocketAddr;

use crate::cluster::free_range;
use crate::common::client::Client;
use crate::common::{Process, free_ports, ringmq, wait_until};
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
    let names_process = start(0, "namesrv", &format!("listenPort={}\n", names.port()));
    let brokers = [0, 1].map(|n: u16| {
        let lines = format!(
            "cores=0\nbrokerName=a\nbrokerIP1=127.0.0.1\nlistenPort={}\nnamesrvAddr={names}\nenableControllerMode=true\n\
             controllerAddr={addresses}\nflushDiskType=SYNC_FLUSH\nconsumeQueueMemoryBytes=16777216\n",
            sockets[usize::from(n)].port()
        );
        start(n + 1, "broker", &lines)
    });
    let names = names.to_string();
    let send = || {
        let mut command = ringmq(["send", "--namesrv", &names, "--topic", "Orders", "x"]);
        Process::spawn(&mut command).until_end().status.success()
    };
    wait_until("a message is acknowledged", send);
    let route = Client::connect(names.parse().expect("an address")).route("Orders");
    let route = format!("{:?}", route.expect("a route"));
    let master = sockets.map(|address| route.contains(&address.to_string()));
    let master = master.iter().position(|is| *is).expect("a master");
    wait_until("both are in the set", || {
        let mut asked = Client::connect(sockets[master]);
        let state = asked.ask(request::GET_BROKER_HA_STATUS, &[], b"");
        String::from_utf8_lossy(&state.body).contains("\"inSync\":true")
    });
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
