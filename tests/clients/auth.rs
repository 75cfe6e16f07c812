//! Protects clients that sign, of each kind, and mqadmin with users: it signs with its `tools.yml`, manages users and policies, and prints what it printed against RocketMQ 5.5.0
//! (`tests/clients/auth/expected.txt`: `run.sh` against the real broker with the same settings).

use tempfile::TempDir;

use crate::common::scripts::{Script, missing};
use crate::common::signing::As;
use crate::common::{Broker, Options};
use crate::suites::one_tool_at_a_time;
use ringmq::wire::Value;
use ringmq::wire::codes::request;

const CONFIG: &str = r#"brokerName=broker-a
authenticationEnabled=true
authenticationProvider=org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider
authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider
initAuthenticationUser={"username":"rocketmq","password":"12345678"}
innerClientAuthenticationCredentials={"accessKey":"rocketmq","secretKey":"12345678"}
authorizationEnabled=true
authorizationProvider=org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider
authorizationMetadataProvider=org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider
"#;

fn start(folder: &TempDir) -> Broker {
    let options = Options {
        config: CONFIG,
        ..Options::default()
    };
    Broker::start(&folder.path().join("store"), &options)
}

#[test]
fn mqadmin_manages_users_as_at_rocketmq() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_tool_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder);
    let out = folder.path().join("out.txt");
    let (namesrv, addr) = (broker.namesrv.to_string(), broker.addr().to_string());
    let words = [
        namesrv.as_str(),
        &addr,
        "rocketmq",
        "12345678",
        out.to_str().expect("a plain name"),
    ];
    Script::new("auth/run.sh", &words).run();
    let printed = std::fs::read_to_string(&out).expect("it is written");
    assert_eq!(printed, include_str!("auth/expected.txt"));
    assert!(broker.terminate().success());
}

/// What `Signed.java` prints; of the Go client's errors only that there are some.
const SIGNED: &str = "sent SEND_OK
forbidden 16 User:app has no permission to access Topic:Yours from 127.0.0.1, no matched policies.
long SEND_OK
wrong 16 check signature failed.
unsigned 16 username cannot be null.
received 1048582
DONE
";

#[test]
fn stock_clients_sign() {
    if missing(&["java", "mvn", "go"]) {
        return;
    }
    let _turn = one_tool_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(&folder);
    let namesrv = broker.namesrv.to_string();
    let mut admin = As::new(broker.addr(), "rocketmq", "12345678");
    make_user(&mut admin);
    for (topic, client) in [("Of550", "5.5.0"), ("Of498", "4.9.8")] {
        let words = [
            client,
            "Signed",
            &namesrv,
            "app",
            "app-secret",
            topic,
            "mine",
            "Yours",
        ];
        assert_eq!(printed("java/run.sh", &words), SIGNED, "{client}");
    }
    let words = "app,app-secret,OfGo,gomine,Yours";
    let of_go = printed("go/run.sh", &["-namesrv", &namesrv, "-signed", words]);
    let refused = |line: &str| match line.split_once(" 16 ") {
        Some((what, _)) => format!("{what} refused\n"),
        None => format!("{line}\n"),
    };
    let expected: String = SIGNED.lines().map(refused).collect();
    assert_eq!(of_go, expected);
    assert!(broker.terminate().success());
}

/// `app` may publish and subscribe to some topics in two groups; of `Yours` it may nothing.
fn make_user(admin: &mut As<'_>) {
    let user = r#"{"username":"app","password":"app-secret"}"#;
    let name = [("username", Value::Str("app"))];
    admin.ask(request::AUTH_CREATE_USER, &name, user).ok();
    let subject = [("subject", Value::Str("User:app"))];
    let acl = r#"{"subject":"User:app","policies":[{"policyType":"Custom","entries":[{"resource":"Topic:Of*","actions":["Pub","Sub"],"decision":"Allow"},{"resource":"Group:mine","actions":["Sub"],"decision":"Allow"},{"resource":"Group:gomine","actions":["Sub"],"decision":"Allow"}]}]}"#;
    admin.ask(request::AUTH_CREATE_ACL, &subject, acl).ok();
    for topic in ["Of550", "Of498", "OfGo", "Yours"] {
        let fields = [
            ("topic", Value::Str(topic)),
            ("defaultTopic", Value::Str("TBW102")),
            ("readQueueNums", Value::I64(4)),
            ("writeQueueNums", Value::I64(4)),
            ("perm", Value::I64(6)),
            ("topicFilterType", Value::Str("SINGLE_TAG")),
        ];
        admin
            .ask(request::UPDATE_AND_CREATE_TOPIC, &fields, "")
            .ok();
    }
}

fn printed(script: &str, words: &[&str]) -> String {
    let output = Script::new(script, words).command().output();
    let output = output.expect("bash is there");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{err}");
    printed
}
