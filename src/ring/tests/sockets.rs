//! Connections on loopback.

use super::*;

#[test]
fn echoes_on_many_connections() {
    on_ring(RingConfig::default(), async |ring| {
        echo_round_trips(&ring, 200, 5, 3000).await;
        echo_round_trips(&ring, 3, 2, 1 << 20).await;
    });
}

#[test]
fn four_buffers_serve_many_connections() {
    let config = RingConfig {
        recv_buffers: 4,
        ..small()
    };
    on_ring(config, async |ring| {
        echo_round_trips(&ring, 60, 3, 50_000).await;
    });
}

#[test]
fn one_buffer_is_enough() {
    let config = RingConfig {
        recv_buffers: 1,
        ..small()
    };
    on_ring(config, async |ring| {
        echo_round_trips(&ring, 5, 2, 50_000).await;
    });
}

#[test]
fn works_beyond_the_direct_descriptors_and_the_queue() {
    let config = RingConfig {
        entries: 4,
        direct_descriptors: 10,
        ..small()
    };
    on_ring(config, async |ring| {
        echo_round_trips(&ring, 100, 2, 1000).await;
    });
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    on_ring(small(), async |ring| {
        let addr = serve_echo(&ring, 1000);
        for i in 0..1000 {
            let stream = ring.connect(addr).await.unwrap();
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
        // `settled` looks at what is left.
    });
}

#[test]
fn ipv6_has_peers_too() {
    on_ring(small(), async |ring| {
        let listener = match ring.listen("[::1]:0".parse().unwrap()) {
            Ok(listener) => listener,
            Err(why) => return println!("skipped: {why}"),
        };
        let stream = ring.connect(listener.local_addr()).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!(stream.peer_addr(), listener.local_addr());
        assert!(accepted.peer_addr().is_ipv6());
        accepted.send(vec![3; 5]).await.0.unwrap();
        assert_eq!(recv_exactly(&stream, 5).await, [3; 5]);
    });
}

#[test]
fn nobody_listens_there() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let addr = listener.local_addr();
        drop(listener);
        settled(&ring).await;
        let error = ring.connect(addr).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    });
}

#[test]
fn a_given_up_recv_loses_nothing() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        begin_and_drop(client.recv()).await;
        let server = listener.accept().await.unwrap();
        begin_and_drop(client.recv()).await;
        server.send(b"first".to_vec()).await.0.unwrap();
        pause(&ring, 2).await;
        server.send(b"second".to_vec()).await.0.unwrap();
        assert_eq!(recv_exactly(&client, 11).await, b"firstsecond");
        // And its buffers outlive the connection.
        server.send(b"third".to_vec()).await.0.unwrap();
        let chunk = client.recv().await.unwrap();
        assert!(chunk.is_lent());
        drop((client, server, listener));
        pause(&ring, 2).await;
        assert_eq!(&*chunk, b"third");
    });
}

#[test]
fn a_given_up_send_ends() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        // More than the sockets hold, and the other end does not read.
        begin_and_drop(client.send(vec![7; 64 << 20])).await;
        pause(&ring, 2).await;
        drop(client);
        while !server.recv().await.unwrap().is_empty() {}
    });
}

#[test]
fn shutdown_ends_both_directions() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let done = Tally::default();
        let (receiver, sender, received, sent) =
            (client.clone(), client.clone(), done.clone(), done.clone());
        ring.spawn("test", async move {
            assert!(receiver.recv().await.unwrap().is_empty());
            assert!(receiver.recv().await.unwrap().is_empty());
            received.add();
        });
        ring.spawn("test", async move {
            let (result, buf) = sender.send(vec![1; 64 << 20]).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(buf.len(), 64 << 20);
            sent.add();
        });
        pause(&ring, 2).await;
        client.shutdown();
        done.reaches(&ring, 2).await;
        while server.recv().await.is_ok_and(|chunk| !chunk.is_empty()) {}
    });
}

/// Sends back whatever comes until the other side ends.
async fn echo(stream: RingStream) {
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

/// Serves until the ring ends, or as long as the flag lives.
fn serve_echo(ring: &Ring, connections: usize) -> SocketAddr {
    let listener = ring.listen(loopback()).unwrap();
    let addr = listener.local_addr();
    let ring = ring.clone();
    ring.clone().spawn("test", async move {
        for _ in 0..connections {
            let stream = listener.accept().await.unwrap();
            ring.spawn("test", echo(stream));
        }
    });
    addr
}

async fn echo_round_trips(ring: &Ring, connections: usize, rounds: usize, len: usize) {
    let addr = serve_echo(ring, connections);
    let done = Tally::default();
    for seed in 0..connections {
        let (ring2, done) = (ring.clone(), done.clone());
        ring.spawn("test", async move {
            let stream = ring2.connect(addr).await.unwrap();
            assert_eq!(stream.peer_addr(), addr);
            for round in 0..rounds {
                let sent = pattern(len, seed + round);
                let (sender, bytes) = (stream.clone(), sent.clone());
                ring2.spawn("test", async move { sender.send(bytes).await.0.unwrap() });
                assert_eq!(recv_exactly(&stream, len).await, sent);
            }
            done.add();
        });
    }
    done.reaches(ring, connections).await;
}
