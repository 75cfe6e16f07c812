//! One TLS connection without its socket: bytes in, bytes out.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

pub struct Session {
    connection: Connection,
    /// The peer has said that nothing follows.
    is_over: bool,
}

impl Session {
    /// The side that was connected to.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = ServerConnection::new(config)?;
        Ok(Self::of(connection.into()))
    }

    /// The side that has connected to this host: a name or an address.
    pub fn client(config: Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::of(connection.into()))
    }

    fn of(mut connection: Connection) -> Self {
        // What is written is taken at once, whole.
        connection.set_buffer_limit(None);
        Self {
            connection,
            is_over: false,
        }
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// It goes on with an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes what has come; plain text in it goes to the end of `plain`. After an error there may be output: an alert for the peer.
    pub fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() && !self.is_over {
            let before = bytes.len();
            // A few KiB each time, until its buffer is full. Nothing would mean the end of the stream to it.
            while !bytes.is_empty() && self.connection.read_tls(&mut bytes).is_ok() {}
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if state.plaintext_bytes_to_read() > 0 {
                self.read(plain)?;
            }
            self.is_over = state.peer_has_closed();
            if bytes.len() == before {
                return Err(io::Error::other("a message of the handshake is too long"));
            }
        }
        Ok(())
    }

    fn read(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        let mut reader = self.connection.reader();
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(some) => {
                    plain.extend_from_slice(some);
                    let len = some.len();
                    reader.consume(len);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Seals `plain`: [`Self::take_output`] has it then.
    pub fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(plain)
    }

    pub fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// Appends what is to be sent to the peer, in order.
    pub fn take_output(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Session {
    /// Says to the peer that nothing follows.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// As `tls.protocols` names it.
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }
}
