//! Protects what a broker must never get wrong: whose a request is, and whether it may.

mod controller;
mod decision;
mod golden;
mod growth;
mod namesrv;
mod plain_acl;
mod signatures;
mod walk;

use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::wire::auth::{AclInfo, PolicyEntryInfo, PolicyInfo};
use crate::wire::codes::request::UPDATE_BROKER_CONFIG;
use crate::wire::header::with_request;
use crate::wire::{Header, Value};

pub const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
pub const BROKER: Place<'static> = Place::Broker { cluster: "C" };

pub fn rules() -> Rules {
    Rules {
        authenticates: true,
        authorizes: true,
        guards_reading: true,
        ..Rules::default()
    }
}

pub fn user(kind: UserType, secret: &str) -> User {
    User {
        secret: Secret::new(secret),
        kind,
        status: UserStatus::Enable,
    }
}

/// A user `u` with the secret `s` and these entries: resource, action, decision.
pub fn directory(entries: &[(&str, &str, &str)]) -> Directory {
    let mut directory = Directory::default();
    directory
        .create_user("root", user(UserType::Super, "r"))
        .unwrap();
    directory
        .create_user("u", user(UserType::Normal, "s"))
        .unwrap();
    let entries = entries
        .iter()
        .map(|(resource, action, decision)| PolicyEntryInfo {
            actions: vec![(*action).into()],
            decision: Some((*decision).into()),
            resource: Some((*resource).into()),
            source_ips: None,
        });
    let entries: Vec<_> = entries.collect();
    if !entries.is_empty() {
        let policies = vec![PolicyInfo {
            entries,
            policy_type: None,
        }];
        let info = AclInfo {
            policies,
            subject: None,
        };
        directory
            .put_acl("u", &policy::Acl::parse(&info).unwrap())
            .unwrap();
    }
    directory
}

/// Signs and asks.
pub fn ask_as(
    guard: &Guard,
    visit: &mut Visit,
    (name, secret): (&str, &str),
    place: Place<'_>,
    (code, fields, body): (i32, &[(&str, &str)], &[u8]),
) -> Checked {
    let values: Vec<_> = fields
        .iter()
        .map(|(key, text)| (*key, Value::Str(text)))
        .collect();
    let signer = Signer::new(&Credentials::new(name, secret));
    let mut signature = String::new();
    let signed = signer.signed(&values, body, &mut signature);
    let texts: Vec<(&str, &str)> = signed
        .iter()
        .map(|(key, value)| match value {
            Value::Str(text) => (*key, *text),
            other => panic!("{other:?}"),
        })
        .collect();
    with_request(code, &texts, |header| {
        let checked = ask(guard, visit, place, header, body);
        visit.frame_ended();
        checked
    })
}

pub fn ask(
    guard: &Guard,
    visit: &mut Visit,
    place: Place<'_>,
    header: &Header<'_>,
    body: &[u8],
) -> Checked {
    let asked = Asked {
        place,
        header,
        body,
        from: LOCAL,
        administers: header.code == UPDATE_BROKER_CONFIG,
    };
    loop {
        match guard.check(visit, &asked) {
            Checked::Unfinished => {}
            checked => return checked,
        }
    }
}

pub fn guard(directory: &Directory) -> Guard {
    Guard::new(rules(), Arc::new(directory.book()))
}

pub fn reason(checked: Checked) -> Option<Reason> {
    match checked {
        Checked::Passed => None,
        Checked::Unfinished => panic!("it was asked to the end"),
        Checked::Denied(denial) => Some(denial.reason),
    }
}

const SEND: i32 = crate::wire::codes::request::SEND_MESSAGE;

#[test]
fn a_change_counts_at_once_and_a_verdict_is_kept_no_longer() {
    let mut users = directory(&[("Topic:t", "Pub", "Allow")]);
    let mut guard = guard(&users);
    let mut visit = Visit::default();
    let fields: &[(&str, &str)] = &[("topic", "t")];
    let send = |guard: &Guard, visit: &mut Visit| {
        reason(ask_as(
            guard,
            visit,
            ("u", "s"),
            BROKER,
            (SEND, fields, b"x"),
        ))
    };
    assert_eq!(send(&guard, &mut visit), None);
    assert_eq!(send(&guard, &mut visit), None);
    users
        .delete_acl("u", policy::PolicyType::Custom, None)
        .unwrap();
    guard.open(Arc::new(users.book()));
    assert_eq!(send(&guard, &mut visit), Some(Reason::Unmatched));
    users.delete_user("u").unwrap();
    guard.open(Arc::new(users.book()));
    assert_eq!(send(&guard, &mut visit), Some(Reason::UnknownUser));
}

#[test]
fn a_connection_is_never_trusted() {
    let guard = guard(&directory(&[("Topic:t", "Pub", "Allow")]));
    let mut visit = Visit::default();
    let mut send = |who, topic| {
        let fields: &[(&str, &str)] = &[("topic", topic)];
        reason(ask_as(
            &guard,
            &mut visit,
            who,
            BROKER,
            (SEND, fields, b"x"),
        ))
    };
    assert_eq!(send(("root", "r"), "other"), None);
    assert_eq!(
        send(("root", "wrong"), "other"),
        Some(Reason::WrongSignature)
    );
    assert_eq!(send(("u", "s"), "other"), Some(Reason::Unmatched));
    assert_eq!(send(("u", "s"), "t"), None);
    assert_eq!(send(("u", "wrong"), "t"), Some(Reason::WrongSignature));
    assert_eq!(send(("nobody", "s"), "t"), Some(Reason::UnknownUser));
    let unsigned = with_request(SEND, &[("topic", "t")], |header| {
        reason(ask(&guard, &mut visit, BROKER, header, b"x"))
    });
    assert_eq!(unsigned, Some(Reason::NoUser));
}

/// A handler takes the last of several spellings: so does the check.
#[test]
fn a_second_spelling_of_a_field_gets_nobody_in() {
    let guard = guard(&directory(&[("Topic:t", "Pub", "Allow")]));
    let mut visit = Visit::default();
    let mut send = |fields: &[(&str, &str)]| {
        reason(ask_as(
            &guard,
            &mut visit,
            ("u", "s"),
            BROKER,
            (SEND, fields, b""),
        ))
    };
    assert_eq!(
        send(&[("topic", "t"), ("b", "other")]),
        Some(Reason::Unmatched)
    );
    assert_eq!(send(&[("b", "other"), ("topic", "t")]), None);
    assert!(send(&[("topic", "t"), ("topic", "other")]).is_some());
    assert_eq!(send(&[]), Some(Reason::Unmatched));
}

#[test]
fn a_retry_topic_is_its_groups() {
    let guard = guard(&directory(&[
        ("Group:g", "Sub", "Allow"),
        ("Topic:*", "All", "Allow"),
    ]));
    let mut visit = Visit::default();
    let mut ask = |code, fields: &[(&str, &str)]| {
        reason(ask_as(
            &guard,
            &mut visit,
            ("u", "s"),
            BROKER,
            (code, fields, b""),
        ))
    };
    assert_eq!(ask(SEND, &[("topic", "%RETRY%g")]), None);
    assert_eq!(
        ask(SEND, &[("topic", "%RETRY%other")]),
        Some(Reason::Unmatched)
    );
    let pull = crate::wire::codes::request::PULL_MESSAGE;
    assert_eq!(
        ask(pull, &[("topic", "%RETRY%g"), ("consumerGroup", "g")]),
        None
    );
    let others = [("topic", "%RETRY%other"), ("consumerGroup", "g")];
    assert_eq!(ask(pull, &others), Some(Reason::Unmatched));
}

/// Each name of a list costs a decision, in one turn.
#[test]
fn a_list_of_very_many_topics_needs_all() {
    let of_all = [
        ("Topic:*", "Get", "Allow"),
        ("Topic:t2", "Get", "Deny"),
        ("Group:g", "Get", "Allow"),
    ];
    let stats = crate::wire::codes::request::GET_CONSUME_STATS;
    let ask = |guard: &Guard, count: usize| {
        let topics = vec!["t"; count].join(";");
        let fields = [("consumerGroup", "g"), ("topicList", topics.as_str())];
        let asked = (stats, &fields[..], &b""[..]);
        reason(ask_as(
            guard,
            &mut Visit::default(),
            ("u", "s"),
            BROKER,
            asked,
        ))
    };
    let of_one = guard(&directory(&[("Topic:t", "Get", "Allow"), of_all[2]]));
    assert_eq!(ask(&of_one, 1_024), None);
    assert_eq!(ask(&of_one, 1_025), Some(Reason::Unmatched));
    assert_eq!(ask(&guard(&directory(&of_all)), 1_025), None);
}

/// These requests state a place in the log: what counts is whose message is there.
#[test]
fn a_message_is_its_topics_however_it_is_found() {
    use crate::wire::codes::request::*;
    let guard = guard(&directory(&[
        ("Topic:t", "Sub", "Allow"),
        ("Group:g", "Sub", "Allow"),
    ]));
    let may = |name, code, topic| guard.check_message(name, LOCAL, code, topic).is_ok();
    for code in [
        VIEW_MESSAGE_BY_ID,
        CONSUMER_SEND_MSG_BACK,
        CONSUME_MESSAGE_DIRECTLY,
    ] {
        assert!(may("u", code, "t") && may("u", code, "%RETRY%g"), "{code}");
        assert!(
            !may("u", code, "other") && !may("u", code, "%RETRY%other"),
            "{code}"
        );
        assert!(
            may("root", code, "other") && !may("nobody", code, "t"),
            "{code}"
        );
    }
    for code in [END_TRANSACTION, RESUME_CHECK_HALF_MESSAGE] {
        assert!(!may("u", code, "t") && may("root", code, "t"), "{code}");
    }
    let guard = self::guard(&directory(&[("Topic:t", "Update", "Allow")]));
    let may = |topic| guard.check_message("u", LOCAL, RESUME_CHECK_HALF_MESSAGE, topic);
    assert!(may("t").is_ok() && may("other").is_err());
}

#[test]
fn administration_is_taken_from_some_addresses_only() {
    let book = Arc::new(directory(&[]).book());
    let with = |admin_from: &str, authenticates: bool| {
        let admin_from = vec![Source::parse(admin_from).unwrap()];
        let rules = Rules {
            authenticates,
            admin_from,
            ..rules()
        };
        Guard::new(rules, book.clone())
    };
    let ask = |guard: &Guard, code| {
        let asked = (code, &[("topic", "t")][..], &b""[..]);
        reason(ask_as(
            guard,
            &mut Visit::default(),
            ("root", "r"),
            BROKER,
            asked,
        ))
    };
    for authenticates in [true, false] {
        let elsewhere = with("10.0.0.0/8", authenticates);
        assert_eq!(ask(&elsewhere, UPDATE_BROKER_CONFIG), Some(Reason::Address));
        assert_eq!(ask(&elsewhere, SEND), None);
        assert_eq!(
            ask(&with("127.0.0.0/8", authenticates), UPDATE_BROKER_CONFIG),
            None
        );
    }
    let mut nobody = Visit::default();
    let unsigned = with_request(SEND, &[("topic", "t")], |header| {
        reason(self::ask(
            &with("127.0.0.1", false),
            &mut nobody,
            BROKER,
            header,
            b"",
        ))
    });
    assert_eq!(unsigned, None);
}

#[test]
fn failures_slow_a_connection_and_a_success_ends_that() {
    let mut visit = Visit::default();
    assert_eq!(
        visit.is_slowed_until(|| panic!("the time is not needed")),
        None
    );
    let mut pauses = Vec::new();
    for _ in 0..12 {
        visit.failed(50);
        pauses.push(visit.is_slowed_until(|| 50).unwrap() - 50);
    }
    assert_eq!(pauses[..2], [100_000_000, 200_000_000]);
    assert_eq!(pauses[9..], [1_000_000_000; 3]);
    assert_eq!(visit.is_slowed_until(|| 50 + 1_000_000_000), None);
    // Another name does not end it.
    let book = directory(&[]).book();
    visit.user(&book, "root");
    assert!(visit.is_slowed_until(|| 50).is_some());
    visit.succeeded();
    assert_eq!(visit.is_slowed_until(|| 50), None);
}

#[test]
fn white_lists_open_what_they_name_and_believe_no_name() {
    let book = Arc::new(directory(&[]).book());
    let with = |unauthenticated: &str, unauthorized: &str| {
        let rules = Rules {
            unauthenticated: CodeSet::parse(unauthenticated).unwrap(),
            unauthorized: CodeSet::parse(unauthorized).unwrap(),
            ..rules()
        };
        Guard::new(rules, book.clone())
    };
    let unsigned = |guard: &Guard, name: &str| {
        with_request(SEND, &[("topic", "t"), ("AccessKey", name)], |header| {
            reason(ask(guard, &mut Visit::default(), BROKER, header, b""))
        })
    };
    assert_eq!(unsigned(&with("10", "10"), "root"), None);
    assert!(!with("10", "10").is_of_super("root", SEND));
    assert!(with("11", "10").is_of_super("root", SEND));
    assert!(!with("11", "10").is_of_super("u", SEND));
    assert_eq!(unsigned(&with("10", ""), "root"), Some(Reason::NoUser));
    assert_eq!(
        unsigned(&with("11", "10"), "root"),
        Some(Reason::WrongSignature)
    );
    let signed = (SEND, &[("topic", "t")][..], &b""[..]);
    let by_user = ask_as(
        &with("", "10"),
        &mut Visit::default(),
        ("u", "s"),
        BROKER,
        signed,
    );
    assert_eq!(reason(by_user), None);
}

#[test]
fn a_name_server_is_open_for_reading_only() {
    let book = Arc::new(directory(&[("Topic:t", "Pub", "Allow")]).book());
    let rules = |guards_reading| Rules {
        guards_reading,
        ..rules()
    };
    let (open, closed) = (
        Guard::new(rules(false), book.clone()),
        Guard::new(rules(true), book),
    );
    let unsigned = |guard: &Guard, code| {
        with_request(code, &[("topic", "t")], |header| {
            reason(ask(
                guard,
                &mut Visit::default(),
                Place::NameServer,
                header,
                b"",
            ))
        })
    };
    use crate::wire::codes::request::*;
    assert_eq!(unsigned(&open, GET_ROUTEINFO_BY_TOPIC), None);
    assert_eq!(
        unsigned(&closed, GET_ROUTEINFO_BY_TOPIC),
        Some(Reason::NoUser)
    );
    for code in [
        REGISTER_BROKER,
        UNREGISTER_BROKER,
        PUT_KV_CONFIG,
        UPDATE_NAMESRV_CONFIG,
        GET_NAMESRV_CONFIG,
        77,
    ] {
        assert_eq!(unsigned(&open, code), Some(Reason::NoUser), "{code}");
    }
    let by_user = |code, topic| {
        let asked = (code, &[("topic", topic)][..], &b""[..]);
        let visit = &mut Visit::default();
        reason(ask_as(&closed, visit, ("u", "s"), Place::NameServer, asked))
    };
    assert_eq!(by_user(GET_ROUTEINFO_BY_TOPIC, "t"), None);
    assert_eq!(by_user(GET_ROUTEINFO_BY_TOPIC, "TBW102"), None);
    assert_eq!(
        by_user(GET_ROUTEINFO_BY_TOPIC, "other"),
        Some(Reason::Unmatched)
    );
    assert_eq!(by_user(REGISTER_BROKER, "t"), Some(Reason::Unmatched));
    assert_eq!(by_user(77, "t"), Some(Reason::Unmapped));
}

#[test]
fn the_text_of_the_file_comes_back() {
    let directory = directory(&[("Topic:t*", "Pub", "Deny"), ("*", "All", "Allow")]);
    let text = directory.to_text();
    assert_eq!(Directory::from_text(&text).as_ref(), Ok(&directory));
    let damaged = text.replace("Deny", "Allow");
    assert!(matches!(
        Directory::from_text(&damaged),
        Err(file::FileError::Crc { .. })
    ));
    for wrong in ["", "{}", "{\"version\":2}", &text[..text.len() - 3]] {
        assert!(Directory::from_text(wrong).is_err(), "{wrong}");
    }
}
