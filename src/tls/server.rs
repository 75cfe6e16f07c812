//! What a port shows and demands.

use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, ServerConfig};

use super::SecurityError;
use super::pem::PemFile;
use super::protocols::Protocols;

/// Whether clients show a certificate. What is shown is always checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is asked for.
    #[default]
    None,
    Optional,
    Required,
}

/// What the files of a server say.
#[derive(Clone, Default)]
pub struct ServerFiles {
    pub certificate: PemFile,
    pub key: PemFile,
    pub key_password: Option<String>,
    /// Whose signatures make a client's certificate good.
    pub trusted: Option<PemFile>,
}

/// Of every core the same: so a client that comes to another core goes on with its session.
pub fn server_config(
    files: &ServerFiles,
    clients: ClientCertificate,
    protocols: &Protocols,
) -> Result<Arc<ServerConfig>, SecurityError> {
    let provider = Arc::new(protocols.provider()?);
    let shown = shown(files, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&protocols.versions()?)?;
    let builder = match (clients, &files.trusted) {
        (ClientCertificate::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err(SecurityError::NobodyTrusted),
        (_, Some(trusted)) => {
            let roots = Arc::new(trusted.roots()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match clients {
                ClientCertificate::Required => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| SecurityError::File {
                path: trusted.path.clone(),
                what: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
    // Tickets hold the session: nothing is kept here, and any core takes them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The certificate and a key that fits it.
fn shown(
    files: &ServerFiles,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<CertifiedKey, SecurityError> {
    let chain = files.certificate.certificates()?;
    let key = files.key.key(files.key_password.as_deref())?;
    let wrong_key = |error: Error| SecurityError::File {
        path: files.key.path.clone(),
        what: format!("has a key that cannot be used: {error}"),
    };
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(wrong_key)?;
    let shown = CertifiedKey::new(chain, key);
    match shown.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(shown),
        Err(Error::InconsistentKeys(_)) => Err(SecurityError::KeyDoesNotFit {
            key: files.key.path.clone(),
            certificate: files.certificate.path.clone(),
        }),
        // X.509 v1, as RocketMQ's manual makes them: good for clients that check nothing, RocketMQ's default.
        Err(Error::InvalidCertificate(CertificateError::Other(_))) if is_v1(&shown) => Ok(shown),
        Err(error) => Err(SecurityError::File {
            path: files.certificate.path.clone(),
            what: format!("has a certificate that cannot be used: {error}"),
        }),
    }
}

/// A certificate of version 3 begins, behind two heads, with its version; one of version 1 has none and begins with its serial number.
fn is_v1(shown: &CertifiedKey) -> bool {
    const VERSION: u8 = 0xa0;
    let leaf = shown.cert.first().map(|leaf| leaf.as_ref());
    let begin = leaf.and_then(|der| behind_head(der)).and_then(behind_head);
    begin.is_some_and(|content| content.first() != Some(&VERSION))
}

/// The content of a DER sequence.
fn behind_head(der: &[u8]) -> Option<&[u8]> {
    let length = *der.get(1)?;
    let head = match length {
        0..0x80 => 2,
        _ => 2 + usize::from(length & 0x7f),
    };
    der.get(head..)
}

/// The one certificate, whatever name a client asks for: clients of RocketMQ name none.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
