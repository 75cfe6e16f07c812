//! Protects `ringmq controller`: a file of RocketMQ's starts it, it serves, a signal ends it, and what is wrong is said.

use std::net::SocketAddr;

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
