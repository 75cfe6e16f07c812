//! Protects stock clients over TLS: the Java clients 5.5.0 and 4.9.8 and mqadmin, against a broker that takes nothing else, with certificates that both sides check. The Go client
//! has TLS from its next release on.

use std::path::Path;
use std::process::Command;

use crate::common::certificates::{Authority, serving};
use crate::common::scripts::{Script, missing};
use crate::common::{Broker, Options};
use crate::suites::one_tool_at_a_time;

/// A broker that takes TLS only, and asks clients for a certificate.
fn start(folder: &Path, authority: &Authority) -> Broker {
    let (certificate, key) = authority.issue().save(folder, "server");
    let ca = authority.file.display();
    let config = format!(
        "{}brokerName=broker-a\ntls.server.mode=enforcing\ntls.server.need.client.auth=require\ntls.server.trustCertPath={ca}\ntls.enable=true\n\
         tls.client.certPath={}\ntls.client.keyPath={}\n",
        serving(&certificate, &key),
        certificate.display(),
        key.display()
    );
    let options = Options {
        config: &config,
        ..Options::default()
    };
    Broker::start(&folder.join("store"), &options)
}

/// The options of a JVM whose client believes an authority, and shows a certificate of another one.
fn options(folder: &Path, believed: &Authority, shown: &Authority) -> String {
    let (certificate, key) = shown.issue().save(folder, "client");
    let file = folder.join("tls.properties");
    let text = format!(
        "tls.test.mode.enable=false\ntls.client.authServer=true\ntls.client.trustCertPath={}\ntls.client.certPath={}\ntls.client.keyPath={}\n",
        believed.file.display(),
        certificate.display(),
        key.display()
    );
    std::fs::write(&file, text).expect("it is written");
    format!("-Dtls.enable=true -Dtls.config.file={}", file.display())
}

fn run(mut command: Command) -> (bool, String) {
    let output = command.output().expect("bash is there");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (output.status.success(), printed)
}

#[test]
fn java_clients_over_tls() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_tool_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let authority = Authority::new(folder.join("ca.pem"));
    let stranger = Authority::new(folder.join("stranger.pem"));
    let broker = start(folder, &authority);
    let namesrv = broker.namesrv.to_string();
    let scenario = |version, prefix, options: &str| {
        let words = [
            version,
            "ClientCheck",
            "--namesrv",
            &namesrv,
            "--prefix",
            prefix,
            "--scenario",
            "send_and_consume",
        ];
        let mut command = Script::new("java/run.sh", &words).command();
        command.env("JAVA_OPTIONS", options);
        run(command)
    };
    let good = options(folder, &authority, &authority);
    for (version, prefix) in [("5.5.0", "new"), ("4.9.8", "old")] {
        let (is_well, printed) = scenario(version, prefix, &good);
        assert!(is_well, "{version}: {printed}");
    }
    for (nth, (believed, shown)) in [(&stranger, &authority), (&authority, &stranger)]
        .into_iter()
        .enumerate()
    {
        let wrong = options(folder, believed, shown);
        let (is_well, printed) = scenario("5.5.0", ["wrong0", "wrong1"][nth], &wrong);
        assert!(!is_well, "{printed}");
    }
    let (is_well, printed) = scenario("5.5.0", "plain", "");
    assert!(!is_well, "{printed}");
    assert!(broker.terminate().success());
}

#[test]
fn mqadmin_over_tls() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_tool_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let authority = Authority::new(folder.join("ca.pem"));
    let broker = start(folder, &authority);
    let (namesrv, addr) = (broker.namesrv.to_string(), broker.addr().to_string());
    let mqadmin = |words: &[&str], options: &str| {
        let words = [words, &["-n", &namesrv]].concat();
        let mut command = Script::new("real-broker/mqadmin.sh", &words).command();
        command.env("JAVA_TOOL_OPTIONS", options);
        run(command).1
    };
    let good = options(folder, &authority, &authority);
    let printed = mqadmin(&["clusterList"], &good);
    assert!(printed.contains("broker-a"), "{printed}");
    let printed = mqadmin(&["updateTopic", "-b", &addr, "-t", "OverTls"], &good);
    assert!(printed.contains("success"), "{printed}");
    let printed = mqadmin(&["topicRoute", "-t", "OverTls"], &good);
    assert!(printed.contains(&addr), "{printed}");
    let printed = mqadmin(&["clusterList"], "");
    assert!(!printed.contains("broker-a"), "{printed}");
    assert!(broker.terminate().success());
}
