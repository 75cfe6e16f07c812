//! Protects orderly consumers over a change of the master: only the master of the moment gives a queue away, and to one of them. As in RocketMQ it knows
//! nothing of what its predecessor gave away; the former owner cannot renew its lock.

use ringmq::reactor::Role;
use ringmq::store::Flush;
use ringmq::wire::codes::request;
use ringmq::wire::lock::{LockBatch, LockedQueues};
use ringmq::wire::{MessageQueue, loose_json};

use super::succeed;
use crate::client::Client;
use crate::replication::{GROUP, MASTER, Pair, SLAVE, TOPIC};
use crate::terms::term;

/// Whether the client gets the queue.
async fn locks(client: &mut Client, client_id: &str) -> bool {
    let wanted = MessageQueue {
        topic: TOPIC.into(),
        broker_name: "broker-a".into(),
        queue_id: 0,
    };
    let body = loose_json::to_vec(&LockBatch {
        client_id: client_id.into(),
        consumer_group: GROUP.into(),
        mq_set: vec![wanted.clone()],
        only_this_broker: false,
    });
    let called = client.call(request::LOCK_BATCH_MQ, &[], &body);
    let reply = called.await.unwrap();
    if !reply.is_success() {
        return false;
    }
    let locked: LockedQueues = loose_json::from_slice(&reply.body).unwrap();
    locked.queues.contains(&wanted)
}

#[test]
fn the_successor_of_a_dead_master_gives_a_queue_to_one_of_them() {
    let pair = Pair::new(1, Flush::Sync, Role::SyncMaster);
    pair.sim.run(async {
        let (_master, slave, _) = pair.start_both().await;
        let mut at_master = pair.client(MASTER).await;
        assert!(locks(&mut at_master, "first").await);
        assert!(!locks(&mut at_master, "second").await);
        let mut at_slave = pair.client(SLAVE).await;
        assert!(!locks(&mut at_slave, "first").await, "it is a slave");
        succeed(&pair, &slave).await;
        let mut at_slave = pair.client(SLAVE).await;
        assert!(locks(&mut at_slave, "second").await);
        assert!(!locks(&mut at_slave, "first").await);
        assert!(locks(&mut at_slave, "second").await, "again");
    });
}

#[test]
fn a_former_master_renews_no_lock() {
    let pair = Pair::new(1, Flush::Sync, Role::SyncMaster);
    pair.sim.run(async {
        let (master, slave, _) = pair.start_both().await;
        let mut at_master = pair.client(MASTER).await;
        assert!(locks(&mut at_master, "first").await);
        let roles = [(Role::Slave, SLAVE), (Role::SyncMaster, MASTER)];
        for [own, other] in [roles, [roles[1], roles[0]]] {
            master.change(&pair, term(own.0, &pair, SLAVE)).await;
            slave.change(&pair, term(other.0, &pair, MASTER)).await;
            let hosts = match own.0 {
                Role::Slave => [MASTER, SLAVE],
                _ => [SLAVE, MASTER],
            };
            let mut at_former = pair.client(hosts[0]).await;
            assert!(!locks(&mut at_former, "first").await);
            assert!(!locks(&mut at_former, "second").await);
            let mut at_new = pair.client(hosts[1]).await;
            assert!(locks(&mut at_new, "second").await, "nothing is kept");
            assert!(!locks(&mut at_new, "first").await);
        }
    });
}
