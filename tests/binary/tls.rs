//! Protects TLS of the built binary, on both implementations of I/O: what each mode takes, on every port; who is let in; that new files count without a restart and without a
//! lost connection; that peers who stop in a handshake hinder nobody; and that what cannot be used ends the start with a sentence.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringmq::wire::Value;
use ringmq::wire::codes::request::{GET_BROKER_RUNTIME_INFO, GET_ROUTEINFO_BY_TOPIC};

use crate::common::certificates::{Authority, Encrypted, serving};
use crate::common::client::{Client, send_to};
use crate::common::{Broker, Options, Process, SHORT_BENCH, SMALL, free_ports, ringmq, wait_until};

fn options(config: &str) -> Options<'_> {
    Options {
        config,
        ..Options::default()
    }
}

/// A folder with an authority, and the lines of a broker that has a certificate of it.
fn folder() -> (tempfile::TempDir, Authority, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path().join("ca.pem"));
    let (certificate, key) = authority.issue().save(folder.path(), "server");
    let config = format!("{SMALL}{}", serving(&certificate, &key));
    (folder, authority, config)
}

fn with_port(addr: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.ip(), port)
}

const OK: i32 = 0;
/// The name server's, for what only a broker answers.
const NOT_SUPPORTED: i32 = 3;

/// The answer to a request in plain text; `None` if the connection is closed.
fn plain(addr: SocketAddr) -> Option<i32> {
    let mut client = Client::connect(addr);
    let request = client.encode(GET_BROKER_RUNTIME_INFO, 0, &[], &[]);
    // The other side may have closed already.
    client.wire.0.write_all(&request).ok()?;
    client.receive().map(|reply| reply.code)
}

#[test]
fn one_port_takes_both() {
    for io in [None, Some("portable")] {
        let (folder, authority, config) = folder();
        let options = Options {
            io,
            ..options(&config)
        };
        let broker = Broker::start(&folder.path().join("store"), &options);
        let vip = with_port(broker.addr(), broker.port - 2);
        for (addr, answer) in [
            (broker.addr(), OK),
            (vip, OK),
            (broker.namesrv, NOT_SUPPORTED),
        ] {
            assert_eq!(plain(addr), Some(answer));
            for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
                let client = authority.client_of(None, &[version]);
                let asked =
                    Encrypted::connect(addr, &client).ask(GET_BROKER_RUNTIME_INFO, &[], &[]);
                assert_eq!(asked.expect("an answer over TLS"), answer, "{version:?}");
            }
        }
        let mut large = Encrypted::connect(broker.addr(), &authority.client(None));
        for size in [1, 100_000, 3 << 20] {
            assert_eq!(large.send("T", &vec![7; size]).expect("an answer"), OK);
        }
        assert!(broker.terminate().success());
    }
}

#[test]
fn enforcing_takes_no_plain_text_and_the_broker_itself_comes_over_tls() {
    let (folder, authority, config) = folder();
    let ca = authority.file.display();
    let config = format!(
        "{config}tls.server.mode=enforcing\ntls.enable=true\ntls.client.authServer=true\ntls.client.trustCertPath={ca}\n"
    );
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    for addr in [broker.addr(), broker.namesrv] {
        assert_eq!(plain(addr), None);
    }
    let mut client = Encrypted::connect(broker.addr(), &authority.client(None));
    assert_eq!(client.send("T", b"x").expect("an answer"), OK);
    let topic = [("topic", Value::Str("TBW102"))];
    let mut names = Encrypted::connect(broker.namesrv, &authority.client(None));
    let route = names.ask(GET_ROUTEINFO_BY_TOPIC, &topic, &[]);
    assert_eq!(route.expect("an answer"), OK, "it has registered");
    let says = "does not begin with TLS";
    wait_until("it is logged", || broker.log().contains(says));
    assert!(broker.terminate().success());
}

#[test]
fn without_a_certificate_or_disabled_tls_is_refused() {
    let (folder, authority, config) = folder();
    let disabled = format!("{config}tls.server.mode=disabled\n");
    for (nth, config) in [SMALL, &disabled].into_iter().enumerate() {
        let store = folder.path().join(format!("store-{nth}"));
        let broker = Broker::start(&store, &options(config));
        assert_eq!(plain(broker.addr()), Some(OK));
        let mut client = Encrypted::connect(broker.addr(), &authority.client(None));
        client.ask(GET_BROKER_RUNTIME_INFO, &[], &[]).unwrap_err();
        let says = "TLS, which is off here";
        wait_until("it is logged", || broker.log().contains(says));
        assert!(broker.terminate().success());
    }
}

#[test]
fn for_tests_a_certificate_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}tls.test.mode.enable=true\ntls.enable=true\n");
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    let stranger = Authority::new(folder.path().join("ca.pem"));
    let mut client = Encrypted::connect(broker.addr(), &stranger.client(None));
    let error = client.ask(GET_BROKER_RUNTIME_INFO, &[], &[]).unwrap_err();
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
    // The broker, which checks nothing, has registered over it.
    let known = Client::connect(broker.namesrv).route("TBW102");
    assert!(known.is_some());
    broker.log_with("nobody can check");
    assert!(broker.terminate().success());
}

#[test]
fn what_cannot_be_used_ends_the_start() {
    let (folder, authority, config) = folder();
    let other = authority.issue().save(folder.path(), "other");
    let certificate = folder.path().join("server.pem");
    let store = folder.path().join("store");
    let absent = Path::new("/none/such.pem");
    let serving = |certificate: &Path, key: &Path| format!("{SMALL}{}", serving(certificate, key));
    for (config, named) in [
        (
            serving(&certificate, &other.1),
            "is not that of the certificate",
        ),
        (serving(absent, &other.1), "/none/such.pem"),
        (serving(&other.1, &other.1), "has no certificate"),
        (serving(&certificate, &certificate), "has no private key"),
        (format!("{config}tls.server.mode=on\n"), "permissive"),
        (
            format!("{config}tls.server.mode=enforcing\n"),
            "tls.enable=true",
        ),
        (
            format!("{SMALL}tls.server.mode=enforcing\n"),
            "tls.server.certPath",
        ),
        (
            format!("{config}tls.server.need.client.auth=require\n"),
            "trustCertPath",
        ),
        (format!("{config}tls.protocols=SSLv3\n"), "TLSv1.2"),
    ] {
        let ended = Broker::try_start(&store, &options(&config)).err();
        let ended = ended.expect("it does not start");
        assert!(
            !ended.status.success() && ended.err.contains(named),
            "{named}: {}",
            ended.err
        );
    }
}

#[test]
fn only_clients_with_a_good_certificate_come_in() {
    let (folder, authority, config) = folder();
    let ca = authority.file.display();
    let config =
        format!("{config}tls.server.need.client.auth=require\ntls.server.trustCertPath={ca}\n");
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    let stranger = Authority::new(folder.path().join("stranger.pem"));
    let (good, bad) = (authority.issue(), stranger.issue());
    let expired = authority.issue_for(&["localhost"], 2020);
    for (shown, is_let_in) in [
        (Some(&good), true),
        (None, false),
        (Some(&bad), false),
        (Some(&expired), false),
    ] {
        let mut client = Encrypted::connect(broker.addr(), &authority.client(shown));
        let asked = client.ask(GET_BROKER_RUNTIME_INFO, &[], &[]);
        assert_eq!(asked.is_ok(), is_let_in, "{asked:?}");
    }
    let says = "TLS handshake has failed";
    wait_until("it is logged", || broker.log().contains(says));
    assert!(broker.terminate().success());
}

#[test]
fn new_files_count_without_a_restart_and_without_a_lost_connection() {
    let (folder, authority, config) = folder();
    let options = Options {
        cores: "0,0",
        ..options(&config)
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    let second = with_port(broker.addr(), broker.port + 10);
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let next = Authority::new(folder.path().join("next.pem"));
    let is_served = |addr, authority: &Authority| {
        let mut client = Encrypted::connect(addr, &authority.client(None));
        client.ask(GET_BROKER_RUNTIME_INFO, &[], &[]).is_ok()
    };
    let mut client = Encrypted::connect(broker.addr(), &authority.client(None));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(client.send("T", b"x").expect("it stays open"), OK);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (certificate, _) = next.issue().save(folder.path(), "server");
        for addr in [broker.addr(), second] {
            wait_until("the new certificate counts", || is_served(addr, &next));
            assert!(
                !is_served(addr, &authority),
                "the old one is not shown any more"
            );
        }
        std::fs::write(&certificate, "no certificate").expect("it is written");
        let says = "cannot be used; new connections are made as before";
        wait_until("the wrong file is seen", || broker.log().contains(says));
        assert!(is_served(second, &next));
        let before = sent.load(Ordering::Relaxed);
        wait_until("it still sends", || sent.load(Ordering::Relaxed) > before);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        broker.log().matches("cannot be used").count(),
        1,
        "{}",
        broker.log()
    );
    assert!(broker.terminate().success());
}

/// The beginning of a client's first record.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3];

#[test]
fn two_thousand_that_stop_in_a_handshake_hinder_nobody() {
    ringmq::ring::linux::raise_limits();
    let (folder, authority, config) = folder();
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    let mut plain = Client::connect(broker.addr());
    let mut secured = Encrypted::connect(broker.addr(), &authority.client(None));
    let mut stopped = Vec::new();
    for nth in 0..2_000 {
        let mut stream = TcpStream::connect(broker.addr()).expect("the port listens");
        stream.write_all(HALF_A_HELLO).expect("it is taken");
        stopped.push(stream);
        if nth % 50 == 0 {
            plain.send(&send_to("T", -1), b"plain").ok();
            assert_eq!(secured.send("T", b"secured").expect("an answer"), OK);
        }
    }
    let mut late = Encrypted::connect(broker.addr(), &authority.client(None));
    assert_eq!(late.send("T", b"late").expect("an answer"), OK);
    drop(stopped);
    assert!(broker.terminate().success());
}

#[test]
fn a_name_server_of_its_own_and_the_brokers_that_believe_it() {
    let (folder, authority, config) = folder();
    let stranger = Authority::new(folder.path().join("stranger.pem"));
    let (_, namesrv_port) = free_ports();
    let file = folder.path().join("namesrv.conf");
    let text = format!("{config}tls.server.mode=enforcing\nbindAddress=127.0.0.1\n");
    std::fs::write(&file, text).expect("it is written");
    let mut command = ringmq(["namesrv", "--port", &namesrv_port.to_string(), "--config"]);
    let (_names, _) = Process::spawn(command.arg(&file))
        .until_ready()
        .expect("it starts");
    let namesrv = SocketAddr::from(([127, 0, 0, 1], namesrv_port));
    assert_eq!(plain(namesrv), None);
    for (ca, is_believed) in [(&stranger.file, false), (&authority.file, true)] {
        let ca = ca.display();
        let config = format!(
            "{SMALL}tls.enable=true\ntls.client.authServer=true\ntls.client.trustCertPath={ca}\n"
        );
        let (port, _) = free_ports();
        let options = Options {
            ports: Some((port, namesrv_port)),
            joins_namesrv: true,
            ..options(&config)
        };
        let broker = Broker::start(&folder.path().join("store"), &options);
        let mut asked = Encrypted::connect(namesrv, &authority.client(None));
        let topic = [("topic", Value::Str("TBW102"))];
        let route = asked.ask(GET_ROUTEINFO_BY_TOPIC, &topic, &[]);
        assert_eq!(
            route.expect("an answer") == OK,
            is_believed,
            "{}",
            broker.log()
        );
        assert!(broker.terminate().success());
    }
}

#[test]
fn our_own_clients_come_over_tls() {
    let (folder, authority, config) = folder();
    let ca = authority.file.to_str().expect("a plain name");
    let (certificate, key) = authority.issue().save(folder.path(), "client");
    let (certificate, key) = (certificate.display(), key.display());
    let config = format!(
        "{config}tls.server.mode=enforcing\ntls.server.need.client.auth=require\ntls.server.trustCertPath={ca}\ntls.enable=true\n\
         tls.client.certPath={certificate}\ntls.client.keyPath={key}\n"
    );
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    let namesrv = broker.namesrv.to_string();
    let stranger = Authority::new(folder.path().join("stranger.pem"));
    let of_stranger = stranger.file.to_str().expect("a plain name");
    let shown = [certificate.to_string(), key.to_string()];
    let run = |words: &[&str], flags: &[&str]| {
        let mut command = ringmq(words);
        let output = command.args(["--namesrv", &namesrv]).args(flags).output();
        let output = output.expect("it runs");
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        (output.status.success(), printed)
    };
    let [certificate, key] = &shown;
    let good = [
        "--tls",
        "--tls-ca",
        ca,
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ];
    let send = ["send", "--topic", "T", "an encrypted body"];
    for (flags, is_sent) in [
        (&good[..], true),
        (
            &[
                "--tls",
                "--tls-skip-verify",
                "--tls-cert",
                certificate,
                "--tls-key",
                key,
            ],
            true,
        ),
        (
            &[
                "--tls",
                "--tls-ca",
                of_stranger,
                "--tls-cert",
                certificate,
                "--tls-key",
                key,
            ],
            false,
        ),
        (&["--tls", "--tls-ca", ca], false),
        (&[], false),
    ] {
        let (sent, printed) = run(&send, flags);
        assert_eq!(sent, is_sent, "{flags:?}: {printed}");
    }
    let consume = [
        "consume", "--topic", "T", "--group", "g", "--from", "first", "--count", "2",
    ];
    let (is_consumed, printed) = run(&consume, &good);
    assert!(is_consumed, "{printed}");
    assert_eq!(printed.matches("an encrypted body").count(), 2, "{printed}");
    let (has_run, printed) = run(&SHORT_BENCH, &good);
    assert!(has_run, "{printed}");
    assert!(broker.terminate().success());
}

/// A send is acknowledged when the slave has it, which comes over TLS with a certificate of its own; a slave in plain text is not let in.
#[test]
fn a_slave_follows_over_tls() {
    let (folder, authority, config) = folder();
    let ca = authority.file.display();
    let (certificate, key) = authority.issue().save(folder.path(), "client");
    let tls = format!(
        "{config}tls.server.mode=enforcing\ntls.server.need.client.auth=require\ntls.server.trustCertPath={ca}\ntls.enable=true\n\
         tls.client.authServer=true\ntls.client.trustCertPath={ca}\ntls.client.certPath={}\ntls.client.keyPath={}\nbrokerName=a\n",
        certificate.display(),
        key.display()
    );
    let of_master = format!("{tls}haTlsEnable=true\nbrokerRole=SYNC_MASTER\nslaveTimeout=60000\n");
    let master = Broker::start(&folder.path().join("master"), &options(&of_master));
    let own = authority.issue();
    let mut producer = Encrypted::connect(master.addr(), &authority.client(Some(&own)));
    assert_ne!(producer.send("T", b"alone").expect("an answer"), OK);
    let start_slave = |lines: &str| {
        let (port, _) = free_ports();
        let of_slave = format!("{tls}{lines}brokerRole=SLAVE\nbrokerId=1\n");
        let options = Options {
            ports: Some((port, master.namesrv.port())),
            joins_namesrv: true,
            ..options(&of_slave)
        };
        Broker::start(&folder.path().join("slave"), &options)
    };
    let slave = start_slave("");
    let says = "does not begin with TLS";
    wait_until("the plain link is refused", || master.log().contains(says));
    assert_ne!(producer.send("T", b"alone").expect("an answer"), OK);
    assert!(slave.terminate().success());
    let slave = start_slave("haTlsEnable=true\n");
    wait_until("both have it", || {
        producer.send("T", b"x").expect("an answer") == OK
    });
    for _ in 0..20 {
        assert_eq!(
            producer.send("T", &vec![7; 200_000]).expect("an answer"),
            OK
        );
    }
    assert!(slave.terminate().success());
    assert!(master.terminate().success());
}
