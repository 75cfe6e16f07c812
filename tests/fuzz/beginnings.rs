//! What a connection begins with: the header of a proxy, a record of TLS, or neither, in any pieces.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bolero::TypeGenerator;
use ringmq::auth::Source;
use ringmq::io::{Clock, Listener, Net, Spawn, Stream};
use ringmq::sim::{Sim, SimConfig, SimIo};
use ringmq::tls::proxy_header::{Beginning, MAX_PROXY_HEADER};
use ringmq::tls::{
    Accepts, Checks, ClientCertificate, ClientFiles, PemFile, Protocols, Secured, Security,
    ServerFiles, Session, connector, server_config,
};
use rustls::ServerConfig;

const PORT: u16 = 10911;
const FRAME: &[u8] = b"\0\0\0\x06hello!";
const TEXT: &[u8] = b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 10911\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x12\x67\x2a\x9f";

/// What has been decided of a header stays, and it is decided before much has come.
pub fn header(bytes: &[u8]) {
    let whole = Beginning::of(bytes);
    let mut prefixes = (0..=bytes.len()).map(|len| Beginning::of(&bytes[..len]));
    let decided = prefixes.find(|now| *now != Ok(Beginning::Incomplete));
    assert_eq!(decided.unwrap_or(Ok(Beginning::Incomplete)), whole);
    let is_other = whole == Ok(Beginning::Other);
    assert_eq!(Beginning::is_header(bytes), !is_other && !bytes.is_empty());
    match whole {
        Ok(Beginning::Header { len, .. }) => assert!(len <= bytes.len() && len <= MAX_PROXY_HEADER),
        Ok(Beginning::Incomplete) => assert!(bytes.len() < MAX_PROXY_HEADER),
        Ok(Beginning::Other) | Err(_) => {}
    }
}

/// The first byte says to whom the others are sent, the second in what pieces: one of three servers, or our own client. None gets through the handshake, and nobody receives anything.
pub fn handshake(bytes: &[u8]) {
    let [to, size, rest @ ..] = bytes else { return };
    let mut session = match to % 4 {
        3 => client(),
        nth => Session::server(servers()[usize::from(nth)].clone()).expect("a session"),
    };
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    for piece in rest.chunks(usize::from(*size) + 1) {
        let received = session.receive(piece, &mut plain);
        session.take_output(&mut out).expect("it goes to memory");
        if received.is_err() {
            break;
        }
    }
    assert!(session.is_handshaking() && plain.is_empty());
    assert!(
        out.len() < 64 << 10,
        "{} bytes for {}",
        out.len(),
        rest.len()
    );
}

/// A connection to a port.
#[derive(Debug, TypeGenerator)]
pub struct Opening {
    takes: u8,
    is_from_proxy: bool,
    pieces: Vec<Piece>,
}

#[derive(Debug, TypeGenerator)]
enum Piece {
    Text,
    Binary,
    Frame,
    Hello,
    /// Another piece's first bytes, with one of them changed.
    Part(u8, u16, u8, u8),
    Bytes(Vec<u8>),
    Pause(u8),
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text => TEXT.to_vec(),
            Self::Binary => BINARY.to_vec(),
            Self::Frame => FRAME.to_vec(),
            Self::Hello => hello().to_vec(),
            Self::Part(of, len, at, byte) => {
                let of = [TEXT, BINARY, FRAME, hello()][usize::from(of % 4)];
                let mut part = of[..usize::from(*len) % (of.len() + 1)].to_vec();
                let at = usize::from(*at) % part.len().max(1);
                if let Some(place) = part.get_mut(at) {
                    *place ^= byte;
                }
                part
            }
            Self::Bytes(bytes) => bytes.clone(),
            Self::Pause(_) => Vec::new(),
        }
    }
}

/// Whatever comes, the next client is served, and nobody but a proxy says whose a connection is.
pub fn open(opening: &Opening) {
    let sim = Sim::new(7, SimConfig::default());
    let (server, client) = (sim.host("server"), sim.host("client"));
    sim.run(async {
        let peers = serve(&server, opening);
        let stream = client.connect(addr()).await.expect("the port listens");
        for piece in opening.pieces.iter().take(16) {
            if let Piece::Pause(ms) = piece {
                pause(&client, u64::from(*ms)).await;
            } else if stream.send(piece.bytes()).await.0.is_err() {
                break;
            }
        }
        pause(&client, 5).await;
        let own = IpAddr::from([10, 0, 0, 2]);
        let is_own = |peer: &SocketAddr| peer.ip() == own;
        assert!(opening.is_from_proxy || peers.borrow().iter().all(is_own));
        let next = client.connect(addr()).await.expect("the port listens");
        let begins: &[&[u8]] = match opening.takes % 3 {
            0 | 1 => &[FRAME],
            _ => &[hello()],
        };
        for bytes in begins {
            next.send(bytes.to_vec()).await.0.expect("it is taken");
        }
        let answer = next.recv().await.expect("an answer");
        assert!(!answer.is_empty(), "the next client is not served");
    });
}

/// Echoes; the peers of its connections.
fn serve(io: &SimIo, opening: &Opening) -> Rc<RefCell<Vec<SocketAddr>>> {
    let proxies = match opening.is_from_proxy {
        true => "10.0.0.0/8",
        false => "192.0.2.0/24",
    };
    let config = servers()[0].clone();
    let security = Security {
        accepts: match opening.takes % 3 {
            0 => Accepts::Plain,
            1 => Accepts::Both(config),
            _ => Accepts::Tls(config),
        },
        proxies: Source::parse(proxies).into_iter().collect(),
        ..Security::default()
    };
    let io = Secured::new(io.clone(), security);
    let peers: Rc<RefCell<Vec<SocketAddr>>> = Rc::default();
    let listener = io.listen_remoting(SocketAddr::from(([0, 0, 0, 0], PORT)));
    let (listener, of_task, of_server) = (listener.expect("a port"), peers.clone(), io.clone());
    io.spawn("test", async move {
        while let Ok(stream) = listener.accept().await {
            of_task.borrow_mut().push(stream.peer_addr());
            of_server.spawn("test", async move {
                while let Ok(chunk) = stream.recv().await {
                    if chunk.is_empty() || stream.send(chunk.to_vec()).await.0.is_err() {
                        break;
                    }
                }
                stream.shutdown();
            });
        }
    });
    peers
}

fn addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], PORT))
}

async fn pause(io: &SimIo, ms: u64) {
    io.sleep_until(io.now().mono_ns + ms * 1_000_000).await;
}

/// What our own client begins with.
fn hello() -> &'static [u8] {
    static HELLO: OnceLock<Vec<u8>> = OnceLock::new();
    HELLO.get_or_init(|| {
        let mut out = Vec::new();
        client().take_output(&mut out).expect("it goes to memory");
        out
    })
}

fn client() -> Session {
    let files = ClientFiles {
        checks: Checks::SignedForHost(pem(identity().0.clone())),
        ..ClientFiles::default()
    };
    let connector = connector(&files, &Protocols::default()).expect("a client");
    connector.session("localhost").expect("a session")
}

/// That ask for no certificate, for one that may be absent, and for one.
fn servers() -> &'static [Arc<ServerConfig>; 3] {
    static SERVERS: OnceLock<[Arc<ServerConfig>; 3]> = OnceLock::new();
    SERVERS.get_or_init(|| {
        use ClientCertificate::{None, Optional, Required};
        [None, Optional, Required].map(|clients| {
            let (certificate, key) = identity().clone();
            let files = ServerFiles {
                trusted: Some(pem(certificate.clone())),
                certificate: pem(certificate),
                key: pem(key),
                ..ServerFiles::default()
            };
            server_config(&files, clients, &Protocols::default()).expect("a server")
        })
    })
}

/// A certificate and its key.
fn identity() -> &'static (String, String) {
    static IDENTITY: OnceLock<(String, String)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let names = vec![String::from("localhost")];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

fn pem(text: String) -> PemFile {
    PemFile {
        path: String::from("a file"),
        text: text.into_bytes().into(),
    }
}
