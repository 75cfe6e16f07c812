//! Peers that stop in the middle of a handshake, dribble, or send what is no TLS.

use proptest::prelude::*;

use super::*;
use crate::tls::handshakes::{HANDSHAKE_NS, MAX_HANDSHAKES};

/// The first bytes that a client sends.
fn client_hello() -> Vec<u8> {
    let mut session = asking(Checks::Nothing).session("broker").unwrap();
    let mut hello = Vec::new();
    session.take_output(&mut hello).unwrap();
    hello
}

fn server_session() -> Session {
    Session::server(serving(&Authority::new().issue(&["broker"]))).unwrap()
}

#[test]
fn a_client_that_stops_is_closed_when_its_time_is_over() {
    let config = serving(&Authority::new().issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        echo(&pair.server(Accepts::Both(config)));
        for sent in [1, 5, 100] {
            let began_ns = pair.sim.mono_ns();
            let stream = pair.client.connect(addr()).await.unwrap();
            stream
                .send(client_hello()[..sent].to_vec())
                .await
                .0
                .unwrap();
            assert!(stream.recv().await.unwrap().is_empty());
            let took_ns = pair.sim.mono_ns() - began_ns;
            assert!((HANDSHAKE_NS..HANDSHAKE_NS + 1_000_000_000).contains(&took_ns));
        }
    });
}

/// A byte now and then does not give it more time.
#[test]
fn a_client_that_dribbles_is_closed_at_the_same_time() {
    let config = serving(&Authority::new().issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        echo(&pair.server(Accepts::Both(config)));
        let stream = pair.client.connect(addr()).await.unwrap();
        let began_ns = pair.sim.mono_ns();
        for byte in client_hello() {
            if stream.send(vec![byte]).await.0.is_err() {
                break;
            }
            let next_ns = pair.sim.mono_ns() + 200_000_000;
            crate::io::Clock::sleep_until(&pair.client, next_ns).await;
        }
        let took_ns = pair.sim.mono_ns() - began_ns;
        assert!(took_ns < HANDSHAKE_NS + 1_000_000_000, "{took_ns}");
    });
}

#[test]
fn more_half_open_ones_than_there_may_be_end_the_oldest_and_keep_nobody_out() {
    let config = serving(&Authority::new().issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        echo(&pair.server(Accepts::Both(config)));
        let (hello, mut stopped) = (client_hello(), Vec::new());
        for _ in 0..MAX_HANDSHAKES + 50 {
            let stream = pair.client.connect(addr()).await.unwrap();
            stream.send(hello[..60].to_vec()).await.0.unwrap();
            stopped.push(stream);
        }
        let client = pair.client(Some(asking(Checks::Nothing)));
        let stream = client.connect_remoting(addr(), "broker").await.unwrap();
        assert_eq!(echoed(&client, &stream, vec![7; 9]).await.unwrap(), [7; 9]);
        let plain = pair.client(None);
        let stream = plain.connect_remoting(addr(), "broker").await.unwrap();
        assert_eq!(echoed(&plain, &stream, vec![0; 9]).await.unwrap(), [0; 9]);
        // The oldest one, long before its time is over.
        assert!(stopped[0].recv().await.unwrap().is_empty());
        assert!(pair.sim.mono_ns() < HANDSHAKE_NS);
    });
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let config = serving(&Authority::new().issue(&["broker"]));
    let mut server = Session::server(config).unwrap();
    let mut client = asking(Checks::Nothing).session("broker").unwrap();
    let (mut of_server, mut of_client) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        pass_bytewise(&mut client, &mut server, &mut of_client);
        pass_bytewise(&mut server, &mut client, &mut of_server);
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    client.write(b"a request").unwrap();
    client.close();
    pass_bytewise(&mut client, &mut server, &mut of_client);
    assert_eq!(of_client, b"a request");
    assert!(server.is_over() && of_server.is_empty());
}

fn pass_bytewise(from: &mut Session, to: &mut Session, plain: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    from.take_output(&mut bytes).unwrap();
    for byte in bytes {
        to.receive(&[byte], plain).unwrap();
    }
}

/// A record that was changed on its way is an error, and nothing of it comes through.
#[test]
fn a_changed_record_is_refused() {
    let config = serving(&Authority::new().issue(&["broker"]));
    let mut server = Session::server(config).unwrap();
    let mut client = asking(Checks::Nothing).session("broker").unwrap();
    let mut plain = Vec::new();
    for _ in 0..3 {
        pass_bytewise(&mut client, &mut server, &mut plain);
        pass_bytewise(&mut server, &mut client, &mut plain);
    }
    client.write(b"a request").unwrap();
    let mut bytes = Vec::new();
    client.take_output(&mut bytes).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(server.receive(&bytes, &mut plain).is_err());
    assert!(plain.is_empty() && server.has_output(), "an alert");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes of anybody, in pieces: an error at most, and no plain text.
    #[test]
    fn what_is_no_tls_is_an_error_at_most(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..8),
        begins_well: bool,
    ) {
        let mut session = server_session();
        let mut plain = Vec::new();
        if begins_well {
            session.receive(&[0x16, 3, 1], &mut plain).unwrap();
        }
        for piece in pieces {
            if session.receive(&piece, &mut plain).is_err() {
                break;
            }
        }
        prop_assert!(session.is_handshaking() && plain.is_empty());
    }

    /// A hello with a few bytes changed, or cut.
    #[test]
    fn a_damaged_hello_is_an_error_at_most(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
    ) {
        let (mut session, mut hello) = (server_session(), client_hello());
        for (at, byte) in changes {
            let at = at.index(hello.len());
            hello[at] = byte;
        }
        hello.truncate(1 + cut.index(hello.len()));
        let mut plain = Vec::new();
        let _ = session.receive(&hello, &mut plain);
        prop_assert!(session.is_handshaking() && plain.is_empty());
    }
}

/// Memory that a handshake takes has an end, whatever length it states.
#[test]
fn an_endless_message_of_a_handshake_is_refused() {
    let mut session = server_session();
    let mut plain = Vec::new();
    // A client's hello of almost 16 MiB, in records of 16 KiB.
    let mut record = vec![0x16, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    let mut taken = 0;
    while session.receive(&record, &mut plain).is_ok() {
        taken += record.len();
        assert!(taken < 128 << 10, "{taken} bytes and no end");
        record[5..9].fill(0);
    }
    assert!(plain.is_empty());
}
