//! Peers that begin and do not go on: handshakes that stop, and beginnings that come byte by byte. What the broker closes comes again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ringmq::tls::{Checks, ClientFiles, Protocols, connector};

use crate::caller::Result;

/// Between two bytes of a connection.
const EVERY: Duration = Duration::from_secs(1);

/// The length of the largest frame, and of its header.
const FRAME: [u8; 8] = [0x00, 0xff, 0xff, 0xf0, 0, 1, 0, 0];

const PROXY: &[u8] = b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 10911\r\n";

struct Peer {
    stream: TcpStream,
    /// What it has left to say.
    rest: Vec<u8>,
}

impl Peer {
    fn connect(broker: SocketAddr, says: &[u8]) -> Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            rest: says.to_vec(),
        })
    }

    fn say(&mut self, bytes: usize) {
        let bytes = bytes.min(self.rest.len());
        // The other side may have closed it.
        let _ = self.stream.write(&self.rest[..bytes]);
        self.rest.drain(..bytes);
    }

    fn is_closed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

/// The first message of a client: one half of the peers sends a part of it, the other half all of it, for which the broker makes a key and a signature.
pub fn half_open(broker: SocketAddr, peers: usize, lasts: Duration) -> Result<String> {
    let hello = hello()?;
    let says = |number: usize| match number % 2 {
        0 => hello[..hello.len() / 2].to_vec(),
        _ => hello.clone(),
    };
    let (opened, most) = keep_open(broker, peers, lasts, says, |peer| peer.say(usize::MAX))?;
    Ok(format!(
        "{peers} at a time, {most} of them open, {opened} in all"
    ))
}

/// A byte a second of a frame, of a handshake, or of the header of a proxy.
pub fn dribble(broker: SocketAddr, peers: usize, lasts: Duration) -> Result<String> {
    let hello = hello()?;
    let says = |number: usize| match number % 3 {
        0 => [&FRAME[..], &[b'{'; 600]].concat(),
        1 => hello.clone(),
        _ => PROXY.to_vec(),
    };
    let (opened, most) = keep_open(broker, peers, lasts, says, |peer| peer.say(1))?;
    Ok(format!(
        "{peers} at a time, {most} of them open, {opened} in all"
    ))
}

/// How many were opened, and how many were open at the end of a round, at most.
fn keep_open(
    broker: SocketAddr,
    peers: usize,
    lasts: Duration,
    says: impl Fn(usize) -> Vec<u8>,
    go_on: impl Fn(&mut Peer),
) -> Result<(usize, usize)> {
    let end = Instant::now() + lasts;
    let mut open: Vec<Peer> = Vec::new();
    let (mut opened, mut most) = (0, 0);
    while Instant::now() < end {
        let next = Instant::now() + EVERY;
        open.retain_mut(|peer| !peer.is_closed());
        most = most.max(open.len());
        while open.len() < peers && Instant::now() < end {
            let mut peer = Peer::connect(broker, &says(opened))?;
            go_on(&mut peer);
            open.push(peer);
            opened += 1;
        }
        open.iter_mut().for_each(&go_on);
        let until = next.min(end);
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
    Ok((opened, most))
}

fn hello() -> Result<Vec<u8>> {
    let files = ClientFiles {
        checks: Checks::Nothing,
        ..ClientFiles::default()
    };
    let connector = connector(&files, &Protocols::default())?;
    let mut hello = Vec::new();
    connector.session("localhost")?.take_output(&mut hello)?;
    Ok(hello)
}
