//! The simulation held to its own promises.

mod disk;
mod net;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use self::disk::{block, file_of, read};
use self::net::connected;
use super::*;
use crate::io::{Clock, Durability, File, Net, Spawn, Stream};
use crate::mem::BLOCK_BYTES;

const MS: u64 = 1_000_000;

fn sim(seed: u64) -> Sim {
    Sim::new(seed, SimConfig::default())
}

#[test]
fn conforms_to_the_seam() {
    for seed in 0..20 {
        let sim = sim(seed);
        let io = sim.host("a");
        sim.run(conformance::all(&io, Path::new("/d")));
        sim.run(the_clocks_go_on_together(&io));
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
            a.spawn("test", async move {
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

async fn the_clocks_go_on_together(io: &impl Clock) {
    let before = io.now();
    io.sleep_until(before.mono_ns + 80_000_000).await;
    assert!(io.now().unix_ms - before.unix_ms >= 79);
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
                io.spawn("test", async move { order.borrow_mut().push(n) });
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
        old.spawn("test", async move {
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
        old.spawn("test", async { panic!("nobody runs this") });
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
    io.spawn("test", async move {
        steps.borrow_mut().push("before");
        hand.upgrade().unwrap().crash("a");
        task_io.sleep_until(task_io.now().mono_ns + MS).await;
        steps.borrow_mut().push("after");
    });
    sim.run(sim.sleep(Duration::from_secs(1)));
    assert_eq!(*reached.borrow(), ["before"]);
    assert_eq!(Rc::strong_count(&reached), 1);
}
