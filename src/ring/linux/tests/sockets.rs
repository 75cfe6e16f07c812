//! Connections on loopback.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::{Tally, begin_and_drop, loopback, pattern, pause, recv_exactly};
use crate::io::{Listener, Stream};
use crate::ring::linux::{Machine, PIECE_OF_LARGE};

pub async fn echoes_on_many_connections<M: Machine>(machine: M) {
    echo_round_trips(&machine, 200, 5, 3000).await;
    echo_round_trips(&machine, 3, 2, 1 << 20).await;
}

pub async fn a_thousand_connections_leave_nothing_behind<M: Machine>(machine: M) {
    let addr = serve_echo(&machine, 1000);
    for i in 0..1000 {
        let stream = machine.connect(addr).await.unwrap();
        if i % 3 == 0 {
            stream.send(vec![1; 10]).await.0.unwrap();
        }
        if i % 6 == 0 {
            assert_eq!(recv_exactly(&stream, 10).await, [1; 10]);
        }
        if i % 5 == 0 {
            begin_and_drop(stream.recv()).await;
        }
    }
    // Whoever runs it looks at what is left.
}

pub async fn ipv6_has_peers_too<M: Machine>(machine: M) {
    let listener = match machine.listen("[::1]:0".parse().unwrap()) {
        Ok(listener) => listener,
        Err(why) => return println!("skipped: {why}"),
    };
    let stream = machine.connect(listener.local_addr()).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    assert_eq!(stream.peer_addr(), listener.local_addr());
    assert!(accepted.peer_addr().is_ipv6());
    accepted.send(vec![3; 5]).await.0.unwrap();
    assert_eq!(recv_exactly(&stream, 5).await, [3; 5]);
}

pub async fn a_given_up_recv_loses_nothing<M: Machine>(machine: M) {
    let listener = machine.listen(loopback()).unwrap();
    let client = machine.connect(listener.local_addr()).await.unwrap();
    begin_and_drop(client.recv()).await;
    let server = listener.accept().await.unwrap();
    begin_and_drop(client.recv()).await;
    server.send(b"first".to_vec()).await.0.unwrap();
    pause(&machine, 2).await;
    server.send(b"second".to_vec()).await.0.unwrap();
    assert_eq!(recv_exactly(&client, 11).await, b"firstsecond");
    // And its buffers outlive the connection.
    server.send(b"third".to_vec()).await.0.unwrap();
    let chunk = client.recv().await.unwrap();
    drop((client, server, listener));
    pause(&machine, 2).await;
    assert_eq!(&*chunk, b"third");
}

pub async fn a_given_up_send_ends<M: Machine>(machine: M) {
    let listener = machine.listen(loopback()).unwrap();
    let client = machine.connect(listener.local_addr()).await.unwrap();
    let server = listener.accept().await.unwrap();
    // More than the sockets hold, and the other end does not read.
    begin_and_drop(client.send(vec![7; 64 << 20])).await;
    pause(&machine, 2).await;
    drop(client);
    while !server.recv().await.unwrap().is_empty() {}
}

pub async fn shutdown_ends_both_directions<M: Machine>(machine: M) {
    let listener = machine.listen(loopback()).unwrap();
    let client = machine.connect(listener.local_addr()).await.unwrap();
    let server = listener.accept().await.unwrap();
    let done = Tally::default();
    let (receiver, sender, received, sent) =
        (client.clone(), client.clone(), done.clone(), done.clone());
    machine.spawn("test", async move {
        assert!(receiver.recv().await.unwrap().is_empty());
        assert!(receiver.recv().await.unwrap().is_empty());
        received.add();
    });
    machine.spawn("test", async move {
        let (result, buf) = sender.send(vec![1; 64 << 20]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(buf.len(), 64 << 20);
        sent.add();
    });
    pause(&machine, 2).await;
    client.shutdown();
    done.reaches(&machine, 2).await;
    while server.recv().await.is_ok_and(|chunk| !chunk.is_empty()) {}
}

pub async fn a_large_reply_is_sent_in_pieces<M: Machine>(machine: M) {
    const PIECES: usize = 80;
    let listener = machine.listen(loopback()).unwrap();
    let sender = machine.connect(listener.local_addr()).await.unwrap();
    let reader = listener.accept().await.unwrap();
    let bytes = pattern(PIECES * PIECE_OF_LARGE, 0);
    let sent = bytes.clone();
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    machine.spawn("test", async move {
        let mut sending = std::pin::pin!(sender.send(sent));
        let (result, _) = poll_fn(|context| {
            counted.set(counted.get() + 1);
            sending.as_mut().poll(context)
        })
        .await;
        result.unwrap();
    });
    assert!(recv_exactly(&reader, bytes.len()).await == bytes);
    while Rc::strong_count(&polls) > 1 {
        pause(&machine, 1).await;
    }
    assert!(polls.get() > PIECES, "{} polls", polls.get());
}

/// Receives of both kinds, in any order: no byte is lost or comes twice, and the end is the end for both.
pub async fn a_stream_is_received_in_chunks_and_into_a_buffer<M: Machine>(machine: M) {
    let listener = machine.listen(loopback()).unwrap();
    let sender = machine.connect(listener.local_addr()).await.unwrap();
    let reader = listener.accept().await.unwrap();
    let bytes = pattern(8 << 20, 0);
    let sent = bytes.clone();
    machine.spawn("test", async move {
        let (result, _) = sender.send(sent).await;
        result.unwrap();
    });
    let (mut received, mut buf) = (Vec::new(), vec![0; 100_000]);
    for round in 0.. {
        let before = received.len();
        if round % 7 < 3 {
            received.extend_from_slice(&reader.recv().await.unwrap());
        } else {
            let (len, back) = reader.recv_into(buf).await;
            buf = back;
            received.extend_from_slice(&buf[..len.unwrap()]);
        }
        if received.len() == before {
            break;
        }
    }
    assert!(received == bytes);
    assert!(reader.recv().await.unwrap().is_empty());
    assert_eq!(reader.recv_into(buf).await.0.unwrap(), 0);
}

/// Sends back whatever comes until the other side ends.
async fn echo<S: Stream>(stream: S) {
    loop {
        let chunk = match stream.recv().await {
            Ok(chunk) if !chunk.is_empty() => chunk.to_vec(),
            _ => return,
        };
        if stream.send(chunk).await.0.is_err() {
            return;
        }
    }
}

/// Serves until the reactor ends, or as long as the flag lives.
fn serve_echo<M: Machine>(machine: &M, connections: usize) -> SocketAddr {
    let listener = machine.listen(loopback()).unwrap();
    let addr = listener.local_addr();
    let machine = machine.clone();
    machine.clone().spawn("test", async move {
        for _ in 0..connections {
            let stream = listener.accept().await.unwrap();
            machine.spawn("test", echo(stream));
        }
    });
    addr
}

pub async fn echo_round_trips<M: Machine>(
    machine: &M,
    connections: usize,
    rounds: usize,
    len: usize,
) {
    let addr = serve_echo(machine, connections);
    let done = Tally::default();
    for seed in 0..connections {
        let (machine2, done) = (machine.clone(), done.clone());
        machine.spawn("test", async move {
            let stream = machine2.connect(addr).await.unwrap();
            assert_eq!(stream.peer_addr(), addr);
            for round in 0..rounds {
                let sent = pattern(len, seed + round);
                let (sender, bytes) = (stream.clone(), sent.clone());
                machine2.spawn("test", async move { sender.send(bytes).await.0.unwrap() });
                assert_eq!(recv_exactly(&stream, len).await, sent);
            }
            done.add();
        });
    }
    done.reaches(machine, connections).await;
}
