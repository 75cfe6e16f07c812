//! The files that the settings of TLS name, read and understood.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::warn;
use zeroize::Zeroizing;

use crate::config::{Config, TlsClientAuth, TlsMode};
use crate::tls::{
    Accepts, Checks, ClientCertificate, ClientFiles, Connector, PemFile, Protocols, Security,
    ServerFiles, connector, server_config,
};

/// Everybody, of whatever group.
const OTHERS: u32 = 0o007;

/// Names in a certificate that nobody can check.
const TEST_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where what the connections are secured with comes from.
pub struct Source {
    config: Config,
    /// Made once: a session goes on after a change of other files.
    test: Option<(PemFile, PemFile)>,
}

impl Source {
    pub fn of(config: &Config) -> Self {
        let is_needed = config.tls_mode != TlsMode::Disabled && config.tls_certificate.is_none();
        Self {
            config: config.clone(),
            test: (is_needed && config.tls_test_mode)
                .then(self_signed)
                .flatten(),
        }
    }

    /// All files.
    pub fn paths(&self) -> Vec<&Path> {
        let config = &self.config;
        let mut all = Vec::new();
        if config.tls_mode != TlsMode::Disabled {
            all.extend([
                &config.tls_certificate,
                &config.tls_key,
                &config.tls_trusted,
            ]);
        }
        if config.tls_enable {
            all.extend([
                &config.tls_client_certificate,
                &config.tls_client_key,
                &config.tls_client_trusted,
            ]);
        }
        all.into_iter().filter_map(Option::as_deref).collect()
    }

    /// Reads the files as they are now.
    pub fn read(&self) -> Result<Security> {
        let connects = match self.config.tls_enable {
            true => Some(client_of(&self.config)?),
            false => None,
        };
        let accepts = match self.server_files()? {
            None => Accepts::Plain,
            Some(files) => {
                let clients = client_certificate(self.config.tls_client_auth);
                let config = server_config(&files, clients, &protocols(&self.config))?;
                match self.config.tls_mode {
                    TlsMode::Enforcing => Accepts::Tls(config),
                    _ => Accepts::Both(config),
                }
            }
        };
        Ok(Security {
            accepts,
            connects,
            proxies: self.config.proxies.as_slice().into(),
        })
    }

    /// `None`: only plain text is taken.
    fn server_files(&self) -> Result<Option<ServerFiles>> {
        let config = &self.config;
        if config.tls_mode == TlsMode::Disabled {
            return Ok(None);
        }
        let (certificate, key) = match (&config.tls_certificate, &config.tls_key, &self.test) {
            (Some(certificate), Some(key), _) => (read(certificate)?, read_key(key)?),
            (_, _, Some((certificate, key))) => (certificate.clone(), key.clone()),
            _ => return Ok(None),
        };
        let password = config.tls_key_password.as_ref();
        Ok(Some(ServerFiles {
            certificate,
            key,
            key_password: password.map(|password| password.reveal().to_owned()),
            trusted: config.tls_trusted.as_deref().map(read).transpose()?,
        }))
    }
}

/// How this process asks others.
pub fn client_of(config: &Config) -> Result<Connector> {
    let trusted = config.tls_client_trusted.as_deref().map(read).transpose()?;
    let checks = match trusted.filter(|_| config.tls_checks_server) {
        None => Checks::Nothing,
        Some(trusted) if config.tls_checks_host => Checks::SignedForHost(trusted),
        Some(trusted) => Checks::SignedBy(trusted),
    };
    let certificate = match (&config.tls_client_certificate, &config.tls_client_key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read_key(key)?)),
        _ => None,
    };
    let password = config.tls_client_key_password.as_ref();
    let files = ClientFiles {
        checks,
        certificate,
        key_password: password.map(|password| password.reveal().to_owned()),
    };
    Ok(connector(&files, &protocols(config))?)
}

fn protocols(config: &Config) -> Protocols {
    Protocols {
        versions: config.tls_protocols.clone(),
        ciphers: config.tls_ciphers.clone(),
    }
}

fn client_certificate(auth: TlsClientAuth) -> ClientCertificate {
    match auth {
        TlsClientAuth::None => ClientCertificate::None,
        TlsClientAuth::Optional => ClientCertificate::Optional,
        TlsClientAuth::Require => ClientCertificate::Required,
    }
}

pub fn read(path: impl AsRef<Path>) -> Result<PemFile> {
    let path = path.as_ref().display().to_string();
    let text = std::fs::read(&path).with_context(|| path.clone())?;
    Ok(PemFile {
        path,
        text: Zeroizing::new(text),
    })
}

fn read_key(path: &PathBuf) -> Result<PemFile> {
    let file = read(path)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS != 0 {
        let mode = format!("{:o}", mode & 0o777);
        warn!(file = %path.display(), mode, "every user of this machine can read this key");
    }
    Ok(file)
}

/// A certificate and its key. `None`: the machine has no randomness.
fn self_signed() -> Option<(PemFile, PemFile)> {
    let made = rcgen::generate_simple_self_signed(TEST_NAMES.map(String::from)).ok()?;
    warn!("tls.test.mode.enable=true: the certificate is one that nobody can check");
    let file = |text: String| PemFile {
        path: "the certificate of tls.test.mode.enable".into(),
        text: Zeroizing::new(text.into_bytes()),
    };
    Some((
        file(made.cert.pem()),
        file(made.signing_key.serialize_pem()),
    ))
}
