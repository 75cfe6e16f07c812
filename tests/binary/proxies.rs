//! Protects connections that come through a proxy (PROXY protocol): they are of the address that a trusted proxy says, for users, administration, lists and messages, on every port
//! for clients; nobody else's word counts; and what is no header ends the connection and is logged.

use std::io::Write;
use std::net::SocketAddr;

use ringmq::wire::Value;
use ringmq::wire::codes::request::*;

use crate::common::certificates::{Authority, Encrypted, serving};
use crate::common::client::{Client, send_to};
use crate::common::signing::As;
use crate::common::{Broker, Options, Process, SMALL, free_ports, ringmq, wait_until};

const OK: i32 = 0;
/// The name server's, for what only a broker answers.
const NOT_SUPPORTED: i32 = 3;
const DENIED: i32 = 16;

const V1: &[u8] = b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 10911\r\n";
const V6: &[u8] = b"PROXY TCP6 2001:db8::9 ::1 4711 10911\r\n";
/// 198.51.100.7:4711, and the name of a certificate behind the addresses.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc6\x33\x64\x07\x7f\0\0\x01\x12\x67\x2a\x9f\x22\0\x04name";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn start(folder: &tempfile::TempDir, lines: &str) -> Broker {
    start_on(folder, lines, None)
}

fn start_on(folder: &tempfile::TempDir, lines: &str, io: Option<&'static str>) -> Broker {
    let config = format!("{SMALL}proxyProtocolFrom=127.0.0.1\n{lines}");
    let options = Options {
        config: &config,
        io,
        ..Options::default()
    };
    Broker::start(&folder.path().join("store"), &options)
}

/// A client behind these bytes, which go out in these pieces.
fn behind<'a>(addr: SocketAddr, pieces: impl IntoIterator<Item = &'a [u8]>) -> Client {
    let mut client = Client::connect(addr);
    for piece in pieces {
        // The other side may have closed already.
        let _ = client.wire.0.write_all(piece);
    }
    client
}

/// The code of an answer; `None`: the connection is closed.
fn asked(client: &mut Client) -> Option<i32> {
    let request = client.encode(GET_BROKER_RUNTIME_INFO, 0, &[], &[]);
    client.wire.0.write_all(&request).ok()?;
    client.receive().map(|reply| reply.code)
}

fn in_port(addr: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.ip(), port)
}

#[test]
fn every_port_for_clients_takes_both_versions_in_whatever_pieces() {
    for io in [None, Some("portable")] {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = start_on(&folder, "", io);
        let vip = in_port(broker.addr(), broker.port - 2);
        for (addr, answer) in [
            (broker.addr(), OK),
            (vip, OK),
            (broker.namesrv, NOT_SUPPORTED),
        ] {
            for header in [V1, V6, V2, LOCAL, b"PROXY UNKNOWN\r\n", b""] {
                let mut client = behind(addr, [header]);
                assert_eq!(asked(&mut client), Some(answer), "{header:?}");
                let mut client = behind(addr, header.chunks(1));
                assert_eq!(asked(&mut client), Some(answer), "{header:?}");
            }
            // With the request behind it.
            let mut client = Client::connect(addr);
            let request = client.encode(GET_BROKER_RUNTIME_INFO, 0, &[], &[]);
            client.wire.send(&[V2, &request].concat());
            assert_eq!(client.receive().map(|reply| reply.code), Some(answer));
        }
        assert!(broker.terminate().success());
    }
}

#[test]
fn administration_counts_from_the_address_behind_the_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "adminFrom=127.0.0.1,198.51.100.0/24\n");
    let change = |header: &'static [u8]| {
        let mut client = behind(broker.addr(), [header]);
        client.ask(UPDATE_BROKER_CONFIG, &[], b"fileReservedTime=1")
    };
    for header in [V2, LOCAL, b""] {
        change(header).ok();
    }
    change(V1).refused(DENIED, "not allowed from 192.0.2.9: adminFrom");
    change(V6).refused(DENIED, "not allowed from 2001:db8::9: adminFrom");
    let key = [
        ("namespace", Value::Str("n")),
        ("key", Value::Str("k")),
        ("value", Value::Str("v")),
    ];
    let mut names = behind(broker.namesrv, [V1]);
    names
        .ask(PUT_KV_CONFIG, &key, b"")
        .refused(DENIED, "192.0.2.9");
    behind(broker.namesrv, [V2])
        .ask(PUT_KV_CONFIG, &key, b"")
        .ok();
    broker.log_with("192.0.2.9");
    broker.log_with("2001:db8::9");
    assert!(broker.terminate().success());
}

/// A policy with an address of ACL 2.0, and the count of strangers of an address.
#[test]
fn users_and_strangers_are_of_the_address_behind_the_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(
        &folder,
        "authenticationEnabled=true\nauthorizationEnabled=true\n\
         initAuthenticationUser={\"username\":\"root\",\"password\":\"root-secret\"}\n\
         innerClientAuthenticationCredentials={\"accessKey\":\"inner\",\"secretKey\":\"inner-secret\"}\n",
    );
    let mut root = As::new(broker.addr(), "root", "root-secret");
    let name = [("username", Value::Str("u"))];
    let user = r#"{"username":"u","password":"user-secret"}"#;
    root.ask(AUTH_CREATE_USER, &name, user).ok();
    let subject = [("subject", Value::Str("User:u"))];
    let acl = r#"{"subject":"User:u","policies":[{"policyType":"Custom","entries":[{"resource":"Topic:t","actions":["Pub"],"sourceIps":["198.51.100.0/24"],"decision":"Allow"}]}]}"#;
    root.ask(AUTH_CREATE_ACL, &subject, acl).ok();
    let send = |header: &'static [u8]| {
        let client = behind(broker.addr(), [header]);
        let mut user = As::over(client, "u", "user-secret");
        user.ask(SEND_MESSAGE_V2, &send_to("t", -1).ext(), "x")
    };
    send(V2).ok();
    send(V1).refused(DENIED, "from 192.0.2.9");
    send(LOCAL).refused(DENIED, "from 127.0.0.1");

    // 256 of an address may be strangers; those of the proxy itself are none of them.
    let mut strangers: Vec<_> = (0..300).map(|_| behind(broker.addr(), [V1])).collect();
    let unanswered = strangers.iter_mut().filter_map(asked).count();
    assert_eq!(unanswered, 256);
    assert_eq!(asked(&mut behind(broker.addr(), [V1])), None);
    assert_eq!(asked(&mut behind(broker.addr(), [V2])), Some(DENIED));
    assert_eq!(asked(&mut Client::connect(broker.addr())), Some(DENIED));
    assert!(broker.terminate().success());
}

#[test]
fn lists_and_messages_have_the_address_behind_the_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    let mut client = behind(broker.addr(), [V1]);
    client.send(&send_to("T", 0), b"from afar").ok();
    let heartbeat = br#"{"clientID":"far","consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"topic":"T","subString":"*"}]}]}"#;
    client.ask(HEART_BEAT, &[], heartbeat).ok();
    let group = [("consumerGroup", Value::Str("g"))];
    let mut near = Client::connect(broker.addr());
    let list = near.ask(GET_CONSUMER_CONNECTION_LIST, &group, b"").ok();
    let list = String::from_utf8_lossy(&list.body).into_owned();
    assert!(list.contains("192.0.2.9:4711"), "{list}");
    let place = [("offset", Value::I64(0))];
    let record = near.ask(VIEW_MESSAGE_BY_ID, &place, b"").ok().body;
    // Behind 48 bytes of other fields: address and port.
    assert_eq!(record[48..52], [192, 0, 2, 9]);
    assert!(broker.terminate().success());
}

#[test]
fn tls_follows_the_header_on_every_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path().join("ca.pem"));
    let (certificate, key) = authority.issue().save(folder.path(), "server");
    let tls = serving(&certificate, &key);
    let ca = authority.file.display();
    let broker = start(
        &folder,
        &format!(
            "{tls}tls.server.mode=enforcing\ntls.enable=true\ntls.client.authServer=true\ntls.client.trustCertPath={ca}\nadminFrom=198.51.100.7\n"
        ),
    );
    let change = |header: &[u8]| {
        let mut client = Encrypted::connect(broker.addr(), &authority.client(None));
        client.stream.sock.write_all(header).expect("it is taken");
        client.ask(UPDATE_BROKER_CONFIG, &[], b"fileReservedTime=1")
    };
    assert_eq!(change(V2).expect("an answer"), OK);
    assert_eq!(change(V1).expect("an answer"), DENIED);
    assert_eq!(change(b"").expect("an answer"), DENIED);
    // Plain text behind a header is refused as it is without one.
    assert_eq!(asked(&mut behind(broker.addr(), [V1])), None);
    let says = "192.0.2.9:4711 error=it does not begin with TLS";
    wait_until("it is logged", || broker.log().contains(says));
    assert!(broker.terminate().success());
}

#[test]
fn a_stranger_and_a_wrong_header_are_refused_and_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |lines: &str, pieces: &[&[u8]], says: &str| {
        let broker = start(&folder, lines);
        let mut client = behind(broker.addr(), pieces.iter().copied());
        assert_eq!(asked(&mut client), None, "{says}");
        wait_until(says, || broker.log().contains(says));
        assert_eq!(asked(&mut Client::connect(broker.addr())), Some(OK));
        assert!(broker.terminate().success());
    };
    let endless = [b'x'; 5_000];
    let stranger = "proxyProtocolFrom=192.0.2.0/24\n";
    refused(stranger, &[V1], "none of proxyProtocolFrom");
    refused("proxyProtocolFrom=\n", &[V2], "none of proxyProtocolFrom");
    refused("", &[V1, V1], "a second PROXY header");
    refused(
        "",
        &[b"PROXY TCP4 a b 1 2\r\n"],
        "no addresses that can be read",
    );
    refused(
        "",
        &[b"PROXY UNKNOWN", &endless],
        "PROXY header is too long",
    );
    let too_long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
    refused("", &[too_long], "PROXY header is too long");
}

/// Many of them are few lines, and hinder nobody.
#[test]
fn headers_that_do_not_end_hinder_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder, "");
    let stopped: Vec<_> = (0..700)
        .map(|_| behind(broker.addr(), [&V1[..20]]))
        .collect();
    let mut client = behind(broker.addr(), [V2]);
    client.send(&send_to("T", 0), b"x").ok();
    client.tell(HEART_BEAT, &[], b"{\"clientID\":\"far\"}");
    drop(stopped);
    assert_eq!(asked(&mut client), Some(OK));
    assert!(broker.log().matches("has not said whose it is").count() < 50);
    assert!(broker.terminate().success());
}

#[test]
fn a_name_server_of_its_own_has_the_setting_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, port) = free_ports();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let file = folder.path().join("namesrv.conf");
    let start = |proxies: &str| {
        let text =
            format!("bindAddress=127.0.0.1\nproxyProtocolFrom={proxies}\nadminFrom=192.0.2.9\n");
        std::fs::write(&file, text).expect("it is written");
        let mut command = ringmq(["namesrv", "--port", &port.to_string(), "--config"]);
        Process::spawn(command.arg(&file)).until_ready()
    };
    let key = [
        ("namespace", Value::Str("n")),
        ("key", Value::Str("k")),
        ("value", Value::Str("v")),
    ];
    let (names, _) = start("127.0.0.0/8").expect("it starts");
    behind(addr, [V1]).ask(PUT_KV_CONFIG, &key, b"").ok();
    let mut other = behind(addr, [V2]);
    other
        .ask(PUT_KV_CONFIG, &key, b"")
        .refused(DENIED, "198.51.100.7");
    drop(names);
    let ended = start("somebody").err().expect("it does not start");
    assert!(ended.err.contains("proxyProtocolFrom"), "{}", ended.err);
}
