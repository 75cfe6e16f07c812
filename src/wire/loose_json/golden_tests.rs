//! What RocketMQ 5.5.0 reads, we read, and as the same: `tests/golden/loose_json.txt`, which
//! `tests/clients/record/LooseJsonTable.java` recorded.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BodyError, from_slice};
use crate::wire::group::SubscriptionGroupConfig;
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::lock::LockBatch;
use crate::wire::route::TopicRouteData;
use crate::wire::stats::ResetOffsetBody;
use crate::wire::topic::TopicConfigList;
use crate::wire::{Codec, DataVersion, Frame, Language, Scratch, header};

const TABLE: &str = include_str!("../../../tests/golden/loose_json.txt");

/// Parts of texts that RocketMQ reads and we read differently, or not at all. No client writes them.
const DIFFERENT: &[&str] = &[
    // An object in place of a number or text: there 0, or its own text with its members in its own order. An object with a bare
    // number for a key in place of text.
    r#":{"a":"#,
    r#":{1:"#,
    r#":{"1":"#,
    r#":{"groupName""#,
    r#":{"topic""#,
    r#":{}}"#,
    r#":{}]"#,
    r#"[{"a""#,
    r#"[{1:"#,
    r#"[{"1""#,
    r#"[{}"#,
    r#"codeSet":[{"#,
    r#":[{"topic":"t","queueId""#,
    r#"[["#,
    r#"{0:{"#,
    // A list in place of a number or text, of more than one scalar or in a header.
    r#":[1"#,
    r#":[1."#,
    r#":["1"]"#,
    r#":[]}"#,
    r#":["a",1"#,
    r#"{[1"#,
    r#"{["1""#,
    r#":[null]"#,
    // Numbers as text: there in Java's form (100.0 for 1e2).
    "1e2",
    "1E+2",
    "1L",
    "1S",
    "1B",
    "1F",
    "1D",
    "+1",
    "1.}",
    "1.]",
    "007",
    "9223372036854775809",
    // Null for a primitive: there 0 or false, here its default. Texts for null in a list: there null, here left out or read.
    r#"Nums":null"#,
    r#"Enable":null"#,
    r#"perm":null"#,
    r#"[""]"#,
    r#"["null"]"#,
    r#"tagsSet":"null""#,
    // Half of a surrogate pair is `?` there, U+FFFD here. What is no hexadecimal digit is refused here.
    r#""\\ud83d""#,
    r#"\\ud83dx"#,
    r#""\\ude00""#,
    r#"\\u00"#,
    r#"{"clientId":"#,
    "[--1]",
    r#""1,000""#,
    r#""counter":0"#,
    r#""language":1."#,
    r#":[{"groupName""#,
    "Set[1],",
];

#[derive(Default)]
struct Findings {
    same: usize,
    /// Refused there and read here.
    only_here: usize,
    /// Of [`DIFFERENT`].
    known: usize,
    different: Vec<String>,
}

impl Findings {
    fn note<T: PartialEq + Debug>(
        &mut self,
        row: &str,
        ours: Result<T, String>,
        theirs: Option<T>,
    ) {
        match (ours, theirs) {
            (Ok(ours), Some(theirs)) if ours == theirs => self.same += 1,
            (Err(_), None) => self.same += 1,
            (Ok(_), None) => self.only_here += 1,
            (_, Some(_)) if is_different(row) => self.known += 1,
            (ours, theirs) => {
                let found = format!("{row}\n    ours   {ours:?}\n    theirs {theirs:?}");
                self.different.push(found);
            }
        }
    }
}

fn bodies<T: DeserializeOwned + PartialEq + Debug>(
    findings: &mut Findings,
    row: &str,
    settle: impl Fn(&mut T),
) {
    let (text, outcome) = row.split_once('\t').unwrap();
    let settled = |value: Result<T, BodyError>| {
        value.map_err(|error| error.to_string()).map(|mut value| {
            settle(&mut value);
            value
        })
    };
    let theirs = match outcome {
        "!" => None,
        "null" => return,
        json => Some(settled(from_slice(unescaped(json).as_bytes())).unwrap()),
    };
    findings.note(row, settled(from_slice(unescaped(text).as_bytes())), theirs);
}

/// A header's parts; without an opaque Java counts.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    numbers: BTreeMap<String, i32>,
    language: Option<Language>,
    remark: Option<String>,
    ext: BTreeMap<String, String>,
}

fn headers(findings: &mut Findings, row: &str) {
    let (text, outcome) = row.split_once('\t').unwrap();
    let text = unescaped(text);
    let has_opaque = text.contains("\"opaque\"");
    let frame = Frame {
        codec: Codec::Json,
        header: text.as_bytes(),
        body: &[],
        len: 0,
    };
    let mut scratch = Scratch::default();
    let decoded = header::decode(&frame, &mut scratch);
    let ours = decoded
        .map_err(|error| error.to_string())
        .map(|header| Parts {
            numbers: [
                ("code", header.code),
                ("flag", header.flag),
                ("version", header.version),
                ("opaque", if has_opaque { header.opaque } else { 0 }),
            ]
            .into_iter()
            .filter(|(_, number)| *number != 0)
            .map(|(name, number)| (name.to_owned(), number))
            .collect(),
            language: Some(header.language),
            remark: header.remark.map(String::from),
            ext: header
                .ext
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        });
    let theirs = (outcome != "!").then(|| {
        let json: Value = serde_json::from_str(&unescaped(outcome)).unwrap();
        let number = |name: &str| Some((name.to_owned(), json[name].as_i64()? as i32));
        let numbers = ["code", "flag", "version", "opaque"]
            .into_iter()
            .filter_map(number);
        let language = json
            .get("language")
            .filter(|name| name.is_null() || name.is_string())
            .map_or(Some(Language::Java), |name| {
                name.as_str().map(Language::from_name)
            });
        let ext = json["extFields"].as_object().into_iter().flatten();
        Parts {
            numbers: numbers
                .filter(|(name, number)| *number != 0 && (has_opaque || name != "opaque"))
                .collect(),
            // Null, where it is none of Java's.
            language: language.or(ours.as_ref().ok().and_then(|parts| parts.language)),
            remark: json["remark"].as_str().map(String::from),
            ext: ext
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
        }
    });
    findings.note(row, ours, theirs);
}

fn is_different(row: &str) -> bool {
    let text = row.split('\t').next().unwrap();
    text == "}" || DIFFERENT.iter().any(|part| text.contains(part))
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        out.push(match character {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('0') => '\0',
                other => other.unwrap(),
            },
            plain => plain,
        });
    }
    out
}

#[test]
fn what_rocketmq_reads_is_read_alike() {
    let mut findings = Findings::default();
    for line in TABLE.lines() {
        let (class, row) = line.split_once('\t').unwrap();
        match class {
            "HeartbeatData" => bodies::<HeartbeatData>(&mut findings, row, |data| {
                // Lists are sets, and a subscription's version is the time where it is missing.
                data.consumer_data_set
                    .sort_by(|left, right| left.group_name.cmp(&right.group_name));
                let subscriptions = data.consumer_data_set.iter_mut();
                let subscriptions =
                    subscriptions.flat_map(|group| &mut group.subscription_data_set);
                for subscription in subscriptions
                    .filter(|data| data.sub_version > 1 << 40 && data.sub_version != i64::MAX)
                {
                    subscription.sub_version = 0;
                }
            }),
            "SubscriptionGroupConfig" => {
                bodies::<SubscriptionGroupConfig>(&mut findings, row, |_| {})
            }
            "CreateTopicListRequestBody" => bodies::<TopicConfigList>(&mut findings, row, |_| {}),
            "LockBatchRequestBody" => bodies::<LockBatch>(&mut findings, row, |_| {}),
            "TopicRouteData" => bodies::<TopicRouteData>(&mut findings, row, |_| {}),
            "ResetOffsetBody" => bodies::<ResetOffsetBody>(&mut findings, row, |_| {}),
            "DataVersion" => bodies::<DataVersion>(&mut findings, row, |_| {}),
            "RemotingCommand" => headers(&mut findings, row),
            other => panic!("{other} is not known"),
        }
    }
    let Findings {
        same,
        only_here,
        known,
        different,
    } = findings;
    assert!(
        different.is_empty(),
        "{}\n{} in all",
        different.join("\n"),
        different.len()
    );
    let counts = format!("{same} alike, {only_here} only here, {known} known to differ");
    assert!(same > 3_400 && only_here < 450 && known < 280, "{counts}");
}
