//! How `ringmq send`, `consume`, `bench` and `doctor` come over TLS.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::files::client_of;
use crate::config::{Config, Surroundings};
use crate::tls::Connector;

#[derive(Args, Clone, Debug, Default)]
pub struct TlsArgs {
    /// Connect over TLS, to name servers and brokers
    #[arg(long)]
    pub tls: bool,

    /// File with the certificates that sign those of servers [default: tls.client.trustCertPath of /etc/rocketmq/tls.properties]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub tls_ca: Option<PathBuf>,

    /// File with a certificate to show to servers that ask for one
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    pub tls_cert: Option<PathBuf>,

    /// File with its key
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_cert"])]
    pub tls_key: Option<PathBuf>,

    /// Do not check that a certificate is of the host that is connected to
    #[arg(long, requires = "tls")]
    pub tls_any_host: bool,

    /// Check no certificate: a man in the middle can read and change everything
    #[arg(long, requires = "tls", conflicts_with_all = ["tls_ca", "tls_any_host"])]
    pub tls_skip_verify: bool,
}

impl TlsArgs {
    /// `None`: in plain text.
    pub fn connector(&self) -> Result<Option<Connector>> {
        let surroundings = Surroundings::observe();
        let config = Config::tls_of("", &surroundings)?;
        self.over(config)
    }

    /// What the machine's settings say counts where no flag does.
    fn over(&self, mut config: Config) -> Result<Option<Connector>> {
        if !self.tls {
            let is_usual = config.tls_enable;
            return is_usual.then(|| client_of(&config)).transpose();
        }
        if let Some(ca) = &self.tls_ca {
            config.tls_client_trusted = Some(ca.clone());
            config.tls_checks_server = true;
        }
        if self.tls_cert.is_some() {
            config.tls_client_certificate.clone_from(&self.tls_cert);
            config.tls_client_key.clone_from(&self.tls_key);
        }
        config.tls_checks_host &= !self.tls_any_host;
        config.tls_checks_server &= !self.tls_skip_verify;
        if !config.tls_checks_server && !self.tls_skip_verify {
            bail!("--tls: whose certificates are good? Give --tls-ca FILE, or --tls-skip-verify");
        }
        client_of(&config).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_believed_by_mistake() {
        let of = |args: TlsArgs| args.over(Config::default());
        assert!(of(TlsArgs::default()).unwrap().is_none());
        let tls = || TlsArgs {
            tls: true,
            ..TlsArgs::default()
        };
        let error = of(tls()).unwrap_err().to_string();
        assert!(error.contains("--tls-ca"), "{error}");
        let skips = TlsArgs {
            tls_skip_verify: true,
            ..tls()
        };
        assert!(of(skips).unwrap().is_some());
        let absent = TlsArgs {
            tls_ca: Some("/none/such".into()),
            ..tls()
        };
        assert!(of(absent).unwrap_err().to_string().contains("/none/such"));
        let of_machine = Config {
            tls_enable: true,
            ..Config::default()
        };
        assert!(TlsArgs::default().over(of_machine).unwrap().is_some());
    }
}
