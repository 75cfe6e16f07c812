//! The simulation held to its own promises.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::io::{Clock, Disk, Durability, File, Listener, Net, OpenOptions, Spawn, Stream};
use crate::mem::{AlignedBuf, BLOCK_BYTES, LogBuffer};

const DIRECT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: true,
};
const MS: u64 = 1_000_000;

fn sim(seed: u64) -> Sim {
    Sim::new(seed, SimConfig::default())
}

fn block(value: u8) -> AlignedBuf {
    let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
    block.fill(value);
    block
}

async fn write(file: &SimFile, at_block: u64, value: u8, durability: Durability) {
    let offset = at_block * BLOCK_BYTES as u64;
    file.write_at(block(value), offset, durability)
        .await
        .0
        .unwrap();
}

async fn read(file: &SimFile) -> Vec<u8> {
    let len = file.len_bytes().await.unwrap() as usize;
    let len = len.next_multiple_of(BLOCK_BYTES);
    let (read, buf) = file.read_at(AlignedBuf::zeroed(len), len, 0).await;
    buf[..read.unwrap()].to_vec()
}

async fn file_of(io: &SimIo) -> SimFile {
    io.open(Path::new("/f"), DIRECT).await.unwrap()
}

/// Both ends of a connection from one host to another.
async fn connected(from: &SimIo, to: &SimIo) -> (SimStream, SimStream) {
    let (listener, addr) = listening(to);
    let client = from.connect(addr).await.unwrap();
    (client, listener.accept().await.unwrap())
}

fn listening(io: &SimIo) -> (SimListener, SocketAddr) {
    let addr = SocketAddr::new(io.ip(), 0);
    let listener = io.listen(addr).unwrap();
    let addr = listener.local_addr();
    (listener, addr)
}

#[test]
fn conforms_to_the_seam() {
    for seed in 0..20 {
        let sim = sim(seed);
        let io = sim.host("a");
        sim.run(conformance::all(&io, Path::new("/d")));
    }
}

/// Traffic, files, crashes and faults on two hosts; returns what it saw.
fn commotion(sim: &Sim) -> String {
    sim.run(async {
        let mut seen = String::new();
        for round in 0..5 {
            let (a, b) = (sim.host("a"), sim.host("b"));
            a.inject(Rule::new(Fault::Io).of(Op::Write).after(3).times(1));
            let (client, server) = connected(&a, &b).await;
            let (task_io, sends) = (a.clone(), client.clone());
            a.spawn(async move {
                let file = file_of(&task_io).await;
                for n in 0..40 {
                    let offset = n * BLOCK_BYTES as u64;
                    let _ = file
                        .write_at(block(n as u8), offset, Durability::Written)
                        .await;
                    let _ = sends.send(vec![n as u8; 5000]).await;
                }
            });
            for _ in 0..10 {
                match server.recv().await {
                    Ok(chunk) => seen.push_str(&format!("{} ", chunk.len())),
                    Err(error) => seen.push_str(&format!("{error} ")),
                }
            }
            match round % 2 {
                0 => sim.crash("a"),
                _ => sim.power_cut("a"),
            }
            drop(client);
            let file = file_of(&sim.host("a")).await;
            let bytes = read(&file).await;
            seen.push_str(&format!("{:08x}; ", crc32fast::hash(&bytes)));
        }
        seen
    })
}

#[test]
fn one_seed_is_one_history() {
    let mut hashes = BTreeSet::new();
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| {
            let sim = sim(seed);
            (commotion(&sim), sim.trace_hash())
        });
        assert_eq!(first, second);
        hashes.insert(first.1);
    }
    assert_eq!(hashes.len(), 20, "another seed is another history");
}

#[test]
fn ready_tasks_run_in_every_order() {
    let orders: BTreeSet<Vec<u32>> = (0..100)
        .map(|seed| {
            let sim = sim(seed);
            let io = sim.host("a");
            let order = Rc::new(RefCell::new(Vec::new()));
            for n in 0..3 {
                let order = Rc::clone(&order);
                io.spawn(async move { order.borrow_mut().push(n) });
            }
            sim.run(sim.sleep(Duration::from_millis(1)));
            order.take()
        })
        .collect();
    assert_eq!(orders.len(), 6);
}

#[test]
#[should_panic(expected = "deadlock with seed 7")]
fn a_deadlock_names_its_seed() {
    sim(7).run(std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "seed 7: still running")]
fn time_has_an_end() {
    let sim = sim(7);
    sim.run(async {
        loop {
            sim.sleep(Duration::from_secs(3600)).await;
        }
    });
}

#[test]
fn the_wall_clock_starts_at_its_date_and_can_be_stepped() {
    let sim = sim(1);
    let io = sim.host("a");
    sim.run(async {
        let before = io.now();
        assert_eq!(before.unix_ms, SimConfig::default().unix_start_ms);
        sim.sleep(Duration::from_secs(5)).await;
        sim.step_unix_clock("a", -3_000);
        let after = io.now();
        assert_eq!(after.unix_ms - before.unix_ms, 2_000);
        assert!(after.mono_ns - before.mono_ns >= 5_000 * MS);
    });
}

#[test]
fn a_dead_process_does_nothing_more() {
    let sim = sim(1);
    let ticks = Rc::new(RefCell::new(0));
    sim.run(async {
        let old = sim.host("a");
        let (task_io, counted) = (old.clone(), Rc::clone(&ticks));
        old.spawn(async move {
            loop {
                task_io.sleep_until(task_io.now().mono_ns + MS).await;
                *counted.borrow_mut() += 1;
            }
        });
        sim.sleep(Duration::from_millis(10)).await;
        sim.crash("a");
        let counted = *ticks.borrow();
        assert!(counted >= 9);
        assert_eq!(Rc::strong_count(&ticks), 1, "its tasks are dropped");
        let new = sim.host("a");
        old.spawn(async { panic!("nobody runs this") });
        old.listen("0.0.0.0:1".parse().unwrap()).err().unwrap();
        let both = [old.now(), new.now()];
        assert_eq!(both[0], both[1]);
        sim.sleep(Duration::from_millis(10)).await;
        assert_eq!(*ticks.borrow(), counted);
        new.listen("0.0.0.0:1".parse().unwrap()).unwrap();
    });
}

#[test]
fn a_task_may_end_its_own_host() {
    let sim = Rc::new(sim(1));
    let io = sim.host("a");
    let reached = Rc::new(RefCell::new(Vec::new()));
    let (hand, task_io, steps) = (Rc::downgrade(&sim), io.clone(), Rc::clone(&reached));
    io.spawn(async move {
        steps.borrow_mut().push("before");
        hand.upgrade().unwrap().crash("a");
        task_io.sleep_until(task_io.now().mono_ns + MS).await;
        steps.borrow_mut().push("after");
    });
    sim.run(sim.sleep(Duration::from_secs(1)));
    assert_eq!(*reached.borrow(), ["before"]);
    assert_eq!(Rc::strong_count(&reached), 1);
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_any_part_of_what_it_was_writing() {
    let mut parts = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let file = file_of(&io).await;
            write(&file, 0, 1, Durability::Written).await;
            io.spawn(async move { write(&file, 1, 2, Durability::Synced).await });
            sim.sleep(Duration::from_nanos(sim.below(2 * MS))).await;
            sim.crash("a");
            let bytes = read(&file_of(&sim.host("a")).await).await;
            assert!(bytes[..BLOCK_BYTES].iter().all(|&b| b == 1));
            let second = bytes[BLOCK_BYTES..].chunks(SECTOR_BYTES);
            parts.insert(second.map(|sector| sector[0] == 2).collect::<Vec<_>>());
        });
    }
    assert!(parts.len() > 10, "{parts:?}");
    assert!(parts.contains(&vec![]), "not begun");
    assert!(parts.contains(&vec![true; 8]), "done");
}

#[test]
fn what_a_log_slice_holds_may_change_until_the_write_is_done() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let mut log = LogBuffer::new(BLOCK_BYTES).unwrap();
            log.write(0, BLOCK_BYTES).fill(1);
            let (slice, task_io) = (log.slice(0, BLOCK_BYTES), io.clone());
            io.spawn(async move {
                let file = file_of(&task_io).await;
                file.write_at(slice, 0, Durability::Written)
                    .await
                    .0
                    .unwrap();
            });
            sim.sleep(Duration::from_micros(sim.below(400))).await;
            log.write(2048, 2048).fill(2);
            sim.sleep(Duration::from_millis(5)).await;
            let bytes = read(&file_of(&io).await).await;
            assert_eq!(bytes[..2048], [1; 2048], "sealed bytes stay");
            seen.extend(bytes);
        });
    }
    assert_eq!(seen, [1, 2].into());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8, bool),
    Sync,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..8, any::<bool>()).prop_map(|(block, synced)| Step::Write(block, synced)),
        2 => Just(Step::Sync),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// Against a model that knows for each block which values it may hold.
    #[test]
    fn a_power_cut_takes_only_what_the_contract_lets_it(seed: u64, steps in steps()) {
        let sim = sim(seed);
        sim.run(async {
            let mut may_hold: BTreeMap<u8, BTreeSet<u8>> = (0..8).map(|b| (b, [0].into())).collect();
            let mut file = file_of(&sim.host("a")).await;
            file.allocate(8 * BLOCK_BYTES as u64).await.unwrap();
            file.sync_data().await.unwrap();
            sim.host("a").sync_dir(Path::new("/")).await.unwrap();
            // Of the blocks that were written since the last power cut.
            let mut latest = BTreeMap::new();
            for (value, step) in (1..).zip(steps) {
                match step {
                    Step::Write(at, synced) => {
                        let durability = if synced { Durability::Synced } else { Durability::Written };
                        write(&file, at.into(), value, durability).await;
                        let held = may_hold.get_mut(&at).unwrap();
                        if synced {
                            held.clear();
                        }
                        held.insert(value);
                        latest.insert(at, value);
                    }
                    Step::Sync => {
                        file.sync_data().await.unwrap();
                        for (at, value) in std::mem::take(&mut latest) {
                            may_hold.insert(at, [value].into());
                        }
                    }
                    Step::PowerCut => {
                        sim.power_cut("a");
                        latest.clear();
                        file = file_of(&sim.host("a")).await;
                        let bytes = read(&file).await;
                        prop_assert_eq!(bytes.len(), 8 * BLOCK_BYTES);
                        for (at, held) in &mut may_hold {
                            let start = usize::from(*at) * BLOCK_BYTES;
                            let block = &bytes[start..start + BLOCK_BYTES];
                            prop_assert!(block.iter().all(|byte| held.contains(byte)));
                            // From here on the block is what it is, sector by sector.
                            *held = block.iter().copied().collect();
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn faults_strike_as_ruled() {
    let sim = sim(3);
    sim.run(async {
        let io = sim.host("a");
        let file = file_of(&io).await;
        io.inject(
            Rule::new(Fault::Io)
                .of(Op::Write)
                .on("/f")
                .after(1)
                .times(1),
        );
        write(&file, 0, 1, Durability::Written).await;
        let (failed, buf) = file.write_at(block(2), 0, Durability::Written).await;
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(buf[0], 2, "the buffer comes back all the same");
        write(&file, 0, 3, Durability::Written).await;

        io.inject(Rule::new(Fault::NoSpace).of(Op::Length));
        let full = file.allocate(1 << 20).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        io.heal();
        file.allocate(1 << 20).await.unwrap();

        let before_ns = sim.mono_ns();
        io.inject(Rule::new(Fault::Stall(Duration::from_secs(7))).of(Op::Sync));
        file.sync_data().await.unwrap();
        assert!(sim.mono_ns() - before_ns >= 7_000 * MS);

        io.rot_sector(Path::new("/f"), 600).unwrap();
        let bytes = read(&file).await;
        let rotten: Vec<usize> = (0..BLOCK_BYTES).filter(|&i| bytes[i] != 3).collect();
        assert_eq!(rotten.len(), 1);
        assert!((512..1024).contains(&rotten[0]));
    });
}

#[test]
fn a_disk_fills_up() {
    let config = SimConfig {
        disk_bytes: 10 * BLOCK_BYTES as u64,
        ..SimConfig::default()
    };
    let sim = Sim::new(1, config);
    sim.run(async {
        let io = sim.host("a");
        let file = file_of(&io).await;
        file.allocate(9 * BLOCK_BYTES as u64).await.unwrap();
        let space = io.space(Path::new("/")).unwrap();
        assert_eq!(space.available_bytes, BLOCK_BYTES as u64);
        write(&file, 9, 1, Durability::Written).await;
        let (full, _) = file
            .write_at(block(1), 10 * BLOCK_BYTES as u64, Durability::Written)
            .await;
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        write(&file, 0, 1, Durability::Written).await;
    });
}

#[test]
fn hosts_have_disks_and_addresses_of_their_own() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        write(&file_of(&a).await, 0, 1, Durability::Written).await;
        assert_eq!(b.list(Path::new("/")).await.unwrap(), []);
        let (client, server) = connected(&a, &b).await;
        assert_eq!(client.peer_addr().ip(), b.ip());
        assert_eq!(server.peer_addr().ip(), a.ip());

        let local = b.listen("127.0.0.1:99".parse().unwrap()).unwrap();
        let from_outside = a.connect(SocketAddr::new(b.ip(), 99)).await.err().unwrap();
        assert_eq!(from_outside.kind(), ErrorKind::ConnectionRefused);
        let inside = b.connect(local.local_addr()).await.unwrap();
        assert_eq!(inside.peer_addr(), local.local_addr());
        let nowhere = a
            .connect("10.9.9.9:1".parse().unwrap())
            .await
            .err()
            .unwrap();
        assert_eq!(nowhere.kind(), ErrorKind::HostUnreachable);
    });
}

#[test]
fn the_window_bounds_what_a_sender_gets_rid_of() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        let (client, server) = connected(&a, &b).await;
        let sent = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&sent);
        a.spawn(async move {
            loop {
                client.send(vec![1; 1000]).await.0.unwrap();
                *counted.borrow_mut() += 1000;
            }
        });
        sim.sleep(Duration::from_secs(1)).await;
        let window = SimConfig::default().net_window_bytes;
        assert_eq!(*sent.borrow(), window / 1000 * 1000);
        let mut read = 0;
        while read < 10_000 {
            read += server.recv().await.unwrap().len();
        }
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(*sent.borrow(), (window + read) / 1000 * 1000);
    });
}

#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    let sim = sim(1);
    sim.run(async {
        let (client, server) = connected(&sim.host("a"), &sim.host("b")).await;
        client.send(b"request".to_vec()).await.0.unwrap();
        client.finish_sending();
        client.send(vec![1]).await.0.unwrap_err();
        let mut request = Vec::new();
        loop {
            let chunk = server.recv().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            request.extend_from_slice(&chunk);
        }
        assert_eq!(request, b"request");
        server.send(b"reply".to_vec()).await.0.unwrap();
        drop(server);
        let mut reply = Vec::new();
        while reply.len() < 5 {
            reply.extend_from_slice(&client.recv().await.unwrap());
        }
        assert_eq!(reply, b"reply");
        assert!(client.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_partition_holds_everything_back_and_loses_nothing() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        let (client, server) = connected(&a, &b).await;
        let (_listener, addr) = listening(&b);
        sim.partition("a", "b");
        client.send(vec![1; 100]).await.0.unwrap();
        let received = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&received);
        b.spawn(async move {
            while *counted.borrow() < 100 {
                let chunk = server.recv().await.unwrap();
                *counted.borrow_mut() += chunk.len();
            }
        });
        let unanswered = a.connect(addr).await.err().unwrap();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        assert_eq!(*received.borrow(), 0);
        sim.heal_partition("a", "b");
        a.connect(addr).await.unwrap();
        sim.sleep(Duration::from_millis(5)).await;
        assert_eq!(*received.borrow(), 100);
    });
}

#[test]
fn a_reset_meets_both_ends() {
    let sim = sim(1);
    sim.run(async {
        let (client, server) = connected(&sim.host("a"), &sim.host("b")).await;
        sim.reset_connections("b", "a");
        let ends = [client.recv().await, server.recv().await];
        for end in ends {
            assert_eq!(end.err().unwrap().kind(), ErrorKind::ConnectionReset);
        }
        client.send(vec![1]).await.0.unwrap_err();
    });
}

#[test]
fn a_killed_process_is_hung_up_and_a_dark_host_is_silent() {
    let sim = sim(1);
    sim.run(async {
        let a = sim.host("a");
        let (client, server) = connected(&a, &sim.host("b")).await;
        let addr = client.peer_addr();
        sim.crash("b");
        assert!(client.recv().await.unwrap().is_empty());
        let refused = a.connect(addr).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        drop(server);

        let (client, _server) = connected(&a, &sim.host("b")).await;
        sim.power_cut("b");
        let ends = Rc::new(RefCell::new(Vec::new()));
        let (reader, noted) = (client.clone(), Rc::clone(&ends));
        a.spawn(async move {
            let end = reader.recv().await.map(|chunk| chunk.len());
            noted.borrow_mut().push(end.map_err(|error| error.kind()));
        });
        client.send(vec![1]).await.0.unwrap();
        let unanswered = a.connect(addr).await.err().unwrap();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        assert_eq!(*ends.borrow(), []);
        sim.host("b");
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(*ends.borrow(), [Err(ErrorKind::ConnectionReset)]);
    });
}

#[test]
fn a_failed_accept_is_of_this_accept_only() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        let (listener, addr) = listening(&io);
        sim.fail_accepts("a", 2);
        let client = io.connect(addr).await.unwrap();
        for _ in 0..2 {
            let error = listener.accept().await.err().unwrap();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        let server = listener.accept().await.unwrap();
        server.send(vec![1]).await.0.unwrap();
        assert_eq!(*client.recv().await.unwrap(), [1]);
    });
}

#[test]
fn a_full_backlog_makes_clients_wait() {
    let config = SimConfig {
        net_backlog: 2,
        ..SimConfig::default()
    };
    let sim = Sim::new(1, config);
    sim.run(async {
        let io = sim.host("a");
        let (listener, addr) = listening(&io);
        let connections = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..3 {
            let (task_io, opened) = (io.clone(), Rc::clone(&connections));
            io.spawn(async move {
                let stream = task_io.connect(addr).await;
                opened.borrow_mut().push(stream);
            });
        }
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(connections.borrow().len(), 2);
        let accepted = listener.accept().await.unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(connections.borrow().len(), 3);
        drop((accepted, listener));
        for stream in connections.take() {
            let ended = stream.unwrap().recv().await;
            assert!(ended.is_err() || ended.unwrap().is_empty());
        }
    });
}

#[test]
#[should_panic(expected = "two callers of recv")]
fn two_readers_of_one_stream_are_a_mistake() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        let (client, _server) = connected(&io, &io).await;
        let clone = client.clone();
        io.spawn(async move { drop(clone.recv().await) });
        sim.sleep(Duration::from_millis(1)).await;
        let _ = client.recv().await;
    });
}
