//! Whom each side believes, and which files can be used.

use super::certificates::pem;
use super::*;

/// The plain text that has gone through, or the error of the side that refuses: `(client, server)`.
fn meet(
    client: Connector,
    server: Arc<rustls::ServerConfig>,
    host: &str,
) -> Result<Session, (String, String)> {
    let mut client = client.session(host).unwrap();
    let mut server = Session::server(server).unwrap();
    let (mut plain, mut at_client, mut at_server) = (Vec::new(), Ok(()), Ok(()));
    let text = |error: std::io::Error| error.to_string();
    for round in 0..5 {
        let mut bytes = Vec::new();
        client.take_output(&mut bytes).unwrap();
        at_server = at_server.and(server.receive(&bytes, &mut plain).map_err(text));
        let mut bytes = Vec::new();
        server.take_output(&mut bytes).unwrap();
        at_client = at_client.and(client.receive(&bytes, &mut Vec::new()).map_err(text));
        if round == 2 && at_client.is_ok() {
            client.write(b"a request").unwrap();
        }
    }
    match (at_client, at_server) {
        (Ok(()), Ok(())) => {
            assert_eq!(plain, b"a request");
            Ok(client)
        }
        (at_client, at_server) => Err((
            at_client.err().unwrap_or_default(),
            at_server.err().unwrap_or_default(),
        )),
    }
}

#[test]
fn a_client_believes_only_what_it_is_set_up_for() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue(&["broker", "10.0.0.1"]);
    let ca = || authority.certificate.clone();
    let of_host = || asking(Checks::SignedForHost(ca()));
    meet(of_host(), serving(&good), "broker").unwrap();
    meet(of_host(), serving(&good), "10.0.0.1").unwrap();
    let expired = authority.issue_until(&["broker"], 2020);
    let of_other = other.issue(&["broker"]);
    for (identity, host, why) in [
        (&good, "elsewhere", "not valid for name"),
        (&good, "10.0.0.2", "not valid for name"),
        (&expired, "broker", "expired"),
        // Of an authority with the same name.
        (&of_other, "broker", "BadSignature"),
    ] {
        let (at_client, at_server) = meet(of_host(), serving(identity), host).err().unwrap();
        assert!(at_client.contains(why), "{at_client}");
        assert!(at_server.contains("alert"), "{at_server}");
    }
    // Any name: the rest is checked.
    let any_name = || asking(Checks::SignedBy(ca()));
    meet(any_name(), serving(&good), "elsewhere").unwrap();
    for identity in [&expired, &of_other] {
        assert!(meet(any_name(), serving(identity), "elsewhere").is_err());
    }
    for identity in [&good, &expired, &of_other] {
        meet(asking(Checks::Nothing), serving(identity), "elsewhere").unwrap();
    }
}

#[test]
fn a_server_checks_every_certificate_that_it_is_shown() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue(&["app"]);
    let expired = authority.issue_until(&["app"], 2020);
    let of_other = other.issue(&["app"]);
    let showing = |identity: Option<&Identity>| {
        let certificate = identity.map(|shown| (shown.certificate.clone(), shown.key.clone()));
        let files = ClientFiles {
            certificate,
            ..ClientFiles::default()
        };
        connector(&files, &Protocols::default()).unwrap()
    };
    let demanding = |clients| {
        let files = ServerFiles {
            trusted: Some(authority.certificate.clone()),
            ..server_files(&good)
        };
        server_config(&files, clients, &Protocols::default()).unwrap()
    };
    for (clients, without) in [
        (ClientCertificate::Required, false),
        (ClientCertificate::Optional, true),
    ] {
        meet(showing(Some(&good)), demanding(clients), "broker").unwrap();
        for wrong in [&expired, &of_other] {
            let met = meet(showing(Some(wrong)), demanding(clients), "broker");
            let (_, at_server) = met.err().unwrap();
            assert!(at_server.contains("certificate"), "{at_server}");
        }
        let met = meet(showing(None), demanding(clients), "broker");
        assert_eq!(met.is_ok(), without);
    }
    let files = server_files(&good);
    let nobody = server_config(&files, ClientCertificate::Required, &Protocols::default());
    assert!(nobody.unwrap_err().to_string().contains("trustCertPath"));
}

#[test]
fn both_versions_and_sessions_that_go_on_at_another_core() {
    let identity = Authority::new().issue(&["broker"]);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let protocols = Protocols {
            versions: version.into(),
            ..Protocols::default()
        };
        let client = connector(&ClientFiles::default(), &protocols).unwrap();
        // One for all cores.
        let server = serving(&identity);
        let first = meet(client.clone(), server.clone(), "broker").unwrap();
        assert_eq!(first.version(), Some(version));
        assert!(!first.is_resumed());
        let again = meet(client.clone(), server, "broker").unwrap();
        assert!(again.is_resumed(), "{version}");
        // New files, new tickets: whom the old ones let in may not be good any more.
        let later = meet(client, serving(&identity), "broker").unwrap();
        assert!(!later.is_resumed(), "{version}");
    }
    let only = |version: &str| Protocols {
        versions: version.into(),
        ..Protocols::default()
    };
    let new = connector(&ClientFiles::default(), &only("TLSv1.3")).unwrap();
    let files = server_files(&identity);
    let old = server_config(&files, ClientCertificate::None, &only("TLSv1.2")).unwrap();
    assert!(meet(new, old, "broker").is_err());
}

const WITH_PASSWORD: &str = include_str!("old/with-password.pem");
const BEFORE_PKCS_8: &str = include_str!("old/before-pkcs8.pem");
const SEC_1: &str = include_str!("old/sec1.pem");
/// Of that key, as RocketMQ's manual makes certificates: version 1.
const V_1: &str = include_str!("old/v1.pem");

fn of_v1(key: &str, password: Option<&str>) -> Result<Arc<rustls::ServerConfig>, SecurityError> {
    let files = ServerFiles {
        certificate: pem("v1.pem", V_1),
        key: pem("v1.key", key),
        key_password: password.map(String::from),
        trusted: None,
    };
    server_config(&files, ClientCertificate::None, &Protocols::default())
}

#[test]
fn keys_of_every_format() {
    of_v1(SEC_1, None).unwrap();
    of_v1(WITH_PASSWORD, Some("open-sesame")).unwrap();
    let chain = format!("{V_1}\n{WITH_PASSWORD}");
    of_v1(&chain, Some("open-sesame")).unwrap();
    for (key, password, why) in [
        (WITH_PASSWORD, None, "keyPassword"),
        (WITH_PASSWORD, Some(""), "keyPassword"),
        (WITH_PASSWORD, Some("wrong"), "cannot be decrypted"),
        (BEFORE_PKCS_8, Some("open-sesame"), "openssl pkcs8 -topk8"),
        ("no key", None, "no private key"),
        (V_1, None, "no private key"),
    ] {
        let error = of_v1(key, password).err().unwrap().to_string();
        assert!(error.contains("v1.key") && error.contains(why), "{error}");
    }
}

#[test]
fn a_key_of_another_certificate_and_files_that_are_none() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["a"]), authority.issue(&["b"]));
    let of = |certificate: &PemFile, key: &PemFile| {
        let identity = Identity {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let files = server_files(&identity);
        server_config(&files, ClientCertificate::None, &Protocols::default())
    };
    of(&one.certificate, &one.key).unwrap();
    let error = of(&one.certificate, &two.key).unwrap_err();
    assert!(
        matches!(error, SecurityError::KeyDoesNotFit { .. }),
        "{error}"
    );
    for text in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = of(&pem("x.pem", text), &one.key).unwrap_err().to_string();
        assert!(error.contains("x.pem"), "{error}");
    }
}
