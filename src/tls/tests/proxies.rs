//! Connections that come through a proxy: whose they are, and what may begin so.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::auth::Source;
use crate::io::{Clock, Listener};
use crate::tls::introductions::{INTRODUCTION_NS, MAX_INTRODUCTIONS};
use crate::tls::proxy_header::MAX_PROXY_HEADER;

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 10911\r\n";
const SOURCE: &str = "192.0.2.9:4711";
const FRAME: &[u8] = b"\0\0\0\x06hello!";

/// Echoes, and lists whose connections it gets. Proxies are at these addresses.
fn start(pair: &Pair, accepts: Accepts, proxies: &str) -> Rc<RefCell<Vec<String>>> {
    let proxies = proxies.split_whitespace().map(Source::parse);
    let security = Security {
        accepts,
        proxies: proxies.map(Option::unwrap).collect(),
        ..Security::default()
    };
    let io = Secured::new(pair.server.clone(), security);
    let peers = Rc::new(RefCell::new(Vec::new()));
    let listener = io.listen_remoting(SocketAddr::from(([0, 0, 0, 0], PORT)));
    let (listener, of_task, of_server) = (listener.unwrap(), peers.clone(), io.clone());
    io.spawn("test", async move {
        while let Ok(stream) = listener.accept().await {
            of_task.borrow_mut().push(stream.peer_addr().to_string());
            of_server.spawn("test", echo_of(stream));
        }
    });
    peers
}

async fn echo_of<S: Stream>(stream: S) {
    while let Ok(chunk) = stream.recv().await {
        if chunk.is_empty() || stream.send(chunk.to_vec()).await.0.is_err() {
            break;
        }
    }
    stream.shutdown();
}

/// What comes back of the last of `pieces`; empty: the connection is closed.
async fn answered(pair: &Pair, pieces: &[&[u8]]) -> Vec<u8> {
    let stream = pair.client.connect(addr()).await.unwrap();
    for piece in pieces {
        if stream.send(piece.to_vec()).await.0.is_err() {
            return Vec::new();
        }
        let next_ns = pair.sim.mono_ns() + 1_000_000;
        pair.client.sleep_until(next_ns).await;
    }
    received(&stream, pieces.last().map_or(0, |last| last.len())).await
}

/// So many bytes, in whatever pieces they come; none if the connection is closed before.
async fn received(stream: &impl Stream, wanted: usize) -> Vec<u8> {
    let mut back = Vec::new();
    while back.len() < wanted {
        match stream.recv().await {
            Ok(chunk) if !chunk.is_empty() => back.extend_from_slice(&chunk),
            _ => return Vec::new(),
        }
    }
    back
}

#[test]
fn a_connection_is_of_whom_the_proxy_says_in_whatever_pieces() {
    let pair = Pair::new();
    pair.sim.run(async {
        let peers = start(&pair, Accepts::Plain, "10.0.0.0/8");
        let in_one = [HEADER, FRAME].concat();
        let bytes: Vec<_> = HEADER.chunks(1).chain([FRAME]).collect();
        for pieces in [&[HEADER, FRAME][..], &bytes] {
            assert_eq!(answered(&pair, pieces).await, FRAME);
            assert_eq!(peers.take(), [SOURCE]);
        }
        // The echo is of what is behind the header.
        let stream = pair.client.connect(addr()).await.unwrap();
        stream.send(in_one).await.0.unwrap();
        assert_eq!(received(&stream, FRAME.len()).await, FRAME);
        assert_eq!(peers.take(), [SOURCE]);
    });
}

#[test]
fn a_connection_of_the_proxy_itself_stays_its_own() {
    let pair = Pair::new();
    pair.sim.run(async {
        let peers = start(&pair, Accepts::Plain, "10.0.0.2");
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
        for pieces in [
            &[FRAME][..],
            &[b"PROXY UNKNOWN\r\n", FRAME],
            &[local, FRAME],
        ] {
            assert_eq!(answered(&pair, pieces).await, FRAME);
            assert!(peers.take()[0].starts_with("10.0.0.2:"));
        }
    });
}

#[test]
fn a_stranger_is_not_believed() {
    let pair = Pair::new();
    pair.sim.run(async {
        let peers = start(&pair, Accepts::Plain, "10.0.0.3 192.168.0.0/16");
        assert!(answered(&pair, &[HEADER, FRAME]).await.is_empty());
        assert!(answered(&pair, &[&HEADER[..1], FRAME]).await.is_empty());
        assert!(peers.take()[0].starts_with("10.0.0.2:"));
        assert_eq!(answered(&pair, &[FRAME]).await, FRAME);
    });
}

#[test]
fn a_header_that_is_wrong_or_comes_twice_ends_the_connection() {
    let pair = Pair::new();
    pair.sim.run(async {
        let peers = start(&pair, Accepts::Plain, "10.0.0.2");
        let too_long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 99]].concat();
        let endless = [b'x'; MAX_PROXY_HEADER];
        for pieces in [
            &[&b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n"[..], FRAME][..],
            &[&too_long, FRAME],
            &[b"PROXY UNKNOWN ", &endless],
        ] {
            assert!(answered(&pair, pieces).await.is_empty());
            assert!(peers.take().is_empty());
        }
        assert!(answered(&pair, &[HEADER, HEADER, FRAME]).await.is_empty());
        assert!(answered(&pair, &[HEADER, b"PR", FRAME]).await.is_empty());
    });
}

#[test]
fn tls_may_follow_the_header() {
    let config = serving(&Authority::new().issue(&["broker"]));
    let pair = Pair::new();
    pair.sim.run(async {
        let peers = start(&pair, Accepts::Tls(config), "10.0.0.2");
        for in_one in [false, true] {
            let mut session = asking(Checks::Nothing).session("broker").unwrap();
            let stream = pair.client.connect(addr()).await.unwrap();
            let mut out = HEADER.to_vec();
            if !in_one {
                let header = std::mem::take(&mut out);
                stream.send(header).await.0.unwrap();
            }
            session.write(FRAME).unwrap();
            let mut back = Vec::new();
            while back.is_empty() {
                session.take_output(&mut out).unwrap();
                if !out.is_empty() {
                    stream.send(std::mem::take(&mut out)).await.0.unwrap();
                }
                let chunk = stream.recv().await.unwrap();
                assert!(!chunk.is_empty());
                session.receive(&chunk, &mut back).unwrap();
            }
            assert_eq!(back, FRAME);
            assert_eq!(peers.take(), [SOURCE]);
        }
        // Plain text is refused there as without a proxy.
        assert!(answered(&pair, &[HEADER, FRAME]).await.is_empty());
    });
}

#[test]
fn a_proxy_that_stops_in_its_header_is_closed_and_hinders_nobody() {
    let pair = Pair::new();
    pair.sim.run(async {
        let peers = start(&pair, Accepts::Plain, "10.0.0.2");
        let mut stopped = Vec::new();
        for nth in 0..MAX_INTRODUCTIONS + 20 {
            let stream = pair.client.connect(addr()).await.unwrap();
            let sent = &HEADER[..nth % HEADER.len()];
            if !sent.is_empty() {
                stream.send(sent.to_vec()).await.0.unwrap();
            }
            stopped.push(stream);
        }
        assert_eq!(answered(&pair, &[HEADER, FRAME]).await, FRAME);
        assert_eq!(peers.take(), [SOURCE]);
        // The oldest at once, the others when their time is over.
        assert!(stopped[0].recv().await.unwrap().is_empty());
        assert!(pair.sim.mono_ns() < INTRODUCTION_NS);
        for stream in &stopped {
            assert!(stream.recv().await.map_or(true, |chunk| chunk.is_empty()));
        }
        assert!(pair.sim.mono_ns() >= INTRODUCTION_NS);
        assert!(peers.take().is_empty());
    });
}
