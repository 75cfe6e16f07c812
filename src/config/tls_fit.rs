//! Where settings of TLS come from, and how they have to fit together. They are RocketMQ's system properties, and here also lines of broker.conf and of the file that `tls.config.file`
//! names.

use std::path::PathBuf;

use super::defaults::Config;
use super::rule::Rule;
use super::surroundings::Surroundings;
use super::tls::{FilePath, TlsClientAuth, TlsClientAuthName, TlsMode};
use super::{ConfigError, Note, Place, Places, properties, unknown};

/// What all of them begin with.
const PREFIX: &str = "tls.";

/// What else is about connections before their first request.
const PROXIES: &str = "proxyProtocolFrom";

/// How one is given to a JVM.
const SYSTEM_PROPERTY: &str = "-D";

type Misfit = (&'static str, String, String);

impl Config {
    /// What a file of another process than a broker says of TLS and of proxies, and what the environment does.
    pub fn tls_of(text: &str, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let mut own = String::new();
        for properties::Entry { key, value, .. } in properties::parse(text) {
            if key.starts_with(PREFIX) || key == PROXIES {
                properties::write(&mut own, &key, &value);
            }
        }
        Self::merge(&own, &Default::default(), surroundings).map(|(config, _)| config)
    }

    /// The system properties that scripts of RocketMQ give to a JVM.
    pub(super) fn follow_java_options(&mut self, options: &str) -> Result<(), ConfigError> {
        let words = options.split_ascii_whitespace();
        let ours = words.filter_map(|word| word.strip_prefix(SYSTEM_PROPERTY));
        for property in ours.filter(|property| property.starts_with(PREFIX)) {
            let (key, value) = property.split_once('=').unwrap_or((property, ""));
            let followed = self.follow(key, value.trim_matches(['"', '\'']));
            followed.map_err(|(property, allowed)| ConfigError::Value {
                place: Place::Environment,
                property,
                value: value.into(),
                allowed,
            })?;
        }
        Ok(())
    }

    /// What it says counts more than anything else, as at RocketMQ. The default one may be absent.
    pub(super) fn follow_tls_file(
        &mut self,
        surroundings: &Surroundings,
        places: &mut Places,
    ) -> Result<Vec<Note>, ConfigError> {
        let of_machine = surroundings.tls_file.clone();
        let Some(path) = self.tls_file.clone().or(of_machine) else {
            return Ok(Vec::new());
        };
        let text = properties::read_file(&path).map_err(|source| ConfigError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let mut notes = Vec::new();
        for properties::Entry { line, key, value } in properties::parse(&text) {
            let file = path.clone();
            let place = Place::Line { file, line };
            if !key.starts_with(PREFIX) {
                notes.push(unknown(&place, &key));
                continue;
            }
            match self.follow(&key, &value) {
                Ok(super::Followed::Taken(name)) => {
                    places.insert(name, place);
                }
                Ok(_) => notes.push(unknown(&place, &key)),
                Err((property, allowed)) => {
                    return Err(ConfigError::Value {
                        place,
                        property,
                        value,
                        allowed,
                    });
                }
            }
        }
        Ok(notes)
    }

    /// The setting that asks for more than the others give, its value, and what would be allowed. It ends the start, because connections
    /// would be less protected than the setting says.
    pub(super) fn misfit_of_tls(&self) -> Option<Misfit> {
        let shown = |path: &Option<PathBuf>| FilePath.show(path);
        if self.tls_mode == TlsMode::Enforcing && self.tls_certificate.is_none() {
            let allowed =
                "permissive or disabled without tls.server.certPath and tls.server.keyPath";
            return Some(("tls.server.mode", "enforcing".into(), allowed.into()));
        }
        let pairs = [
            (
                ("tls.server.certPath", &self.tls_certificate),
                ("tls.server.keyPath", &self.tls_key),
            ),
            (
                ("tls.client.certPath", &self.tls_client_certificate),
                ("tls.client.keyPath", &self.tls_client_key),
            ),
        ];
        for (certificate, key) in pairs {
            for ((name, path), (other, its_path)) in [(certificate, key), (key, certificate)] {
                if path.is_some() && its_path.is_none() {
                    let allowed = format!("nothing, or a file together with {other}");
                    return Some((name, shown(path), allowed));
                }
            }
        }
        if self.tls_client_auth != TlsClientAuth::None && self.tls_trusted.is_none() {
            let value = TlsClientAuthName.show(&self.tls_client_auth);
            let allowed = "none without tls.server.trustCertPath: a certificate that is not checked proves nothing (RocketMQ takes any)";
            return Some(("tls.server.need.client.auth", value, allowed.into()));
        }
        if self.ha_tls && !(self.tls_enable && self.tls_certificate.is_some()) {
            let allowed = "false without tls.enable=true and tls.server.certPath: a broker is master or slave";
            return Some(("haTlsEnable", "true".into(), allowed.into()));
        }
        if self.tls_checks_server && self.tls_client_trusted.is_none() {
            let allowed =
                "false without tls.client.trustCertPath, whose certificates sign those of servers";
            return Some(("tls.client.authServer", "true".into(), allowed.into()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(options: &str) -> Surroundings {
        Surroundings {
            java_options: options.into(),
            tls_file: None,
            ..Surroundings::observe()
        }
    }

    fn config(text: &str) -> Result<Config, String> {
        let merged = Config::merge(text, &Default::default(), &surroundings(""));
        let config = merged.map(|(config, _)| config);
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn a_typing_error_ends_the_start() {
        for (text, named) in [
            ("tls.server.mode=Enforcing", "tls.server.mode"),
            ("tls.server.mode=enforcing", "tls.server.certPath"),
            ("tls.server.certPath=/c", "tls.server.keyPath"),
            ("tls.server.keyPath=/c", "tls.server.certPath"),
            ("tls.client.keyPath=/c", "tls.client.certPath"),
            ("tls.server.need.client.auth=required", "optional"),
            ("tls.server.need.client.auth=require", "trustCertPath"),
            ("tls.client.authServer=true", "tls.client.trustCertPath"),
            ("haTlsEnable=true", "tls.enable=true"),
            ("tls.server.keyPassword=file:/none/such", "/none/such"),
            ("tls.config.file=/none/such", "/none/such"),
            (
                "tls.test.mode.enable=true\ntls.server.mode=enforcing",
                "certPath",
            ),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_file_counts_more_than_broker_conf_and_that_more_than_the_jvms_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tls.properties");
        std::fs::write(
            &file,
            "tls.server.keyPath=/file\ntls.server.keyPassword=hidden\ncolour=red\n",
        )
        .unwrap();
        let text = format!(
            "tls.config.file={}\ntls.server.keyPath=/conf\ntls.server.certPath=/conf\n",
            file.display()
        );
        let options = "-Xmx1g -Dtls.server.certPath=/env -Dtls.server.mode=enforcing -Dtls.enable=\"true\" -Dother=1";
        let merged = Config::merge(&text, &Default::default(), &surroundings(options));
        let (config, notes) = merged.unwrap();
        assert_eq!(config.tls_key, Some("/file".into()));
        assert_eq!(config.tls_certificate, Some("/conf".into()));
        assert_eq!(config.tls_mode, TlsMode::Enforcing);
        assert!(config.tls_enable);
        assert!(notes.iter().any(|note| note.text.contains("colour")));
        for shown in [config.properties_text(), format!("{config:?}")] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
        let wrong = Config::merge("", &Default::default(), &surroundings("-Dtls.enable=yes"));
        assert!(wrong.unwrap_err().to_string().contains("tls.enable=yes"));
    }

    #[test]
    fn of_another_process_only_tls_is_read() {
        let text = "listenPort=9876\ntls.server.mode=disabled\nnoSuchThing=1\nproxyProtocolFrom=10.0.0.0/8\n";
        let config = Config::tls_of(text, &surroundings("")).unwrap();
        assert_eq!(config.tls_mode, TlsMode::Disabled);
        assert_eq!(config.proxies.len(), 1);
        assert_ne!(config.listen_port, 9876);
    }
}
