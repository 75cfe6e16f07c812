//! What a port takes, and what goes over its connections.

use super::*;

const HELLO: &[u8] = b"\0\0\0\x06hello!";

#[test]
fn a_port_takes_what_its_mode_says() {
    let authority = Authority::new();
    let config = serving(&authority.issue(&["broker"]));
    for (accepts, plain, tls) in [
        (Accepts::Plain, true, false),
        (Accepts::Both(config.clone()), true, true),
        (Accepts::Tls(config), false, true),
    ] {
        let pair = Pair::new();
        pair.sim.run(async {
            echo(&pair.server(accepts.clone()));
            for (is_taken, connects) in [(plain, None), (tls, Some(asking(Checks::Nothing)))] {
                let client = pair.client(connects);
                let answered = async {
                    let stream = client.connect_remoting(addr(), "broker").await?;
                    echoed(&client, &stream, HELLO.to_vec()).await
                };
                let answered = answered.await;
                assert_eq!(answered.is_ok(), is_taken, "{answered:?}");
                assert!(!is_taken || answered.unwrap() == HELLO);
            }
        });
    }
}

/// The port for replicas, say, whatever the mode.
#[test]
fn a_port_that_is_not_for_the_remoting_protocol_is_plain() {
    let authority = Authority::new();
    let config = serving(&authority.issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        let server = pair.server(Accepts::Tls(config));
        let listener = server
            .listen(SocketAddr::from(([0, 0, 0, 0], PORT)))
            .unwrap();
        let client = pair.client(Some(asking(Checks::Nothing)));
        let stream = client.connect(addr()).await.unwrap();
        let accepted = crate::io::Listener::accept(&listener).await.unwrap();
        stream.send(vec![0x16, 3, 1]).await.0.unwrap();
        let mut came = Vec::new();
        while came.len() < 3 {
            came.extend_from_slice(&accepted.recv().await.unwrap());
        }
        assert_eq!(came, [0x16, 3, 1]);
    });
}

#[test]
fn much_goes_over_it_unchanged_in_both_directions_at_once() {
    let authority = Authority::new();
    let config = serving(&authority.issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        echo(&pair.server(Accepts::Both(config)));
        for connects in [None, Some(asking(Checks::Nothing))] {
            let is_tls = connects.is_some();
            let client = pair.client(connects);
            let stream = client.connect_remoting(addr(), "broker").await.unwrap();
            let copied = [9, 200_000].map(|len| stream.copied(len));
            assert_eq!(copied, if is_tls { [9, 128 << 10] } else { [0, 0] });
            for len in [1, 100, 16 << 10, (16 << 10) + 1, 3 << 20, 7] {
                let bytes = pattern(len);
                let back = echoed(&client, &stream, bytes.clone()).await.unwrap();
                assert!(back == bytes, "{len} bytes");
            }
        }
    });
}

#[test]
fn a_buffer_of_the_callers_is_filled_as_far_as_it_goes() {
    let authority = Authority::new();
    let config = serving(&authority.issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        echo(&pair.server(Accepts::Both(config)));
        for connects in [None, Some(asking(Checks::Nothing))] {
            let client = pair.client(connects);
            let stream = client.connect_remoting(addr(), "broker").await.unwrap();
            let bytes = pattern(100_000);
            let sending = stream.clone();
            let to_send = bytes.clone();
            client.spawn("test", async move {
                let _ = sending.send(to_send).await;
            });
            let (mut back, mut buf) = (Vec::new(), vec![0; 64 << 10]);
            while back.len() < bytes.len() {
                let (read, filled) = stream.recv_into(buf).await;
                buf = filled;
                back.extend_from_slice(&buf[..read.unwrap()]);
                // The next one by a receive with a chunk.
                if back.len() < bytes.len() {
                    back.extend_from_slice(&stream.recv().await.unwrap());
                }
            }
            assert!(back == bytes);
        }
    });
}

/// New files: connections that are open stay as they are, the next one gets the new certificate.
#[test]
fn another_certificate_counts_for_the_next_connection() {
    let authorities = [Authority::new(), Authority::new()];
    let configs = authorities
        .each_ref()
        .map(|authority| serving(&authority.issue(&["broker"])));
    let pair = Pair::new();
    pair.sim.run(async {
        let [first, second] = configs;
        let server = pair.server(Accepts::Tls(first));
        echo(&server);
        let clients = authorities.map(|authority| {
            let checks = Checks::SignedForHost(authority.certificate);
            pair.client(Some(asking(checks)))
        });
        let [old, new] = &clients;
        let open = old.connect_remoting(addr(), "broker").await.unwrap();
        assert!(new.connect_remoting(addr(), "broker").await.is_err());
        server.set(Security {
            accepts: Accepts::Tls(second),
            ..Security::default()
        });
        let back = echoed(old, &open, HELLO.to_vec()).await.unwrap();
        assert_eq!(back, HELLO);
        let next = new.connect_remoting(addr(), "broker").await.unwrap();
        assert_eq!(echoed(new, &next, HELLO.to_vec()).await.unwrap(), HELLO);
        assert!(old.connect_remoting(addr(), "broker").await.is_err());
    });
}
