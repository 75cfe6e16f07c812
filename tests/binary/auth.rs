//! Protects a broker with users: nothing without a signature, nothing without a right, no secret in any answer, on every core the same; and the name server beside it takes no
//! registration from a stranger.

use std::os::unix::fs::PermissionsExt;

use crate::common::client::{Client, Reply, send_to};
use crate::common::signing::As;
use crate::common::{Broker, Options, SHORT_BENCH, SMALL, ringmq};
use ringmq::wire::Value;
use ringmq::wire::codes::request::*;

const USERS: &str = r#"authenticationEnabled=true
authorizationEnabled=true
initAuthenticationUser={"username":"root","password":"root-secret"}
innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"inner-secret"}
"#;

fn send(user: &mut As<'_>, topic: &str) -> Reply {
    let fields = [
        ("a", Value::Str("producers")),
        ("b", Value::Str(topic)),
        ("c", Value::Str("TBW102")),
        ("d", Value::I64(4)),
        ("e", Value::I64(0)),
        ("f", Value::I64(0)),
        ("g", Value::I64(1_700_000_000_000)),
        ("h", Value::I64(0)),
        ("i", Value::Str("")),
    ];
    user.ask(SEND_MESSAGE_V2, &fields, "a body")
}

fn options(config: &str) -> Options<'_> {
    Options {
        config,
        ..Options::default()
    }
}

#[test]
fn a_user_may_what_its_policies_allow() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}{USERS}");
    let options = Options {
        cores: "0,0",
        ..options(&config)
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    let (first, mut second) = (broker.addr(), broker.addr());
    second.set_port(first.port() + 10);

    let unsigned = |code| Client::connect(first).ask(code, &[], b"{}");
    for code in [GET_BROKER_CONFIG, AUTH_LIST_USER, HEART_BEAT, 77] {
        unsigned(code).refused(16, "username cannot be null.");
    }
    send(&mut As::new(first, "root", "wrong"), "t").refused(16, "check signature failed.");
    send(&mut As::new(first, "none", "wrong"), "t").refused(16, "User:none is not found.");

    let mut root = As::new(first, "root", "root-secret");
    let name = [("username", Value::Str("u"))];
    let user = r#"{"username":"u","password":"user-secret"}"#;
    root.ask(AUTH_CREATE_USER, &name, user).ok();
    root.ask(AUTH_CREATE_USER, &name, user)
        .refused(16, "The user is existed");
    // What mqadmin -c does next: the same at the broker of the other core.
    As::new(second, "root", "root-secret")
        .ask(AUTH_CREATE_USER, &name, user)
        .ok();

    let mut users = [first, second].map(|addr| As::new(addr, "u", "user-secret"));
    for user in &mut users {
        send(user, "t").refused(
            16,
            "User:u has no permission to access Topic:t from 127.0.0.1, no matched policies.",
        );
    }
    let subject = [("subject", Value::Str("User:u"))];
    let acl = r#"{"subject":"User:u","policies":[{"policyType":"Custom","entries":[{"resource":"Topic:t*","actions":["Pub"],"decision":"Allow"},{"resource":"Topic:tx","actions":["Pub"],"decision":"Deny"}]}]}"#;
    root.ask(AUTH_CREATE_ACL, &subject, acl).ok();
    for user in &mut users {
        send(user, "t").ok();
        send(user, "tx").refused(16, "the decision is deny.");
        user.ask(GET_BROKER_CONFIG, &[], "")
            .refused(16, "Cluster:DefaultCluster");
    }
    // A place in the log names no topic: the message does.
    let place = [("offset", Value::I64(0))];
    root.ask(VIEW_MESSAGE_BY_ID, &place, "").ok();
    let [user, _] = &mut users;
    user.ask(VIEW_MESSAGE_BY_ID, &place, "")
        .refused(16, "Topic:t ");
    root.ask(AUTH_DELETE_USER, &name, "").ok();
    for user in &mut users {
        send(user, "t").refused(16, "User:u is not found.");
    }
    let log = broker.log_with("denied");
    assert!(!log.contains("-secret"), "{log}");
    assert!(broker.terminate().success());
}

#[test]
fn no_answer_and_no_file_of_others_has_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let config = format!("{SMALL}{USERS}");
    let broker = Broker::start(&store, &options(&config));
    let mut root = As::new(broker.addr(), "root", "root-secret");
    for code in [GET_BROKER_CONFIG, GET_BROKER_RUNTIME_INFO] {
        let answered = root.ask(code, &[], "").ok();
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert!(!text.is_empty() && !text.contains("-secret"), "{text}");
    }
    let file = store.join("config/auth.json");
    let mode = std::fs::metadata(&file)
        .expect("it is written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let change = "authenticationEnabled=false";
    root.ask(UPDATE_BROKER_CONFIG, &[], change)
        .refused(16, "Can not update config in black list");
    assert!(broker.terminate().success());

    // The users are there again, whatever the settings say of them.
    let changed = config.replace("root-secret", "another");
    let broker = Broker::start(&store, &options(&changed));
    As::new(broker.addr(), "root", "root-secret")
        .ask(AUTH_LIST_USER, &[], "")
        .ok();
    assert!(broker.terminate().success());
}

#[test]
fn a_stranger_registers_no_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}{USERS}");
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    let mut asked = Client::connect(broker.namesrv);
    // The broker has signed, and reading is open.
    assert!(asked.route("TBW102").is_some());
    let stranger = [
        ("brokerName", Value::Str("evil")),
        ("brokerAddr", Value::Str("127.0.0.1:1")),
        ("clusterName", Value::Str("DefaultCluster")),
        ("haServerAddr", Value::Str("127.0.0.1:2")),
        ("brokerId", Value::I64(0)),
    ];
    for code in [
        REGISTER_BROKER,
        UNREGISTER_BROKER,
        PUT_KV_CONFIG,
        UPDATE_NAMESRV_CONFIG,
        WIPE_WRITE_PERM_OF_BROKER,
    ] {
        asked
            .ask(code, &stranger, b"")
            .refused(16, "username cannot be null.");
    }
    assert!(broker.terminate().success());
}

/// Without any authentication.
#[test]
fn administration_comes_from_the_addresses_that_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |admin_from: &str| {
        let config = format!("{SMALL}adminFrom={admin_from}\n");
        Broker::start(&folder.path().join("store"), &options(&config))
    };
    let topic = [
        ("topic", Value::Str("T")),
        ("defaultTopic", Value::Str("TBW102")),
        ("readQueueNums", Value::I64(1)),
        ("writeQueueNums", Value::I64(1)),
        ("perm", Value::I64(6)),
        ("topicFilterType", Value::Str("SINGLE_TAG")),
    ];
    let key = [
        ("namespace", Value::Str("n")),
        ("key", Value::Str("k")),
        ("value", Value::Str("v")),
    ];
    let broker = start("10.0.0.0/8,::1");
    let asked = || Client::connect(broker.addr());
    asked()
        .ask(UPDATE_AND_CREATE_TOPIC, &topic, b"")
        .refused(16, "not allowed from 127.0.0.1: adminFrom");
    let changed = b"fileReservedTime=1";
    asked()
        .ask(UPDATE_BROKER_CONFIG, &[], changed)
        .refused(16, "adminFrom");
    Client::connect(broker.namesrv)
        .ask(PUT_KV_CONFIG, &key, b"")
        .refused(16, "adminFrom");
    asked().send(&send_to("Orders", 0), b"from everywhere").ok();
    asked().ask(GET_BROKER_CONFIG, &[], b"").ok();
    assert!(broker.terminate().success());

    let broker = start("127.0.0.1");
    let mut asked = Client::connect(broker.addr());
    asked.ask(UPDATE_AND_CREATE_TOPIC, &topic, b"").ok();
    asked.ask(UPDATE_BROKER_CONFIG, &[], changed).ok();
    Client::connect(broker.namesrv)
        .ask(PUT_KV_CONFIG, &key, b"")
        .ok();
    // The audit has each of them.
    for code in [UPDATE_AND_CREATE_TOPIC, UPDATE_BROKER_CONFIG, PUT_KV_CONFIG] {
        broker.log_with(&format!("code={code} of="));
    }
    assert!(broker.terminate().success());
}

#[test]
fn half_of_it_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, named) in [
        ("authorizationEnabled=true\n", "authorizationEnabled"),
        ("aclEnable=true\n", "aclEnable"),
        ("authenticationEnabled=true\n", "initAuthenticationUser"),
    ] {
        let config = format!("{SMALL}{text}");
        let ended = Broker::try_start(&folder.path().join("store"), &options(&config)).err();
        let ended = ended.expect("it does not start");
        assert!(
            !ended.status.success() && ended.err.contains(named),
            "{text}: {}",
            ended.err
        );
    }
}

#[test]
fn our_own_clients_sign() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}{USERS}namesrvAuth=all\n");
    let broker = Broker::start(&folder.path().join("store"), &options(&config));
    let namesrv = broker.namesrv.to_string();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "root-secret\n").expect("it is written");
    let secret = secret.to_str().expect("a plain name");
    let run = |words: &[&str], secret: &str| {
        let mut command = ringmq(words);
        command.args(["--namesrv", &namesrv]);
        if !secret.is_empty() {
            command.args(["--access-key", "root", "--secret-key-file", secret]);
        }
        let output = command.output().expect("it runs");
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        (output.status.success(), printed)
    };
    let send = ["send", "--topic", "T", "a signed body"];
    let unsigned = "username cannot be null";
    let (is_sent, printed) = run(&send, "");
    assert!(!is_sent && printed.contains(unsigned), "{printed}");
    let (is_sent, printed) = run(&send, secret);
    assert!(is_sent, "{printed}");
    let consume = [
        "consume", "--topic", "T", "--group", "g", "--from", "first", "--count", "1",
    ];
    let (is_consumed, printed) = run(&consume, secret);
    assert!(
        is_consumed && printed.contains("a signed body"),
        "{printed}"
    );
    for codec in ["json", "rocketmq"] {
        let bench = [&SHORT_BENCH[..], &["--codec", codec]].concat();
        let (has_run, printed) = run(&bench, secret);
        assert!(has_run && !printed.contains(unsigned), "{printed}");
        assert!(!printed.contains("NO_PERMISSION"), "{printed}");
        assert!(printed.contains("write wait"), "no stages: {printed}");
    }
    let (has_run, printed) = run(&SHORT_BENCH, "");
    assert!(!has_run && printed.contains(unsigned), "{printed}");
    assert!(broker.terminate().success());
}
