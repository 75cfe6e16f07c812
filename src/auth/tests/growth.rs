//! What a peer or an administrator can make grow has an end: what is kept for a connection, what is shown of a name, users and policies.

use super::*;
use crate::auth::accounts::MAX_NAME_BYTES;
use crate::auth::directory::{DirectoryError, MAX_ENTRIES, MAX_SOURCES, MAX_USERS, UserChange};
use crate::auth::policy::{Acl, Entry, PolicyType};
use crate::auth::resource::{Actions, Resource};
use crate::auth::source::Source;
use crate::auth::visit::KEPT_VERDICTS;

const LONG: usize = 1 << 20;

#[test]
fn a_name_without_a_proof_is_not_kept_and_shown_only_in_part() {
    let guard = guard(&directory(&[]));
    let mut visit = Visit::default();
    for name in ["ü".repeat(LONG), "nobody".into(), "u".into()] {
        let fields = [("topic", "t"), ("AccessKey", name.as_str())];
        let checked = with_request(SEND, &fields, |header| {
            ask(&guard, &mut visit, BROKER, header, b"")
        });
        assert_eq!(visit.text_bytes(), 0);
        let Checked::Denied(denial) = checked else {
            panic!("{checked:?}");
        };
        let user = denial.user.unwrap();
        assert!(name.starts_with(&user) && user.len() <= MAX_NAME_BYTES);
        assert!(denial.remark.len() < 2 * MAX_NAME_BYTES);
        let is_whole = name.len() <= MAX_NAME_BYTES;
        assert_eq!(user == name, is_whole, "{user}");
    }
}

#[test]
fn verdicts_about_long_names_are_not_kept() {
    let guard = guard(&directory(&[("Topic:t*", "Pub", "Allow")]));
    let mut visit = Visit::default();
    let mut send = |topic: &str| {
        let fields: &[(&str, &str)] = &[("topic", topic)];
        let request = (SEND, fields, &b""[..]);
        let checked = ask_as(&guard, &mut visit, ("u", "s"), BROKER, request);
        (checked, visit.text_bytes())
    };
    let long = "t".repeat(LONG);
    assert_eq!(send(&long), (Checked::Passed, 0));
    assert_eq!(send("tt"), (Checked::Passed, 2));
    for number in 0..2 * KEPT_VERDICTS {
        let (checked, bytes) = send(&format!("t{number:0>254}"));
        assert_eq!(checked, Checked::Passed);
        assert!(bytes <= KEPT_VERDICTS * MAX_NAME_BYTES);
    }
    let (checked, _) = send(&"x".repeat(LONG));
    let Checked::Denied(denial) = checked else {
        panic!("{checked:?}");
    };
    assert!(denial.remark.len() < 2 * MAX_NAME_BYTES);
    assert!(denial.resource.unwrap().len() < 2 * MAX_NAME_BYTES);
}

#[test]
fn names_addresses_and_passwords_have_a_limit() {
    let mut users = directory(&[]);
    let put = |users: &mut Directory, name_bytes: usize, sources: usize| {
        let resource = Resource::parse(&format!("Topic:{}", "t".repeat(name_bytes))).unwrap();
        let mut entry = Entry::new(resource, Actions::PUB, true);
        entry.sources = vec![Source::parse("127.0.0.1").unwrap(); sources];
        let mut acl = Acl::default();
        acl.put(PolicyType::Custom, entry);
        users.put_acl("u", &acl)
    };
    assert_eq!(put(&mut users, MAX_NAME_BYTES, MAX_SOURCES), Ok(()));
    let before = users.clone();
    for (name_bytes, sources) in [(MAX_NAME_BYTES + 1, 0), (1, MAX_SOURCES + 1)] {
        let refused = put(&mut users, name_bytes, sources);
        assert!(matches!(refused, Err(DirectoryError::TooMuch { .. })));
    }
    let mut change = |secret: &str| {
        let secret = Some(Secret::new(secret));
        let change = UserChange {
            secret,
            ..UserChange::default()
        };
        users.update_user("u", change)
    };
    assert!(change(&"s".repeat(256)).is_err());
    // As at RocketMQ, no password is a wish for the old one.
    assert_eq!(change(" "), Ok(()));
    assert_eq!(users, before);
    let created = users.create_user(&"n".repeat(256), user(UserType::Normal, "s"));
    assert!(created.is_err());
}

/// The room of the broker, which has the table, does not know this one.
#[test]
fn the_manual_has_these_limits() {
    let rows = crate::broker::limits::table();
    let bound_of = |name| {
        let row = rows.iter().find(|row| row.name == name);
        row.unwrap().bound.replace(',', "")
    };
    assert_eq!(
        bound_of("users"),
        format!(
            "{MAX_USERS} each with {MAX_ENTRIES} entries of policies an entry with {MAX_SOURCES} addresses; names of {MAX_NAME_BYTES} bytes"
        )
    );
    assert_eq!(
        bound_of("decisions kept for a connection"),
        format!("{KEPT_VERDICTS} about names of {MAX_NAME_BYTES} bytes")
    );
}
