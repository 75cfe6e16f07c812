//! Accounts of ACL 1, as RocketMQ's own example has them, and what is refused.

use super::*;
use crate::auth::plain_acl::PlainAclError;
use crate::auth::resource::{Actions, Kind, Target};
use crate::auth::rights::{Rights, Verdict};

const ACCOUNTS: &str = r#"
globalWhiteRemoteAddresses:
accounts:
- accessKey: RocketMQ
  secretKey: 00123456
  whiteRemoteAddress:
  admin: false
  defaultTopicPerm: DENY
  defaultGroupPerm: SUB
  topicPerms:
  - topicA=DENY
  - topicB=PUB|SUB
  - topicC=SUB
  groupPerms:
  # the group should convert to retry topic
  - groupA=DENY
  - groupB=PUB|SUB
- accessKey: rocketmq2
  secretKey: "12345678"
  admin: true
"#;

#[test]
fn accounts_become_users() {
    let accounts = PlainAcl::parse(ACCOUNTS).unwrap();
    let mut users = Directory::default();
    let names = users.import(&accounts).unwrap();
    assert_eq!(names, ["RocketMQ", "rocketmq2"]);
    assert_eq!(users.find("RocketMQ").unwrap().secret.reveal(), "00123456");
    assert_eq!(users.find("rocketmq2").unwrap().kind, UserType::Super);
    let rights = Rights::of(users.acl("RocketMQ").unwrap());
    let decide = |kind, name, action| {
        let target = Target {
            kind,
            name: Some(name),
        };
        rights.decide(target, action, LOCAL)
    };
    assert_eq!(decide(Kind::Topic, "topicA", Actions::SUB), Verdict::Denied);
    assert_eq!(
        decide(Kind::Topic, "topicB", Actions::PUB),
        Verdict::Allowed
    );
    assert_eq!(decide(Kind::Topic, "topicC", Actions::PUB), Verdict::Denied);
    assert_eq!(
        decide(Kind::Topic, "topicC", Actions::SUB),
        Verdict::Allowed
    );
    assert_eq!(decide(Kind::Group, "other", Actions::SUB), Verdict::Allowed);
    assert_eq!(decide(Kind::Group, "groupA", Actions::SUB), Verdict::Denied);
    assert_eq!(users.import(&accounts), Ok(Vec::new()), "they are there");
}

#[test]
fn what_cannot_be_expressed_is_refused() {
    let one = |rest: &str| {
        let text = format!("accounts:\n- accessKey: RocketMQ\n  secretKey: 12345678\n{rest}");
        PlainAcl::parse(&text).err()
    };
    assert_eq!(one(""), None);
    let name = || "RocketMQ".to_owned();
    assert_eq!(
        one("  whiteRemoteAddress: 192.168.0.*\n"),
        Some(PlainAclError::WhiteAddress(name()))
    );
    assert_eq!(
        one("  admin: true\n  topicPerms: [a=PUB]\n"),
        Some(PlainAclError::LimitedAdmin(name()))
    );
    assert_eq!(
        one("  admin: perhaps\n"),
        Some(PlainAclError::Shape("admin"))
    );
    for row in ["[a]", "[a=PULL]", "[a=ANY]"] {
        let error = one(&format!("  topicPerms: {row}\n"));
        assert!(
            matches!(error, Some(PlainAclError::Permission { .. })),
            "{row}: {error:?}"
        );
    }
    let white = "globalWhiteRemoteAddresses:\n- 10.10.103.*\naccounts: []\n";
    assert_eq!(
        PlainAcl::parse(white).err(),
        Some(PlainAclError::GlobalWhiteAddresses)
    );
    let short = "accounts:\n- accessKey: abc\n  secretKey: 12345678\n";
    assert_eq!(
        PlainAcl::parse(short).err(),
        Some(PlainAclError::TooShort("abc".into()))
    );
    assert!(matches!(
        PlainAcl::parse("a: [").err(),
        Some(PlainAclError::Yaml(_))
    ));
    assert!(PlainAcl::parse("accounts: 5").is_err());
    assert!(PlainAcl::parse("").unwrap().accounts().is_empty());
}

/// ACL 1 takes a star for a part of a name; in a policy it would be a pattern after the next start.
#[test]
fn a_name_with_a_star_or_none_is_refused() {
    for row in ["'t*=PUB'", "'*=PUB'", "'=PUB'", "' =PUB'", "'a*b=DENY'"] {
        for list in ["topicPerms", "groupPerms"] {
            let text = format!(
                "accounts:\n- accessKey: RocketMQ\n  secretKey: 12345678\n  {list}: [{row}]\n"
            );
            let error = PlainAcl::parse(&text).err();
            assert!(
                matches!(&error, Some(PlainAclError::Name { account, .. }) if account == "RocketMQ"),
                "{row}: {error:?}"
            );
        }
    }
}

#[test]
fn what_was_imported_decides_the_same_after_the_next_start() {
    let more = "
- accessKey: anotherOne
  secretKey: 12345678
  defaultGroupPerm: DENY
  topicPerms: ['Topic:t=SUB', '%RETRY%f=SUB', ' t =PUB|SUB']
  groupPerms: ['%RETRY%g=SUB', 'h=DENY']
";
    let text = format!("{}{}", ACCOUNTS.trim_end(), more);
    let mut users = Directory::default();
    let names = users.import(&PlainAcl::parse(&text).unwrap()).unwrap();
    assert_eq!(names, ["RocketMQ", "rocketmq2", "anotherOne"]);
    let read = Directory::from_text(&users.to_text()).unwrap();
    assert_eq!(read, users);
    let rights = [&users, &read].map(|users| Rights::of(users.acl("anotherOne").unwrap()));
    let decide = |kind, name| {
        let target = Target {
            kind,
            name: Some(name),
        };
        rights
            .each_ref()
            .map(|rights| rights.decide(target, Actions::SUB, LOCAL))
    };
    for (kind, name, verdict) in [
        (Kind::Topic, "t", Verdict::Allowed),
        (Kind::Topic, "Topic:t", Verdict::Allowed),
        (Kind::Topic, "other", Verdict::Unmatched),
        (Kind::Group, "f", Verdict::Allowed),
        (Kind::Group, "g", Verdict::Allowed),
        (Kind::Group, "h", Verdict::Denied),
        (Kind::Group, "other", Verdict::Denied),
    ] {
        assert_eq!(decide(kind, name), [verdict; 2], "{kind:?} {name}");
    }
}
