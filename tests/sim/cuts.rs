//! Protects a slave whose log is not a part of its master's: it cuts what its master does not have, or begins where its master's log
//! begins, and then has the same bytes, queues and offsets.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringmq::io::{Disk, File, Listener, Net, OpenOptions, Spawn, Stream};
use ringmq::mem::AlignedBuf;
use ringmq::reactor::Role;
use ringmq::sim::{Sim, SimConfig, SimIo, Tally};
use ringmq::store::{Flush, Resume, Retention, Store, StoreConfig};
use ringmq::wire::codes::response;

use crate::bare;
use crate::cluster::shard_setup;
use crate::replication::{HA_PORT, LIMIT, MASTER, Pair, Process, SLAVE, queue, send};
use crate::requests::{self, Pull};
use crate::terms::term;

/// One of two that are masters in turn.
const HOSTS: [&str; 2] = [MASTER, SLAVE];

/// All bytes of a broker's log, by the position of its first file.
async fn log_of(pair: &Pair, host: &str) -> (u64, Vec<u8>) {
    let io = pair.sim.host(host);
    let files = io.list("/store/commitlog".as_ref()).await.unwrap();
    let files = files.iter().filter(|file| {
        let name = file.path.file_name().unwrap().to_str().unwrap();
        name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())
    });
    let (mut first, mut bytes) = (None, Vec::new());
    for entry in files {
        let name = entry.path.file_name().unwrap().to_str().unwrap();
        first.get_or_insert(name.parse().unwrap());
        let file = io.open(&entry.path, OpenOptions::default()).await.unwrap();
        let len = entry.len_bytes as usize;
        let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, 0).await;
        bytes.extend_from_slice(&buf[..read.unwrap()]);
    }
    let used = bytes.iter().rposition(|byte| *byte != 0);
    bytes.truncate(used.map_or(0, |last| last + 1));
    (first.unwrap_or(0), bytes)
}

/// Both logs are the same, and so are both queues.
async fn until_logs_are_same(pair: &Pair) -> Vec<u64> {
    let bodies = pair.until_same().await;
    let deadline_ns = pair.sim.mono_ns() + LIMIT.as_nanos() as u64;
    loop {
        let (there, here) = (log_of(pair, MASTER).await, log_of(pair, SLAVE).await);
        if there == here {
            return bodies;
        }
        let now_ns = pair.sim.mono_ns();
        let lens = (there.0, there.1.len(), here.0, here.1.len());
        assert!(now_ns < deadline_ns, "{lens:?}\n{}", pair.sim.recent());
        pair.sleep_ms(100).await;
    }
}

/// A group reads everything at this broker, and commits its offsets.
async fn consume_all(pair: &Pair, host: &str, group: &str) -> u64 {
    let end = pair.bodies(host).await.len() as u64;
    let mut client = pair.client(host).await;
    let pull = Pull {
        group,
        queue: &queue(),
        offset: 0,
        expression: "*",
        hold_ms: 0,
    };
    assert!(
        requests::pull(&mut client, &pull)
            .await
            .unwrap()
            .is_success()
    );
    requests::commit_offset(&mut client, group, &queue(), end);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    end
}

async fn offset_at(pair: &Pair, host: &str, group: &str) -> u64 {
    let mut client = pair.client(host).await;
    let offset = requests::query_offset(&mut client, group, &queue()).await;
    offset.unwrap().unwrap_or(0) as u64
}

async fn send_some(pair: &Pair, host: &str, numbers: std::ops::Range<u64>) {
    let mut client = pair.client(host).await;
    for number in numbers {
        let reply = send(&mut client, number, "").await;
        let codes = [
            response::SUCCESS,
            response::FLUSH_SLAVE_TIMEOUT,
            response::SLAVE_NOT_AVAILABLE,
        ];
        assert!(codes.contains(&reply.code), "{reply:?}");
    }
}

/// The master alone takes messages, and a consumer takes them; then the slave, which has never heard of them, becomes the master, and the
/// former master follows it: what only it had goes, and its group does not skip what takes the places. To and fro.
pub fn cut_off_masters(seed: u64) -> Tally {
    let flush = [Flush::Sync, Flush::Async][seed as usize % 2];
    let pair = Pair::new(seed, flush, Role::SyncMaster);
    pair.sim.run(async {
        let mut processes: Vec<Process> = vec![pair.start(MASTER).await];
        pair.create_topic().await;
        processes.push(pair.start(SLAVE).await);
        let mut client = pair.client(MASTER).await;
        pair.until_answered(&mut client, response::SUCCESS).await;
        let mut number = 0;
        for round in 0..3 {
            let (leads, follows) = (round % 2, 1 - round % 2);
            let (old, new) = (HOSTS[leads], HOSTS[follows]);
            let common = until_logs_are_same(&pair).await;
            // The kernel of the slave answers nobody from now on.
            pair.sim.partition(MASTER, SLAVE);
            let lost = 1 + pair.sim.below(60);
            send_some(&pair, old, number..number + lost).await;
            number += lost;
            // A consumer has read what is going to be lost.
            let group = format!("group-{round}");
            let read = consume_all(&pair, old, &group).await;
            assert_eq!(read, common.len() as u64 + lost);
            pair.sleep_ms(2_500).await;
            let as_master = term(Role::SyncMaster, &pair, new);
            match pair.sim.below(3) {
                0 => {
                    pair.sim.power_cut(old);
                    processes[leads] = pair.start_as(old, as_master.clone()).await;
                }
                1 => {
                    pair.sim.crash(old);
                    processes[leads] = pair.start_as(old, as_master.clone()).await;
                }
                _ => {}
            }
            let to_master = term(Role::SyncMaster, &pair, old);
            processes[follows].change(&pair, to_master).await;
            // Fewer than were lost, or more: the offset of the consumer is behind the end, or in the middle of other messages.
            let fresh = 1 + pair.sim.below(80);
            send_some(&pair, new, number..number + fresh).await;
            number += fresh;
            pair.sim.heal_partition(MASTER, SLAVE);
            let mut to_slave = term(Role::Slave, &pair, new);
            if let Some(master) = &mut to_slave.master
                && pair.sim.below(2) == 0
            {
                // It cannot ask for the master's offsets, which would take the place of its own.
                master.remoting = None;
            }
            processes[leads].change(&pair, to_slave).await;
            let bodies = until_logs_are_same(&pair).await;
            assert_eq!(bodies[..common.len()], common);
            let expected: Vec<_> = (number - fresh..number).collect();
            assert_eq!(bodies[common.len()..], expected, "round {round}");
            // None of the messages that took the places of those was read.
            let offset = offset_at(&pair, old, &group).await;
            assert!(
                offset <= common.len() as u64,
                "{offset} of {}",
                common.len()
            );
        }
    });
    pair.sim.tally()
}

#[test]
fn a_master_that_was_cut_off_gives_up_what_the_other_does_not_have() {
    for seed in 0..6 {
        cut_off_masters(seed);
    }
}

/// A store is cut, and its process killed at once: what was cut off is not there again.
pub fn cut_and_kill(seed: u64) -> Tally {
    let sim = Sim::new(seed, SimConfig::default());
    sim.run(async {
        let config = shard_setup(&sim.host(MASTER), Flush::Sync, &Retention::default()).store;
        let open = async |resume| {
            let config = StoreConfig {
                resume,
                ..config.clone()
            };
            Store::open(sim.host(MASTER), config, |_| {}).await.unwrap()
        };
        let store = open(Resume::AsIs).await;
        let mut starts = Vec::new();
        for number in 0..80_u64 {
            starts.push(bare::append(&store, 0, &number.to_be_bytes()));
        }
        store.close().await.unwrap();
        let point = starts[sim.below(80) as usize];
        drop(open(Resume::CutAt(point)).await);
        sim.crash(MASTER);
        assert_eq!(open(Resume::AsIs).await.tail(), point);
    });
    sim.tally()
}

#[test]
fn what_was_cut_off_is_not_there_after_a_kill() {
    for seed in 0..6 {
        cut_and_kill(seed);
    }
}

/// The master's retention has removed the beginning of its log: an empty slave begins where the master does.
#[test]
fn an_empty_slave_joins_a_master_without_its_first_files() {
    for seed in 0..3 {
        let pair = Pair::new(seed, Flush::Async, Role::AsyncMaster);
        pair.sim.run(async {
            let mut setup = pair.setup(MASTER);
            setup.store.retention.max_log_bytes = 3 * setup.store.segment_bytes;
            setup.store.retention.interval_ms = 200;
            let _master = pair.start_with(setup, MASTER, None).await;
            pair.create_topic().await;
            let mut number = 0;
            while log_of(&pair, MASTER).await.0 == 0 {
                send_some(&pair, MASTER, number..number + 100).await;
                number += 100;
                assert!(number < 5_000);
            }
            pair.sleep_ms(1_000).await;
            let _slave = pair.start(SLAVE).await;
            send_some(&pair, MASTER, number..number + 20).await;
            pair.sleep_ms(8_000).await;
            let ((from, there), (begins, here)) =
                (log_of(&pair, MASTER).await, log_of(&pair, SLAVE).await);
            assert!(begins > 0 && !here.is_empty(), "{begins} of {from}");
            assert!(begins >= from);
            // Behind the end of the master's there may be an old file, to be used again.
            assert!(there[(begins - from) as usize..].starts_with(&here));
            let (at_master, at_slave) = (
                min_offset(&pair, MASTER).await,
                min_offset(&pair, SLAVE).await,
            );
            assert!(at_slave > 0 && at_slave >= at_master, "{at_slave}");
            let bodies = pair.bodies_from(SLAVE, at_slave).await;
            assert_eq!(bodies, pair.bodies_from(MASTER, at_slave).await);
            assert_eq!(bodies.last(), Some(&(number + 19)));
        });
    }
}

async fn min_offset(pair: &Pair, host: &str) -> u64 {
    let mut client = pair.client(host).await;
    let reply = requests::min_offset(&mut client, &queue()).await.unwrap();
    reply.number("offset") as u64
}

/// A master whose bytes are changed on their way: each slave that connects gets the same garbage. Notes from where each was to be sent.
async fn serve_garbage(io: SimIo, reports: Rc<RefCell<Vec<u64>>>) {
    let listener = io.listen(SocketAddr::new(io.ip(), HA_PORT)).unwrap();
    while let Ok(stream) = listener.accept().await {
        let reports = reports.clone();
        io.spawn("garbage", async move {
            let mut received = Vec::new();
            while let Ok(chunk) = stream.recv().await {
                if chunk.is_empty() {
                    return;
                }
                received.extend_from_slice(&chunk);
                let Some(report) = received.first_chunk() else {
                    continue;
                };
                let report = i64::from_be_bytes(*report);
                // The protocol with epochs begins otherwise, and is not answered.
                if report >> 32 == 0 && received.len() == 8 {
                    reports.borrow_mut().push(report as u64);
                    let mut frame = Vec::new();
                    frame.extend_from_slice(&report.to_be_bytes());
                    frame.extend_from_slice(&500_u32.to_be_bytes());
                    frame.resize(frame.len() + 500, 0xee);
                    let _ = stream.send(frame).await;
                }
            }
        });
    }
}

#[test]
fn what_is_no_record_is_received_again() {
    let pair = Pair::new(1, Flush::Sync, Role::AsyncMaster);
    pair.sim.run(async {
        let io = pair.sim.host(MASTER);
        let reports: Rc<RefCell<Vec<u64>>> = Rc::default();
        io.spawn("garbage", serve_garbage(io.clone(), reports.clone()));
        let _slave = pair.start_as(SLAVE, term(Role::Slave, &pair, MASTER)).await;
        pair.sleep_ms(60_000).await;
        // Each time its log was cut at the first byte: at once, and then every 10 s, as the master may be repaired by then.
        let reports = reports.borrow();
        assert!(reports.iter().all(|has| *has == 0), "{reports:?}");
        assert!((4..=8).contains(&reports.len()), "{reports:?}");
    });
}
