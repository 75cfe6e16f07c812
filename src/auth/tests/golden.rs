//! Requests 3001 to 3010 as RocketMQ 5.5.0 has answered them (`tests/golden/auth/administration.jsonl`).

use serde_json::Value as Json;

use super::*;
use crate::wire::header::with_request;

const RECORDED: &str = include_str!("../../../tests/golden/auth/administration.jsonl");

const DONE: &str = "not set any response code";

/// What is meant to differ, by the line, with our remark: a resource that cannot be read is refused, where RocketMQ deletes all policies; and passwords are for super
/// users only.
const DIFFERENT: &[(usize, &str)] = &[
    (68, "The resource is null."),
    (69, DONE),
    (70, DONE),
    (90, DONE),
];

#[test]
fn as_rocketmq_answers() {
    let mut users = Directory::default();
    let root = Credentials::new("rocketmq", "12345678");
    users.ensure_super(&root).unwrap();
    let mut wrong = Vec::new();
    for (index, line) in RECORDED.lines().enumerate() {
        let step: Json = serde_json::from_str(line).unwrap();
        let (code, remark, body) = carry_out(&mut users, &step);
        let recorded = &step["answer"];
        let expected = (
            recorded["code"].as_i64().unwrap() as i32,
            recorded["remark"].as_str().unwrap_or_default().to_owned(),
            // A group is shown without the prefix of its retry topic.
            recorded["body"]
                .as_str()
                .unwrap_or_default()
                .replace("%RETRY%", ""),
        );
        // An exception's name, its text, and the line of Java that threw it.
        let is_exception = expected.0 == 1 && expected.1.contains(".java:");
        let is_same = match is_exception {
            true => code == 1,
            false => (code, &remark, &body) == (expected.0, &expected.1, &expected.2),
        };
        let is_meant = DIFFERENT.contains(&(index + 1, remark.as_str()));
        if !is_same && !is_meant {
            wrong.push(format!(
                "{}: {line}\n  ours: {code} {remark} {body}",
                index + 1
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn carry_out(users: &mut Directory, step: &Json) -> (i32, String, String) {
    let fields: Vec<(String, String)> = step["ext"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(key, text)| (key.as_str(), text.as_str()))
        .collect();
    let body = step["body"].as_str().unwrap_or_default().as_bytes();
    let code = step["code"].as_i64().unwrap() as i32;
    let guard = guard(users);
    let place = Place::Broker {
        cluster: "DefaultCluster",
    };
    let who = step["as"].as_str().and_then(|who| who.split_once(':'));
    let visit = &mut Visit::default();
    let checked = match who {
        Some(who) => ask_as(&guard, visit, who, place, (code, &fields, body)),
        None => with_request(code, &fields, |header| {
            ask(&guard, visit, place, header, body)
        }),
    };
    if let Checked::Denied(denial) = checked {
        return (16, denial.remark, String::new());
    }
    let by = Administrator {
        is_super: guard.is_of_super(who.unwrap().0, code),
        is_local: true,
    };
    let reply = with_request(code, &fields, |header| {
        answer(users, by, code, &header.ext, body)
    });
    let remark = reply.remark.unwrap_or_default().into_owned();
    (reply.code, remark, String::from_utf8(reply.body).unwrap())
}

#[test]
fn passwords_are_for_a_super_user_on_this_machine() {
    let mut users = directory(&[]);
    let mut shown = |is_super, is_local| {
        let by = Administrator { is_super, is_local };
        with_request(3005, &[], |header| {
            let reply = answer(&mut users, by, 3005, &header.ext, b"");
            String::from_utf8(reply.body).unwrap()
        })
    };
    assert!(shown(true, true).contains(r#""password":"r""#));
    for (is_super, is_local) in [(true, false), (false, true), (false, false)] {
        assert!(!shown(is_super, is_local).contains(r#""password":"r""#));
    }
}
