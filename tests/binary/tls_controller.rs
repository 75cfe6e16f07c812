//! Protects controllers over TLS: three of a group that take nothing else find each other, and a broker gets its role from them.

use std::net::SocketAddr;

use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};

use crate::cluster::free_range;
use crate::common::certificates::{Authority, Encrypted, serving};
use crate::common::client::Client;
use crate::common::{Broker, Options, Process, SMALL, ringmq, wait_until};

const BROKER: [(&str, Value<'_>); 2] = [
    ("clusterName", Value::Str("c")),
    ("brokerName", Value::Str("another")),
];

#[test]
fn a_group_and_a_broker_that_speak_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let authority = Authority::new(folder.join("ca.pem"));
    let (certificate, key) = authority.issue().save(folder, "server");
    let ca = authority.file.display();
    let tls = format!(
        "{}tls.server.mode=enforcing\ntls.enable=true\ntls.client.authServer=true\ntls.client.trustCertPath={ca}\n",
        serving(&certificate, &key)
    );
    let port = free_range();
    let addresses = [0, 1, 2].map(|n| SocketAddr::from(([127, 0, 0, 1], port + n)));
    let peers = [0, 1, 2]
        .map(|n| format!("n{n}-{}", addresses[n]))
        .join(";");
    let _controllers = [0, 1, 2].map(|n| {
        let file = folder.join(format!("controller-{n}.conf"));
        let store = folder.join(format!("controller-{n}"));
        let text = format!(
            "{tls}controllerDLegerPeers={peers}\ncontrollerDLegerSelfId=n{n}\nbindAddress=127.0.0.1\ncontrollerStorePath={}\n",
            store.display()
        );
        std::fs::write(&file, text).expect("it is written");
        let mut command = ringmq(["controller", "-c"]);
        let started = Process::spawn(command.arg(&file)).until_ready();
        started.expect("it serves").0
    });
    let client = authority.client(None);
    // Only one that leads answers so, and it leads with the consent of the others.
    let leads = |address: &SocketAddr| {
        let mut asked = Encrypted::connect(*address, &client);
        let code = request::CONTROLLER_GET_NEXT_BROKER_ID;
        asked
            .ask(code, &BROKER, b"")
            .is_ok_and(|code| code == response::SUCCESS)
    };
    wait_until("one leads", || addresses.iter().any(leads));
    for address in addresses {
        let mut plain = Client::connect(address);
        let frame = plain.encode(request::CONTROLLER_GET_NEXT_BROKER_ID, 0, &BROKER, b"");
        plain.wire.send(&frame);
        assert!(plain.receive().is_none(), "plain text is not taken");
    }
    let controllers = addresses.map(|address| address.to_string()).join(";");
    let config = format!("{SMALL}{tls}enableControllerMode=true\ncontrollerAddr={controllers}\n");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&folder.join("store"), &options);
    wait_until("it is the master", || {
        // The port is closed between two roles.
        let producer = Encrypted::try_connect(broker.addr(), &client);
        let sent = producer.and_then(|mut producer| producer.send("T", b"x"));
        sent.is_ok_and(|code| code == response::SUCCESS)
    });
    assert!(broker.terminate().success());
}
