//! TLS over the simulator's network, and what certificates, keys and bytes from anybody may do to it.

mod certificates;
mod connections;
mod hostile;
mod material;
mod proxies;

use std::net::SocketAddr;
use std::sync::Arc;

use self::certificates::{Authority, Identity};
use super::*;
use crate::io::{Io, Net, Spawn, Stream};
use crate::sim::{Sim, SimConfig, SimIo};

/// Two hosts, and what secures them.
struct Pair {
    sim: Sim,
    server: SimIo,
    client: SimIo,
}

const PORT: u16 = 10911;

impl Pair {
    fn new() -> Self {
        let sim = Sim::new(7, SimConfig::default());
        let (server, client) = (sim.host("server"), sim.host("client"));
        Self {
            sim,
            server,
            client,
        }
    }

    fn server(&self, accepts: Accepts) -> Secured<SimIo> {
        let security = Security {
            accepts,
            ..Security::default()
        };
        Secured::new(self.server.clone(), security)
    }

    fn client(&self, connects: Option<Connector>) -> Secured<SimIo> {
        let security = Security {
            connects,
            ..Security::default()
        };
        Secured::new(self.client.clone(), security)
    }
}

/// Where the first host of a simulation listens.
fn addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], PORT))
}

fn server_files(identity: &Identity) -> ServerFiles {
    ServerFiles {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        ..ServerFiles::default()
    }
}

/// Of a server that asks for no certificate.
fn serving(identity: &Identity) -> Arc<rustls::ServerConfig> {
    let files = server_files(identity);
    server_config(&files, ClientCertificate::None, &Protocols::default()).unwrap()
}

fn asking(checks: Checks) -> Connector {
    let files = ClientFiles {
        checks,
        ..ClientFiles::default()
    };
    connector(&files, &Protocols::default()).unwrap()
}

/// Sends back what comes, until the end of each connection.
fn echo<I: Io>(io: &I) {
    let listener = io
        .listen_remoting(SocketAddr::from(([0, 0, 0, 0], PORT)))
        .unwrap();
    let of_task = io.clone();
    io.spawn("test", async move {
        loop {
            let Ok(stream) = crate::io::Listener::accept(&listener).await else {
                return;
            };
            of_task.spawn("test", async move {
                while let Ok(chunk) = stream.recv().await {
                    if chunk.is_empty() || stream.send(chunk.to_vec()).await.0.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// What comes back of `bytes`, which are sent at once.
async fn echoed<S: Stream, I: Io>(io: &I, stream: &S, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let (len, sending) = (bytes.len(), stream.clone());
    io.spawn("test", async move {
        let _ = sending.send(bytes).await;
    });
    let mut back = Vec::new();
    while back.len() < len {
        let chunk = stream.recv().await?;
        if chunk.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        back.extend_from_slice(&chunk);
    }
    Ok(back)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31) >> 3) as u8).collect()
}
