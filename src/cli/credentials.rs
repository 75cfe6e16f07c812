//! Whose requests those of `ringmq send`, `consume`, `bench` and `doctor` are.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::auth::{Credentials, Secret};

/// The secret itself, for what cannot have a file. A word of the command line would be seen by every user of the machine.
const SECRET_KEY: &str = "RINGMQ_SECRET_KEY";

#[derive(Args, Clone, Debug)]
pub struct CredentialsArgs {
    /// Sign requests as this user
    #[arg(long, value_name = "USER", env = "RINGMQ_ACCESS_KEY")]
    pub access_key: Option<String>,

    /// File with the user's secret [without it: the environment's RINGMQ_SECRET_KEY]
    #[arg(long, value_name = "FILE", requires = "access_key")]
    pub secret_key_file: Option<PathBuf>,
}

impl CredentialsArgs {
    /// `None`: requests are not signed.
    pub fn credentials(&self) -> Result<Option<Credentials>> {
        let Some(name) = self.access_key.clone().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let secret = match &self.secret_key_file {
            Some(path) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
                .with_context(|| path.display().to_string())?,
            None => std::env::var(SECRET_KEY)
                .map(Secret::new)
                .unwrap_or_default(),
        };
        if secret.is_empty() {
            bail!("--access-key {name}: there is no secret in --secret-key-file or {SECRET_KEY}");
        }
        Ok(Some(Credentials { name, secret }))
    }
}
