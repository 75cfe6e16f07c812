//! Protects the change of a shard's role without the end of its process: nothing of a term outlives it, what was acknowledged is there in
//! the next one, a send that waits gets an error, and the process says once that it is ready.

use std::time::Duration;

use ringmq::reactor::{Health, MasterAddr, Role, Term};
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::{Flush, Resume};
use ringmq::wire::codes::response;

use crate::cluster::BROKER_PORT;
use crate::replication::{MASTER, Pair, SLAVE, send};

const MS: u64 = 1_000_000;

/// Of a broker without a controller.
pub fn term(role: Role, pair: &Pair, master: &str) -> Term {
    let remoting = pair.addr(master);
    let ha = std::net::SocketAddr::new(remoting.ip(), BROKER_PORT + 1);
    let is_slave = role == Role::Slave;
    Term {
        role,
        broker_id: is_slave.into(),
        master: is_slave.then_some(MasterAddr {
            remoting: Some(remoting),
            ha: Some(ha),
        }),
        mandate: None,
        resume: Resume::AsIs,
    }
}

/// Tasks and open files of the master's process, once it is at rest.
async fn held(pair: &Pair) -> (usize, usize) {
    pair.sleep_ms(1_000).await;
    (pair.sim.tasks(MASTER), pair.sim.open_files(MASTER))
}

#[test]
fn nothing_of_a_term_outlives_it() {
    for flush in [Flush::Sync, Flush::Async] {
        let pair = Pair::new(1, flush, Role::AsyncMaster);
        pair.sim.run(async {
            let master = pair.start(MASTER).await;
            pair.create_topic().await;
            let mut counts = Vec::new();
            for number in 0..10 {
                let mut client = pair.client(MASTER).await;
                // So few that the log stays in its first file.
                for message in 0..3 {
                    let reply = send(&mut client, message, "").await;
                    assert!(reply.is_success(), "{reply:?}");
                }
                assert_eq!(pair.bodies(MASTER).await.len(), 3 * (number + 1));
                for role in [Role::Slave, Role::AsyncMaster] {
                    let began_ns = pair.sim.mono_ns();
                    master.change(&pair, term(role, &pair, SLAVE)).await;
                    let took_ns = pair.sim.mono_ns() - began_ns;
                    assert!(took_ns < 500 * MS, "{took_ns}");
                    let health = master.health.borrow().clone();
                    let opening = |health: &Health| matches!(health, Health::Opening(_));
                    assert!(opening(&health[0]), "{health:?}");
                    counts.push(held(&pair).await);
                }
            }
            let (first, others) = counts.split_at(2);
            for (index, count) in others.iter().enumerate() {
                let (tasks, files) = first[index % 2];
                assert_eq!(count.0, tasks, "{counts:?}");
                // One may be opened just now. A store that is left behind has more.
                assert!(count.1 <= files + 2, "{counts:?}");
            }
            assert_eq!(master.times_ready.get(), 1);
            pair.stop(MASTER, master).await;
        });
    }
}

/// Also where a process ends in the middle of its term.
#[test]
fn a_killed_process_holds_nothing() {
    let pair = Pair::new(1, Flush::Sync, Role::SyncMaster);
    pair.sim.run(async {
        for _ in 0..3 {
            let _master = pair.start(MASTER).await;
            assert!(pair.sim.open_files(MASTER) > 0);
            pair.sim.crash(MASTER);
            assert_eq!(pair.sim.open_files(MASTER), 0);
        }
    });
}

#[test]
fn a_change_answers_what_waits_with_an_error() {
    for seed in 0..2 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let (master, _slave, mut client) = pair.start_both().await;
            let stall = Fault::Stall(Duration::from_secs(9));
            let slow = Rule::new(stall).of(Op::Write).on("commitlog");
            pair.sim.host(SLAVE).inject(slow);
            let began_ns = pair.sim.mono_ns();
            let sent = send(&mut client, 1, "");
            let changed = async {
                pair.sleep_ms(100).await;
                master.change(&pair, term(Role::Slave, &pair, SLAVE)).await;
            };
            let (reply, ()) = futures_util::future::join(sent, changed).await;
            assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
            let took_ns = pair.sim.mono_ns() - began_ns;
            assert!(took_ns < 700 * MS, "{took_ns}");
            let mut client = pair.client(MASTER).await;
            let reply = send(&mut client, 2, "").await;
            assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
        });
    }
}

/// Both brokers change their roles, to and fro, while nothing differs between their logs.
#[test]
fn master_and_slave_change_places() {
    for seed in 0..2 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let processes = [pair.start(MASTER).await, {
                pair.create_topic().await;
                pair.start(SLAVE).await
            }];
            let hosts = [MASTER, SLAVE];
            let mut number = 0;
            for round in 0..4 {
                let (leads, follows) = (round % 2, 1 - round % 2);
                let mut client = pair.client(hosts[leads]).await;
                pair.until_answered(&mut client, response::SUCCESS).await;
                for _ in 0..20 {
                    number += 1;
                    let reply = send(&mut client, number, "").await;
                    assert!(reply.is_success(), "{reply:?}");
                }
                pair.until_same().await;
                let to_slave = term(Role::Slave, &pair, hosts[follows]);
                processes[leads].change(&pair, to_slave).await;
                let to_master = term(Role::SyncMaster, &pair, hosts[follows]);
                processes[follows].change(&pair, to_master).await;
            }
            let bodies = pair.until_same().await;
            let sent: Vec<u64> = bodies.into_iter().filter(|body| *body < 1_000).collect();
            assert_eq!(sent, (1..=number).collect::<Vec<_>>());
        });
    }
}
