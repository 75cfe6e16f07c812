//! Connections.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;

use super::{join, poll_once, sleep_ms};
use crate::io::{Io, Listener, Stream};

pub async fn bytes_echo<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let port = client.peer_addr().port();
    assert_ne!(port, 0);
    assert_ne!(server.peer_addr().port(), port);
    io.spawn("test", echo(server));
    let mut sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    for len in [0, 1, 100, 300_000] {
        sent.truncate(len.max(1));
        sent.resize(len, 7);
        let expected = sent.clone();
        let sending = async { client.send(std::mem::take(&mut sent)).await };
        let (received, (result, buf)) = join(recv_exactly(&client, len), sending).await;
        result.unwrap();
        assert_eq!(buf, expected, "the same buffer comes back");
        assert!(received == expected, "{len} bytes came back changed");
        sent = buf;
    }
}

pub async fn a_slow_reader_holds_its_sender<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let len = 32 << 20;
    let mut sending = pin!(client.send(vec![5; len]));
    for _ in 0..20 {
        assert!(
            poll_once(&mut sending).await.is_none(),
            "no window is that large"
        );
        sleep_ms(io, 1).await;
    }
    let (received, (result, _)) = join(recv_exactly(&server, len), sending).await;
    result.unwrap();
    assert!(received.iter().all(|&b| b == 5));
}

pub async fn a_dropped_recv_loses_nothing<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let sent: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    let copy = sent.clone();
    io.spawn("test", async move {
        for piece in copy.chunks(1000) {
            client.send(piece.to_vec()).await.0.unwrap();
        }
        // Not closed before everything was read: it waits for the end from the other side.
        assert!(client.recv().await.unwrap().is_empty());
    });
    let mut received = Vec::new();
    while received.len() < sent.len() {
        match poll_once(server.recv()).await {
            Some(chunk) => received.extend_from_slice(&chunk.unwrap()),
            None => sleep_ms(io, 1).await,
        }
    }
    assert!(received == sent);
    server.shutdown();
}

pub async fn shutdown_ends_both_directions<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let handle = client.clone();
    let stop = async {
        sleep_ms(io, 5).await;
        handle.shutdown();
    };
    let (end, ()) = join(client.recv(), stop).await;
    assert!(end.unwrap().is_empty(), "a pending recv returns the end");
    assert!(
        server.recv().await.unwrap().is_empty(),
        "so does the peer's"
    );
    let (refused, buf) = client.send(vec![1]).await;
    refused.unwrap_err();
    assert_eq!(buf, [1]);

    let (client, _server) = connected(io).await;
    let handle = client.clone();
    let stop = async {
        sleep_ms(io, 5).await;
        handle.shutdown();
    };
    let ((stopped, _), ()) = join(client.send(vec![1; 32 << 20]), stop).await;
    stopped.unwrap_err();
}

pub async fn the_last_handle_closes<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let clone = client.clone();
    drop(client);
    clone.send(b"still open".to_vec()).await.0.unwrap();
    drop(clone);
    assert_eq!(recv_exactly(&server, 10).await, b"still open");
    assert!(server.recv().await.unwrap().is_empty());
    // The first send after the peer has closed may succeed; it provokes the reset that a later one meets.
    while server.send(vec![1]).await.0.is_ok() {
        sleep_ms(io, 1).await;
    }
}

pub async fn nobody_listening_refuses<I: Io>(io: &I) {
    let listener = io.listen(ANY_PORT).unwrap();
    let addr = listener.local_addr();
    assert_ne!(addr.port(), 0);
    let taken = io.listen(addr).err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    drop(listener);
    sleep_ms(io, 5).await;
    let refused = io.connect(addr).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Both ends of a new connection: the connecting one, the accepting one.
pub async fn connected<I: Io>(io: &I) -> (I::Stream, I::Stream) {
    let listener = io.listen(ANY_PORT).unwrap();
    let (client, server) = join(io.connect(listener.local_addr()), listener.accept()).await;
    (client.unwrap(), server.unwrap())
}

async fn echo<S: Stream>(stream: S) {
    loop {
        let chunk = stream.recv().await.unwrap();
        if chunk.is_empty() {
            return;
        }
        stream.send(chunk.to_vec()).await.0.unwrap();
    }
}

async fn recv_exactly<S: Stream>(stream: &S, len: usize) -> Vec<u8> {
    let mut received = Vec::with_capacity(len);
    while received.len() < len {
        let chunk = stream.recv().await.unwrap();
        assert!(!chunk.is_empty(), "ended after {} of {len}", received.len());
        received.extend_from_slice(&chunk);
    }
    assert_eq!(received.len(), len);
    received
}
