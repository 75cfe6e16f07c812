//! Protects the memory of the built binary from its clients: those that do not read, that do not end what they begin, that
//! ask without end. It stays below what the configuration says, and others are served. (`tests/sim/overload.rs` has the times.)

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use crate::common::client::{Client, pull_from, send_to};
use crate::common::{Broker, Options, wait_until};
use ringmq::wire::codes::request;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

const LOG_BUFFER: u64 = 16 * MIB;
const CONNECTION_MEMORY: u64 = 64 * MIB;

/// Code, stacks, the kernel's own of the ring, blocks of cold reads, and what is outside of the limits: 16 KiB and the
/// receive buffers for each connection.
const AROUND: u64 = 64 * MIB;

fn start() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "mappedFileSizeCommitLog=33554432\nlogBufferBytes={LOG_BUFFER}\nconsumeQueueMemoryBytes=16777216\n\
         connectionMemoryBytes={CONNECTION_MEMORY}\n"
    );
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    (folder, broker)
}

fn check_memory(broker: &Broker, before: u64) {
    let (peak, limit) = (
        broker.peak_rss_bytes(),
        CONNECTION_MEMORY + LOG_BUFFER + AROUND,
    );
    println!("{} MiB, {} at the start", peak / MIB, before / MIB);
    assert!(
        peak < before + limit,
        "{} MiB, {} before, limit {} more",
        peak / MIB,
        before / MIB,
        limit / MIB
    );
}

#[test]
fn replies_that_nobody_reads_are_bounded() {
    const DEAF: usize = 150;
    const PULLS: usize = 64;
    let (_folder, broker) = start();
    let mut client = Client::connect(broker.addr());
    for n in 0..400 {
        client
            .send(&send_to("Large", 0), &vec![n as u8; 100 << 10])
            .ok();
    }
    let before = broker.peak_rss_bytes();
    // 40 MiB each, of the log buffer and of the disk.
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut client = Client::connect(broker.addr());
        for n in 0..PULLS {
            let pull = pull_from("Large", 0, if n % 2 == 0 { 390 } else { n as i64 });
            client.post(request::PULL_MESSAGE, &pull.ext(), &[]);
        }
        deaf.push(client);
    }
    for offset in 0..50 {
        let found = client
            .pull(&pull_from("Large", 0, offset * 8))
            .ok()
            .messages();
        assert!(!found.is_empty());
        client.send(&send_to("Small", 0), b"small").ok();
    }
    check_memory(&broker, before);
}

#[test]
fn requests_that_do_not_come_whole_are_bounded() {
    const HALVES: usize = 100;
    let (_folder, broker) = start();
    let mut client = Client::connect(broker.addr());
    let body = vec![7; 4_000_000];
    client.send(&send_to("Large", 0), &body[..1 << 20]).ok();
    let before = broker.peak_rss_bytes();
    let frame = client.encode(
        request::SEND_MESSAGE_V2,
        0,
        &send_to("Large", 0).ext(),
        &body,
    );
    let mut halves: Vec<(TcpStream, usize)> = (0..HALVES)
        .map(|_| {
            let stream = TcpStream::connect(broker.addr()).expect("it listens");
            stream.set_nonblocking(true).expect("it can be");
            (stream, 0)
        })
        .collect();
    // As much as the broker takes of each, but the end.
    let end = frame.len() - 1;
    for _ in 0..20 {
        for (stream, sent) in &mut halves {
            while *sent < end {
                match stream.write(&frame[*sent..end]) {
                    Ok(len) => *sent += len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // Closed, as others wait.
                    Err(_) => *sent = end,
                }
            }
        }
        client.send(&send_to("Small", 0), b"small").ok();
    }
    assert!(halves.iter().map(|(_, sent)| *sent as u64).sum::<u64>() > 2 * CONNECTION_MEMORY);
    client.send(&send_to("Large", 0), &body[..1 << 20]).ok();
    check_memory(&broker, before);
}

/// Half a million sends and as many questions, all before the first answer is read.
#[test]
fn a_million_queued_requests_are_bounded_and_answered() {
    const CONNECTIONS: usize = 50;
    let requests = if cfg!(debug_assertions) {
        200_000
    } else {
        1_000_000
    } / CONNECTIONS;
    let (_folder, broker) = start();
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("Flood", 0), b"first").ok();
    let before = broker.peak_rss_bytes();
    let floods: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut flood = Client::connect(broker.addr());
            let send = flood.encode(
                request::SEND_MESSAGE_V2,
                0,
                &send_to("Flood", 0).ext(),
                &[7; 100],
            );
            let queue = ringmq::wire::offset::QueueRequest {
                topic: "Flood",
                queue_id: 0,
            };
            let question = flood.encode(request::GET_MAX_OFFSET, 0, &queue.ext(), &[]);
            let mut stream = flood.wire.0.try_clone().expect("a descriptor");
            let writer = thread::spawn(move || {
                let both = [send, question].concat().repeat(100);
                for _ in 0..requests / 200 {
                    stream.write_all(&both).expect("the broker reads on");
                }
            });
            (flood, writer)
        })
        .collect();
    // Another client is answered while they wait.
    for _ in 0..20 {
        client.send(&send_to("Small", 0), b"small").ok();
    }
    for (mut flood, writer) in floods {
        for n in 0..requests / 200 * 200 {
            let reply = flood.receive().expect("each is answered");
            assert!(reply.code == 0, "answer {n}: {reply:?}");
        }
        writer.join().expect("it has written all");
    }
    let sent = (requests / 200 * 100 * CONNECTIONS + 1) as u64;
    wait_until("all of them", || client.max_offset("Flood", 0) == sent);
    check_memory(&broker, before);
}

/// While the process may open no more files the log gets no next one. Sends wait for it or are refused, and nothing fails for good.
#[test]
fn a_lack_of_descriptors_ends_when_there_are_some() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), &Options::small());
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("A", 0), b"first").ok();
    may_open(&broker, 3);
    let body = vec![7; 100 << 10];
    for _ in 0..220 {
        client.post(request::SEND_MESSAGE_V2, &send_to("A", 0).ext(), &body);
    }
    wait_until("the log lacks its next file", || {
        broker
            .log()
            .contains("the write is repeated until it succeeds")
    });
    may_open(&broker, 1024);
    for _ in 0..220 {
        client.receive().expect("an answer");
    }
    wait_until("sends are taken", || {
        client.send(&send_to("A", 0), b"last").code == 0
    });
    assert!(broker.terminate().success());
}

/// Sets how many descriptors the broker may have.
fn may_open(broker: &Broker, files: u32) {
    let (pid, limit) = (broker.pid().to_string(), format!("--nofile={files}:"));
    let set = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(set.expect("prlimit, of util-linux").success());
}
