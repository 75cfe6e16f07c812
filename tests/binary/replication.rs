//! Protects the start of a master: it needs no replica for it.

use crate::common::client::{Client, send_to};
use crate::common::{Broker, Options, SMALL};
use ringmq::wire::codes::response;

/// The slave is away, and a delayed message becomes due while the broker starts: its delivery waits for replicas.
#[test]
fn a_sync_master_starts_without_its_slave_while_a_message_is_due() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &Options::small());
    let mut client = Client::connect(broker.addr());
    for _ in 0..3 {
        let mut send = send_to("Orders", 0);
        send.properties = Some("DELAY\u{1}1\u{2}");
        client.send(&send, b"later").ok();
    }
    broker.kill();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let config = format!("{SMALL}brokerRole=SYNC_MASTER\ninSyncReplicas=2\n");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&store, &options);
    let mut client = Client::connect(broker.addr());
    let reply = client.send(&send_to("Orders", 0), b"now");
    assert_eq!(reply.code, response::SLAVE_NOT_AVAILABLE, "{reply:?}");
    crate::common::wait_until("the delayed messages", || {
        client.max_offset("Orders", 0) >= 4
    });
    assert!(broker.terminate().success());
}
