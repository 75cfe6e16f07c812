//! Requests of and about users, and the texts that users and policies are read from.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bolero::TypeGenerator;
use ringmq::auth::{
    self, Administrator, Asked, Checked, CodeSet, Credentials, Directory, Guard, Place, PlainAcl,
    Rules, Secret, Signer, Source, User, UserStatus, UserType, Visit,
};
use ringmq::wire::codes::request;
use ringmq::wire::{Codec, Head, Scratch, Value, frame, header};
use serde_json::{Value as Json, json};

use crate::session::Session;

const SECRET: &str = "secret of the super user";

/// Texts: the first byte says of what the others are.
pub fn read(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match kind % 6 {
        0 => {
            if let Ok(accounts) = PlainAcl::parse(&text) {
                let mut directory = Directory::default();
                if directory.import(&accounts).is_ok() {
                    is_kept(&directory);
                }
            }
        }
        1 => drop(Directory::from_text(&text)),
        2 => {
            let crc = crc32fast::hash(text.as_bytes());
            let file = format!("{{\"version\":1,\"crc32\":\"{crc:08x}\",\"content\":{text}}}\n");
            if let Ok(directory) = Directory::from_text(&file) {
                is_kept(&directory);
            }
        }
        3 => {
            if let Some(source) = Source::parse(&text) {
                let shown = source.to_string();
                assert_eq!(Source::parse(&shown), Some(source), "{shown}");
            }
        }
        4 => {
            if let Some(codes) = CodeSet::parse(&text) {
                assert_eq!(CodeSet::parse(&codes.show()), Some(codes));
            }
        }
        _ => drop(Credentials::from_json(&text, "username", "password")),
    }
}

/// What is written is read again as the same, and can be decided by.
fn is_kept(directory: &Directory) {
    let text = directory.to_text();
    let again = Directory::from_text(&text).expect("what was written is read");
    assert_eq!(*again.to_text(), *text);
    drop(directory.book());
}

/// Requests 3001 to 3010, one after another.
#[derive(Debug, TypeGenerator)]
pub struct Administration {
    steps: Vec<Step>,
}

#[derive(Debug, TypeGenerator)]
struct Step {
    code: u8,
    is_super: bool,
    is_local: bool,
    fields: Vec<(u8, Word)>,
    body: Body,
}

#[derive(Debug, TypeGenerator)]
enum Word {
    Known(u8),
    Any(String),
    Long(u8),
}

#[derive(Debug, TypeGenerator)]
enum Body {
    Bytes(Vec<u8>),
    User([Option<Word>; 4]),
    Policies(Option<Word>, Vec<Entry>),
}

#[derive(Debug, TypeGenerator)]
struct Entry {
    policy: Option<Word>,
    resource: Word,
    actions: Vec<Word>,
    sources: Vec<Word>,
    decision: Option<Word>,
}

const FIELDS: [&str; 6] = [
    "username",
    "filter",
    "subject",
    "policyType",
    "resource",
    "resourceFilter",
];

const WORDS: [&str; 28] = [
    "u",
    "root",
    "User:u",
    "User:root",
    "Topic:*",
    "Topic:t",
    "Topic:t*",
    "Group:g",
    "Group:%RETRY%g",
    "Cluster:C",
    "*",
    "Any",
    "Pub",
    "Sub",
    "All",
    "Create",
    "Allow",
    "Deny",
    "Custom",
    "Default",
    "Super",
    "Normal",
    "enable",
    "disable",
    "10.0.0.0/8",
    "::1",
    "",
    "s",
];

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Known(nth) => WORDS[usize::from(*nth) % WORDS.len()].to_owned(),
            Self::Any(text) => text.clone(),
            Self::Long(len) => "x".repeat(usize::from(*len) * 40),
        }
    }
}

impl Body {
    fn bytes(&self) -> Vec<u8> {
        let text = |word: &Option<Word>| word.as_ref().map(Word::text);
        let json = match self {
            Self::Bytes(bytes) => return bytes.clone(),
            Self::User([name, password, kind, status]) => json!({
                "username": text(name), "password": text(password), "userType": text(kind), "userStatus": text(status),
            }),
            Self::Policies(subject, entries) => {
                let policies: Vec<Json> = entries.iter().take(6).map(Entry::policy).collect();
                json!({"subject": text(subject), "policies": policies})
            }
        };
        json.to_string().into_bytes()
    }
}

impl Entry {
    fn policy(&self) -> Json {
        let all = |words: &[Word]| words.iter().map(Word::text).collect::<Vec<_>>();
        json!({
            "policyType": self.policy.as_ref().map(Word::text),
            "entries": [{
                "resource": self.resource.text(), "actions": all(&self.actions), "sourceIps": all(&self.sources),
                "decision": self.decision.as_ref().map(Word::text),
            }],
        })
    }
}

/// A refused request changes nothing, only a super user makes another one, and only a super user on the same machine gets a secret.
pub fn administer(administration: &Administration) {
    let mut directory = directory();
    for step in administration.steps.iter().take(16) {
        let by = Administrator {
            is_super: step.is_super,
            is_local: step.is_local,
        };
        let code = request::AUTH_CREATE_USER + i32::from(step.code % 10);
        let fields: Vec<_> = step.fields.iter().take(6).collect();
        let texts: Vec<_> = fields.iter().map(|(_, word)| word.text()).collect();
        let fields = fields.iter().zip(&texts);
        let fields = fields.map(|((name, _), text)| (*name, Value::Str(text)));
        let fields: Vec<_> = fields
            .map(|(name, value)| (FIELDS[usize::from(name) % FIELDS.len()], value))
            .collect();
        let before = directory.to_text();
        let supers = supers(&directory);
        let reply = asked(code, &fields, &step.body.bytes(), |header, body| {
            auth::answer(&mut directory, by, code, &header.ext, body)
        });
        let after = directory.to_text();
        assert!(reply.code == 0 || *before == *after, "{reply:?}");
        assert!(by.is_super || self::supers(&directory) <= supers);
        let told = String::from_utf8_lossy(&reply.body).contains(SECRET);
        assert!(!told || by.is_super && by.is_local);
        is_kept(&directory);
    }
}

fn supers(directory: &Directory) -> usize {
    directory
        .to_text()
        .matches("\"userType\":\"Super\"")
        .count()
}

/// Passes on a request as it is decoded.
fn asked<T>(
    code: i32,
    fields: &[(&str, Value<'_>)],
    body: &[u8],
    take: impl FnOnce(&header::Header<'_>, &[u8]) -> T,
) -> T {
    let head = Head::request(Codec::Json, code, 1);
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, fields, body);
    let found = frame::split(&bytes).expect("a frame").expect("all of it");
    let mut scratch = Scratch::default();
    let header = header::decode(&found, &mut scratch).expect("a header");
    take(&header, found.body)
}

/// Requests of every kind with exchanged fields: without a good signature none passes, with one of a user without rights no message is sent.
pub fn check(session: &Session) {
    let directory = directory();
    let rules = Rules {
        authenticates: true,
        authorizes: true,
        guards_reading: true,
        ..Rules::default()
    };
    let guard = Guard::new(rules, Arc::new(directory.book()));
    let signer = Signer::new(&Credentials::new("u", "s"));
    let (mut stranger, mut user) = (Visit::default(), Visit::default());
    for bytes in session.frames() {
        let Ok(Some(found)) = frame::split(&bytes) else {
            continue;
        };
        let mut scratch = Scratch::default();
        let Ok(header) = header::decode(&found, &mut scratch) else {
            continue;
        };
        assert!(!passes(&guard, &mut stranger, &header, found.body));
        let fields = header.ext.iter();
        let fields = fields.filter(|(name, _)| !["AccessKey", "Signature"].contains(name));
        let fields: Vec<_> = fields
            .map(|(name, value)| (name, Value::Str(value)))
            .collect();
        let mut signature = String::new();
        let signed = signer.signed(&fields, found.body, &mut signature);
        asked(header.code, &signed, found.body, |header, body| {
            let has_passed = passes(&guard, &mut user, header, body);
            let sends = [
                request::SEND_MESSAGE,
                request::SEND_MESSAGE_V2,
                request::SEND_BATCH_MESSAGE,
                request::PULL_MESSAGE,
                request::UPDATE_BROKER_CONFIG,
            ];
            assert!(!has_passed || !sends.contains(&header.code));
        });
    }
}

fn passes(guard: &Guard, visit: &mut Visit, header: &header::Header<'_>, body: &[u8]) -> bool {
    let places = [Place::Broker { cluster: "C" }, Place::NameServer];
    places.into_iter().any(|place| {
        let asked = Asked {
            place,
            header,
            body,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            administers: false,
        };
        let checked = loop {
            match guard.check(visit, &asked) {
                Checked::Unfinished => {}
                checked => break checked,
            }
        };
        visit.frame_ended();
        checked == Checked::Passed
    })
}

/// A super user, and one without rights.
fn directory() -> Directory {
    let mut directory = Directory::default();
    for (name, secret, kind) in [
        ("root", SECRET, UserType::Super),
        ("u", "s", UserType::Normal),
    ] {
        let user = User {
            secret: Secret::new(secret),
            kind,
            status: UserStatus::Enable,
        };
        directory.create_user(name, user).expect("it is new");
    }
    directory
}
