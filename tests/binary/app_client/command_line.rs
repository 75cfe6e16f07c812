//! `ringmq send` and `ringmq consume`.

use super::*;

/// `ringmq send` or `consume` with these words and this stdin.
fn run(broker: &Broker, words: &[&str], stdin: &str) -> Output {
    let mut command: Command = ringmq(words);
    command.args(["--namesrv", &broker.namesrv.to_string()]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    // It may have ended without reading.
    drop(written);
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The same, with words that have no blanks.
fn run_line(broker: &Broker, line: &str, stdin: &str) -> Output {
    let words: Vec<_> = line.split(' ').collect();
    run(broker, &words, stdin)
}

#[test]
fn the_command_line_sends_and_consumes() {
    let (_folder, broker) = start();
    let send = "send --topic Cli --tag a --key k --property n=v hello";
    let sent = run_line(&broker, send, "");
    assert!(sent.status.success(), "{sent:?}");
    let text = String::from_utf8_lossy(&sent.stdout);
    assert!(text.contains("is at offset 0 of queue"), "{sent:?}");
    let send = "send --topic Cli --tag b --count 20 --json";
    let sent = lines(&run_line(&broker, send, "from stdin"));
    assert_eq!((sent.len(), sent[0]["status"].as_str()), (20, Some("Ok")));

    let with = |more: &str| {
        let consume = "consume --topic Cli --group cli --from first --json";
        run_line(&broker, &format!("{consume} {more}"), "")
    };
    let first = with("--count 5");
    assert!(first.status.success(), "{first:?}");
    let rest = with("--count 16");
    let mut all = [lines(&first), lines(&rest)].concat();
    let id = |line: &serde_json::Value| line["messageId"].to_string();
    let ids: BTreeSet<_> = all.iter().map(id).collect();
    assert_eq!((all.len(), ids.len()), (21, 21));
    all.retain(|line| line["tag"] == "a");
    let [tagged] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!(tagged["body"], "hello");
    assert_eq!(tagged["keys"][0], "k");
    assert_eq!(tagged["properties"]["n"], "v");
    assert!(lines(&with("--idle 1s")).is_empty());
}

/// What one prints the other takes, and a body that is no text survives it.
#[test]
fn what_was_consumed_can_be_sent_again() {
    let (_folder, broker) = start();
    let sent = run_line(&broker, "send --topic Cli --tag a --property n=v hello", "");
    assert!(sent.status.success(), "{sent:?}");
    let consume = "consume --topic Cli --group cli --from first --json --count 1";
    let printed = String::from_utf8(run_line(&broker, consume, "").stdout).unwrap();
    let binary = r#"{"bodyBase64":"AP+A","tag":"c","orderBy":"k"}"#;
    let send = "send --topic Copy --json-lines -";
    let sent = run_line(&broker, send, &format!("{printed}{binary}\n"));
    assert!(sent.status.success(), "{sent:?}");
    let consume = "consume --topic Copy --group copy --from first --json --count 2 --broadcast";
    let copied: BTreeMap<_, _> = lines(&run_line(&broker, consume, ""))
        .into_iter()
        .map(|line| (line["tag"].to_string(), line))
        .collect();
    assert_eq!(copied["\"a\""]["properties"]["n"], "v");
    assert_eq!(copied["\"c\""]["bodyBase64"], "AP+A");
    let consume = "consume --topic Copy --group tagged --from first --tag a --count 1 --orderly";
    assert_eq!(run_line(&broker, consume, "").stdout, b"hello\n");
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let (_folder, broker) = start();
    let failed = |words: &[&str], stdin: &str, code: i32, why: &str| {
        let output = run(&broker, words, stdin);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
    };
    failed(&["send", "--topic", "a b", "x"], "", 1, "illegal character");
    failed(&["send", "--topic", "T"], "", 1, "empty");
    failed(&["send", "x"], "", 2, "--topic");
    failed(
        &["send", "--json-lines", "-"],
        "{\"body\":\"x\"}",
        1,
        "line 1 of -: it has no topic",
    );
    failed(
        &["send", "--topic", "T", "--json-lines", "-"],
        "{\"body\":\"x\"}\n{",
        1,
        "line 2 of -",
    );
    failed(
        &["send", "--topic", "T", "--json-lines", "/no/such"],
        "",
        1,
        "cannot read /no/such",
    );
    failed(
        &["consume", "--topic", "T", "--group", "a b"],
        "",
        1,
        "illegal character",
    );
    failed(
        &["send", "--topic", "T", "--property", "KEYS=x", "x"],
        "",
        1,
        "RocketMQ's own",
    );
    let nobody = ringmq(["send", "--namesrv", "127.0.0.1:1", "--topic", "T", "x"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("127.0.0.1:1"));
}
