//! How the settings of authentication and authorization have to fit together, and what they ask for.

use crate::auth::Rules;

use super::access::{NamesrvAuth, NamesrvAuthName};
use super::defaults::Config;
use super::rule::{BrokerRole, Rule};

type Misfit = (&'static str, String, String);

impl Config {
    /// Whether the accounts of ACL 1 are imported.
    pub fn imports_acl_1(&self) -> bool {
        self.acl_1 || self.import_acl_1
    }

    /// Whether the broker accepts connections from other machines and asks for no credentials.
    pub fn is_open(&self) -> bool {
        !self.authentication && !self.bind_address.is_loopback()
    }

    /// What the broker's requests are checked by; `None`: they are not.
    pub fn access_rules(&self) -> Option<Rules> {
        self.rules().if_any()
    }

    /// The same of the built-in name server.
    pub fn namesrv_rules(&self) -> Option<Rules> {
        let checks = self.namesrv_checks();
        let rules = Rules {
            authenticates: self.authentication && checks != NamesrvAuth::Off,
            guards_reading: checks == NamesrvAuth::All,
            ..self.rules()
        };
        rules.if_any()
    }

    /// The same of a controller. One that has no credentials of its own could not ask the others of its group, and asks for none.
    pub fn controller_rules(&self) -> Option<Rules> {
        let rules = Rules {
            authenticates: self.authentication && self.inner_credentials.is_some(),
            ..self.rules()
        };
        rules.if_any()
    }

    fn rules(&self) -> Rules {
        Rules {
            authenticates: self.authentication,
            authorizes: self.authorization,
            admin_from: self.admin_from.clone(),
            unauthenticated: self.unauthenticated.clone(),
            unauthorized: self.unauthorized.clone(),
            guards_reading: true,
        }
    }

    /// What the built-in name server checks.
    pub fn namesrv_checks(&self) -> NamesrvAuth {
        let can_register = self.authentication && self.inner_credentials.is_some();
        self.namesrv_auth.unwrap_or(match can_register {
            true => NamesrvAuth::Registrations,
            false => NamesrvAuth::Off,
        })
    }

    /// The setting that asks for more than the others give, its value, and what would be allowed. It ends the start, because the broker would be less protected than the setting says.
    pub(super) fn misfit_of_access(&self) -> Option<Misfit> {
        let misfit = |name, allowed: &str| Some((name, "true".to_owned(), allowed.to_owned()));
        if self.authorization && !self.authentication {
            let allowed =
                "false without authenticationEnabled=true: a name without a proof is nobody's";
            return misfit("authorizationEnabled", allowed);
        }
        if self.acl_1 && !self.authorization {
            let allowed = "false, or together with authenticationEnabled=true and authorizationEnabled=true: ACL 1 has \
                become ACL 2.0, into which the accounts of plain_acl.yml are imported";
            return misfit("aclEnable", allowed);
        }
        if self.import_acl_1 && !self.authentication {
            return misfit(
                "migrateAuthFromV1Enabled",
                "false without authenticationEnabled=true",
            );
        }
        let checks = self.namesrv_checks();
        if checks != NamesrvAuth::Off && !self.authentication {
            let allowed = "off without authenticationEnabled=true".into();
            let value = NamesrvAuthName.show(&self.namesrv_auth);
            return Some(("namesrvAuth", value, allowed));
        }
        let asks_others = self.controller_mode || self.broker_role == Some(BrokerRole::Slave);
        let needs_inner = asks_others || checks != NamesrvAuth::Off;
        if self.authentication && needs_inner && self.inner_credentials.is_none() {
            let allowed =
                "credentials of a super user, as this broker asks others in its own name".into();
            return Some((
                "innerClientAuthenticationCredentials",
                String::new(),
                allowed,
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;

    const INNER: &str =
        r#"innerClientAuthenticationCredentials={"accessKey":"i","secretKey":"hidden-1"}"#;
    const USER: &str = r#"initAuthenticationUser={"username":"u","password":"hidden-2"}"#;

    fn config(text: &str) -> Result<Config, String> {
        let surroundings = crate::config::Surroundings::observe();
        let merged = Config::merge(text, &Default::default(), &surroundings);
        merged
            .map(|(config, _)| config)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = format!("authenticationEnabled=true\n{INNER}\n{USER}\n");
        let config = config(&text).unwrap();
        assert_eq!(
            config.inner_credentials,
            Some(Credentials::new("i", "hidden-1"))
        );
        assert_eq!(config.init_user, Some(Credentials::new("u", "hidden-2")));
        assert_eq!(config.namesrv_checks(), NamesrvAuth::Registrations);
        for shown in [config.properties_text(), format!("{config:?}")] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
        assert!(
            config
                .properties_text()
                .contains(r#"{"username":"u","password":"******"}"#)
        );
    }

    #[test]
    fn a_secret_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, r#"{"username":"u","password":"p"}"#).unwrap();
        let path = file.path().display();
        let config = config(&format!("initAuthenticationUser=file:{path}")).unwrap();
        assert_eq!(config.init_user, Some(Credentials::new("u", "p")));
        assert!(self::config("initAuthenticationUser=file:/none/such").is_err());
    }

    #[test]
    fn half_of_it_stops_the_start() {
        for (text, named) in [
            ("authorizationEnabled=true", "authorizationEnabled"),
            ("aclEnable=true", "aclEnable"),
            ("aclEnable=true\nauthenticationEnabled=true", "aclEnable"),
            ("migrateAuthFromV1Enabled=true", "migrateAuthFromV1Enabled"),
            ("namesrvAuth=all", "namesrvAuth"),
            ("namesrvAuth=some", "namesrvAuth"),
            ("authenticationEnabled=yes", "authenticationEnabled"),
            (
                "authenticationEnabled=true\nnamesrvAuth=all",
                "innerClientAuthenticationCredentials",
            ),
            (
                "authenticationWhitelist=SendMessage",
                "authenticationWhitelist",
            ),
            (
                "authenticationProvider=com.example.Own",
                "authenticationProvider",
            ),
            ("initAuthenticationUser={}", "initAuthenticationUser"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        config("authenticationEnabled=true\nauthorizationEnabled=true\naclEnable=true").unwrap();
    }
}
