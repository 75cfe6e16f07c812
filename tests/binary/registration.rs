//! Protects the routes: a broker registers whenever a name server comes, and unregisters when it stops.

use std::net::SocketAddr;

use crate::common::client::{Client, pull_from, send_to};
use crate::common::{Broker, Options, Process, SMALL, free_ports, ringmq, until_free, wait_until};

#[test]
fn a_name_server_may_come_late_and_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports();
    let namesrv = SocketAddr::from(([127, 0, 0, 1], ports.1));
    let config = format!("{SMALL}registerNameServerPeriod=10000\n");
    let options = Options {
        joins_namesrv: true,
        ports: Some(ports),
        config: &config,
        ..Options::default()
    };
    // The broker serves without any name server, and logs a warning.
    let broker = Broker::start(&folder.path().join("store"), &options);
    wait_until("the warning", || broker.log().contains("not registered"));
    let mut client = Client::connect(broker.addr());
    for round in 0..2 {
        let port = ports.1.to_string();
        let mut command = ringmq(["namesrv", "--port", &port, "--bind", "127.0.0.1"]);
        let started = Process::spawn(command.env("HOME", folder.path())).until_ready();
        let (mut names, banner) = started.expect("the name server starts");
        assert!(banner.contains(&namesrv.to_string()), "{banner}");
        let mut asked = Client::connect(namesrv);
        wait_until("the registration", || asked.route("TBW102").is_some());
        let topic = format!("Round{round}");
        client.send(&send_to(&topic, 0), b"x").ok();
        wait_until("the new topic's route", || asked.route(&topic).is_some());
        for earlier in 0..round {
            assert!(asked.route(&format!("Round{earlier}")).is_some());
        }
        names.signal(["KILL", "TERM"][round]);
        assert_eq!(names.until_end().status.success(), round == 1);
        until_free(&[ports.1]);
        client.pull(&pull_from(&topic, 0, 0)).ok();
    }
    assert!(broker.terminate().success());
}

/// A broker that becomes the master after another one on the same machine takes over the address at which clients find the master.
#[test]
fn clients_find_the_next_master_at_the_same_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, namesrv_port) = free_ports();
    let namesrv = SocketAddr::from(([127, 0, 0, 1], namesrv_port));
    let shared = SocketAddr::from(([127, 0, 0, 1], free_ports().0));
    let words = ["namesrv", "--port", &namesrv_port.to_string()];
    let started = Process::spawn(ringmq(words).env("HOME", folder.path())).until_ready();
    let (_names, _) = started.expect("it starts");
    let mut asked = Client::connect(namesrv);
    let mut in_route = |id: i64| {
        let route = asked.route("TBW102").unwrap_or_default();
        let addrs = route.broker_datas.into_iter().next()?.broker_addrs;
        addrs.get(&id).cloned()
    };
    let config = format!("{SMALL}brokerName=broker-a\nmasterAddress={shared}\n");
    let start = |name: &str, port: u16, role: &str| {
        let config = format!("{config}{role}");
        let options = Options {
            joins_namesrv: true,
            ports: Some((port, namesrv_port)),
            config: &config,
            ..Options::default()
        };
        Broker::start(&folder.path().join(name), &options)
    };
    let first = start("first", port, "");
    assert_eq!(in_route(0), Some(shared.to_string()));
    for round in 0..2 {
        let mut client = Client::connect(shared);
        client.send(&send_to("Orders", 0), b"x").ok();
        assert_eq!(client.max_offset("Orders", 0), round + 1);
    }

    let slave_port = free_ports().0;
    let slave = start("slave", slave_port, "brokerRole=SLAVE\nbrokerId=1\n");
    assert_eq!(in_route(1), Some(slave.addr().to_string()));
    assert_eq!(in_route(0), Some(shared.to_string()));

    // It finds the port taken, and is in routes with its own until it is free.
    let second = start("second", free_ports().0, "");
    second.log_with("cannot be opened");
    assert_eq!(in_route(0), Some(second.addr().to_string()));
    first.kill();
    wait_until("the second one has the address", || {
        in_route(0) == Some(shared.to_string())
    });
    let mut client = Client::connect(shared);
    client.send(&send_to("Orders", 0), b"x").ok();
    assert_eq!(client.max_offset("Orders", 0), 1, "another store");
    assert!(second.terminate().success());
    assert_eq!(in_route(0), None);
    assert!(slave.terminate().success());
}

/// The routes of a stopped broker are gone at once.
#[test]
fn a_stopped_broker_unregisters_and_a_lost_one_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports();
    let namesrv = SocketAddr::from(([127, 0, 0, 1], ports.1));
    let port = ports.1.to_string();
    let mut command = ringmq(["namesrv", "--port", &port]);
    let (_names, _) = Process::spawn(command.env("HOME", folder.path()))
        .until_ready()
        .expect("it starts");
    let mut asked = Client::connect(namesrv);
    let options = Options {
        joins_namesrv: true,
        ports: Some(ports),
        ..Options::small()
    };
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &options);
    assert!(
        asked.route("TBW102").is_some(),
        "registered before it is ready"
    );
    assert!(broker.terminate().success());
    assert_eq!(asked.route("TBW102"), None);
    let broker = Broker::start(&store, &options);
    assert!(asked.route("TBW102").is_some());
    broker.kill();
    wait_until("the lost broker's routes are gone", || {
        asked.route("TBW102").is_none()
    });
}
