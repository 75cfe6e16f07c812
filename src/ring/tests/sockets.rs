//! Connections on loopback.

use super::*;
use crate::ring::linux::tests::echo_round_trips;

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
fn a_lent_buffer_outlives_its_connection() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        server.send(b"lent".to_vec()).await.0.unwrap();
        let chunk = client.recv().await.unwrap();
        assert!(chunk.is_lent());
        drop((client, server, listener));
        pause(&ring, 2).await;
        assert_eq!(&*chunk, b"lent");
    });
}
