//! Certificates in files, and a client that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use ringmq::wire::codes::request;
use ringmq::wire::{Codec, Head, Scratch, Value, frame, header};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::PATIENCE;
use super::client::send_to;

/// Signs certificates; its own is in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PathBuf,
}

/// A certificate and its key, as text.
pub struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    pub fn new(file: PathBuf) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(&file, certificate.pem()).expect("it is written");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// Of this machine, and good now.
    pub fn issue(&self) -> Identity {
        self.issue_for(&["localhost", "127.0.0.1"], 3000)
    }

    pub fn issue_for(&self, names: &[&str], until_year: i32) -> Identity {
        let names: Vec<_> = names.iter().map(|name| String::from(*name)).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Of a client that believes this one, and shows an identity if it has one.
    pub fn client(&self, shown: Option<&Identity>) -> Arc<ClientConfig> {
        self.client_of(shown, rustls::DEFAULT_VERSIONS)
    }

    pub fn client_of(
        &self,
        shown: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&self.file).expect("it is there") {
            roots.add(root.expect("PEM")).expect("a root");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("versions");
        let builder = builder.with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        })
    }
}

impl Identity {
    /// As `NAME.pem` and `NAME.key` in a folder, each replaced at once.
    pub fn save(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let write = |ending: &str, text: &str| {
            let path = folder.join(format!("{name}.{ending}"));
            let new = folder.join(format!("{name}.{ending}.new"));
            std::fs::write(&new, text).expect("it is written");
            let owner_only = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&new, owner_only).expect("its mode is set");
            std::fs::rename(&new, &path).expect("it is renamed");
            path
        };
        (write("pem", &self.certificate), write("key", &self.key))
    }
}

/// Lines of a broker.conf.
pub fn serving(certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!("tls.server.certPath={certificate}\ntls.server.keyPath={key}\n")
}

/// A connection over TLS that speaks whole frames.
pub struct Encrypted {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Encrypted {
    /// Nothing has been sent yet: the handshake is done with the first request.
    pub fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::try_connect(addr, config).expect("the port listens")
    }

    /// An error: the port does not listen.
    pub fn try_connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        let name = ServerName::from(addr.ip());
        let connection = ClientConnection::new(config.clone(), name).expect("a client");
        Ok(Self {
            stream: StreamOwned::new(connection, stream),
        })
    }

    /// The code of the answer.
    pub fn ask(&mut self, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) -> io::Result<i32> {
        let head = Head::request(Codec::Json, code, 7);
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, ext, body);
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        let mut answer = vec![0; 4];
        self.stream.read_exact(&mut answer)?;
        let length = u32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]);
        answer.resize(4 + length as usize, 0);
        self.stream.read_exact(&mut answer[4..])?;
        let frame = frame::split(&answer).expect("a sound frame");
        let frame = frame.expect("a whole frame");
        let mut scratch = Scratch::default();
        let header = header::decode(&frame, &mut scratch).expect("a sound header");
        Ok(header.code)
    }

    /// Sends a message to a topic that is made by it.
    pub fn send(&mut self, topic: &str, body: &[u8]) -> io::Result<i32> {
        self.ask(request::SEND_MESSAGE_V2, &send_to(topic, -1).ext(), body)
    }
}
