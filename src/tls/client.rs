//! What a client of this crate shows, and whom it believes.

use std::sync::Arc;
use std::{fmt, io};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::SecurityError;
use super::pem::PemFile;
use super::protocols::Protocols;
use super::session::Session;

/// What is checked of the other side.
#[derive(Clone, Default)]
pub enum Checks {
    /// Nothing: against who only listens. RocketMQ's default.
    #[default]
    Nothing,
    /// That one of these has signed the certificate.
    SignedBy(PemFile),
    /// And that the certificate is of the name or address that was connected to.
    SignedForHost(PemFile),
}

/// What the files of a client say.
#[derive(Clone, Default)]
pub struct ClientFiles {
    pub checks: Checks,
    /// The certificate that is shown if the other side asks for one, and its key.
    pub certificate: Option<(PemFile, PemFile)>,
    pub key_password: Option<String>,
}

/// Without the port, and without the brackets of IPv6.
pub fn host_of(address: &str) -> &str {
    let (host, _) = address.rsplit_once(':').unwrap_or((address, ""));
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Makes connections over TLS.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// For one connection, to this host: a name or an address.
    pub fn session(&self, host: &str) -> io::Result<Session> {
        Session::client(self.config.clone(), host)
    }

    /// The same for who has another way to carry its bytes.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Of `HOST:PORT`, as a certificate has it.
    pub fn name_of(&self, address: &str) -> io::Result<ServerName<'static>> {
        let name = ServerName::try_from(host_of(address).to_owned());
        name.map_err(io::Error::other)
    }
}

/// The same one, not only an equal one.
impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Connector {}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS")
    }
}

pub fn connector(files: &ClientFiles, protocols: &Protocols) -> Result<Connector, SecurityError> {
    let provider = Arc::new(protocols.provider()?);
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&protocols.versions()?)?;
    let builder = builder.dangerous();
    let builder = builder.with_custom_certificate_verifier(verifier(&files.checks, &provider)?);
    let Some((certificate, key)) = &files.certificate else {
        let config = Arc::new(builder.with_no_client_auth());
        return Ok(Connector { config });
    };
    let chain = certificate.certificates()?;
    let secret = key.key(files.key_password.as_deref())?;
    let config = builder.with_client_auth_cert(chain, secret);
    let config = config.map_err(|error| SecurityError::File {
        path: key.path.clone(),
        what: format!("and {} cannot be used together: {error}", certificate.path),
    })?;
    Ok(Connector {
        config: Arc::new(config),
    })
}

fn verifier(
    checks: &Checks,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, SecurityError> {
    let of = |trusted: &PemFile| {
        let roots = Arc::new(trusted.roots()?);
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        builder.build().map_err(|error| SecurityError::File {
            path: trusted.path.clone(),
            what: error.to_string(),
        })
    };
    let lenient = |signers| {
        Arc::new(Lenient {
            algorithms: provider.signature_verification_algorithms,
            signers,
        })
    };
    Ok(match checks {
        Checks::Nothing => lenient(None),
        Checks::SignedBy(trusted) => lenient(Some(of(trusted)?)),
        Checks::SignedForHost(trusted) => of(trusted)?,
    })
}

/// Checks less than rustls' own verifier. That the other side has the key of its certificate is always checked.
#[derive(Debug)]
struct Lenient {
    algorithms: WebPkiSupportedAlgorithms,
    /// Checks everything; only its complaint about the name is passed over. `None`: every certificate is believed.
    signers: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(signers) = &self.signers else {
            return Ok(ServerCertVerified::assertion());
        };
        match signers.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // It looks at the name last: everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
