//! Protects: users survive a restart and a half-written file does not open the broker; a change at one shard counts at all before it is answered; `mqadmin -c` passes on several cores.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::auth::Administrator;
use crate::wire::codes::request;
use crate::wire::{Codec, Frame, Scratch, Value, frame, header};

fn config(dir: &Path, text: &str) -> Config {
    let surroundings = crate::config::Surroundings::observe();
    let text = format!(
        "authenticationEnabled=true\nstorePathRootDir={}\n{text}",
        dir.display()
    );
    Config::merge(&text, &Default::default(), &surroundings)
        .unwrap()
        .0
}

const USER: &str = r#"initAuthenticationUser={"username":"root","password":"secret"}"#;

fn request(number: u64, code: i32, name: &str, body: &str) -> Box<DirectoryRequest> {
    let mut bytes = Vec::new();
    let head = crate::wire::Head {
        codec: Codec::Json,
        code,
        language: crate::wire::Language::Java,
        version: 513,
        opaque: 0,
        flag: 0,
        remark: None,
    };
    frame::write(
        &mut bytes,
        &head,
        &[("username", Value::Str(name))],
        body.as_bytes(),
    );
    let frame: Frame<'_> = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    Box::new(DirectoryRequest {
        number,
        by: Administrator {
            is_super: true,
            is_local: true,
        },
        user: "root".into(),
        from: "127.0.0.1:1".into(),
        code,
        ext: header.ext.kept(),
        body: body.as_bytes().to_vec(),
    })
}

#[test]
fn without_users_there_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(&config(dir.path(), "")).err().unwrap();
    assert!(
        error.to_string().contains("initAuthenticationUser"),
        "{error:#}"
    );
    load(&config(dir.path(), USER)).unwrap();
    // From now on the user is in the file.
    load(&config(dir.path(), "")).unwrap();
}

#[test]
fn the_file_is_for_its_owner_and_a_damaged_one_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    load(&config(dir.path(), USER)).unwrap();
    let path = dir.path().join("config/auth.json");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("Super", "Norma")).unwrap();
    let error = load(&config(dir.path(), USER)).err().unwrap();
    assert!(format!("{error:#}").contains("CRC"), "{error:#}");
}

#[test]
fn acl_1_is_imported_or_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let text = format!(
        "{USER}\nauthorizationEnabled=true\naclEnable=true\nrocketmqHome={}",
        home.display()
    );
    let config = config(dir.path(), &text);
    let error = load(&config).err().unwrap();
    assert!(error.to_string().contains("plain_acl.yml"), "{error:#}");
    std::fs::create_dir_all(home.join("conf/acl")).unwrap();
    let yaml = "accounts:\n- accessKey: RocketMQ\n  secretKey: 00123456\n  topicPerms: [t=PUB]\n";
    std::fs::write(home.join("conf/acl/one.yml"), yaml).unwrap();
    let (directory, _) = load(&config).unwrap();
    assert_eq!(
        directory.find("RocketMQ").unwrap().secret.reveal(),
        "00123456"
    );
    assert!(directory.acl("RocketMQ").is_some());
    let white = "globalWhiteRemoteAddresses: [10.10.103.*]\naccounts: []\n";
    std::fs::write(home.join("conf/plain_acl.yml"), white).unwrap();
    let error = load(&config).err().unwrap();
    assert!(
        format!("{error:#}").contains("globalWhiteRemoteAddresses"),
        "{error:#}"
    );
}

const BODY: &str = r#"{"username":"u","password":"p"}"#;

fn create(number: u64) -> ToDirectory {
    ToDirectory::Ask(request(number, request::AUTH_CREATE_USER, "u", BODY))
}

impl Mailbox {
    fn say(&self, message: ToDirectory) {
        self.to_thread.send((self.shard, message)).unwrap();
    }

    fn next_edition(&self) -> Edition {
        match self.news.recv().unwrap() {
            FromDirectory::Book(book) => book.edition(),
            FromDirectory::Answer { .. } => panic!("an answer before the book"),
        }
    }

    fn next_answer(&self) -> (u64, i32) {
        match self.news.recv().unwrap() {
            FromDirectory::Answer { number, reply } => (number, reply.code),
            FromDirectory::Book(_) => panic!("a book without a change"),
        }
    }
}

fn two_shards(dir: &Path) -> [Mailbox; 2] {
    let config = config(dir, &format!("{USER}\ncores=0,0"));
    let mailboxes: Vec<_> = start(&config).unwrap().into_iter().flatten().collect();
    mailboxes.try_into().ok().expect("two shards")
}

#[test]
fn a_change_is_answered_when_every_shard_decides_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = &two_shards(dir.path());
    one.say(create(1));
    one.say(ToDirectory::Opened(one.next_edition()));
    let edition = two.next_edition();
    assert!(
        one.news.try_recv().is_err(),
        "the other shard does not have it yet"
    );
    two.say(ToDirectory::Opened(edition));
    assert_eq!(one.next_answer(), (1, 0));
    // The same again: done at the other shard, refused at the first.
    two.say(create(2));
    assert_eq!(two.next_answer(), (2, 0));
    two.say(create(3));
    assert_eq!(two.next_answer(), (3, 16));
    let kept = Disk::new(dir.path().join("config"))
        .read()
        .unwrap()
        .unwrap();
    assert!(kept.find("u").is_some());
}

#[test]
fn a_repeated_change_is_not_answered_before_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = &two_shards(dir.path());
    one.say(create(1));
    let edition = one.next_edition();
    two.say(create(2));
    two.say(ToDirectory::Opened(two.next_edition()));
    // A question is answered at once, so what came before it has been seen.
    two.say(ToDirectory::Ask(request(
        3,
        request::AUTH_GET_USER,
        "u",
        "",
    )));
    assert_eq!(two.next_answer(), (3, 0), "the first shard is still behind");
    one.say(ToDirectory::Opened(edition));
    assert_eq!(two.next_answer(), (2, 0));
    assert_eq!(one.next_answer(), (1, 0));
}

/// A shard that opens a book lets go of the one before: it must not be the last that has it, as freeing 65,536 users takes long.
#[test]
fn an_old_book_is_kept_until_every_shard_has_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = &two_shards(dir.path());
    let of_mailboxes = 2;
    one.say(create(1));
    one.say(ToDirectory::Opened(one.next_edition()));
    let edition = two.next_edition();
    assert_eq!(Arc::strong_count(&one.book), of_mailboxes + 1);
    two.say(ToDirectory::Opened(edition));
    assert_eq!(one.next_answer(), (1, 0));
    assert_eq!(Arc::strong_count(&one.book), of_mailboxes);
}

#[test]
fn a_controller_checks_what_its_file_asks_for() {
    let of = |text: &str, is_alone| {
        let checks = of_controller(text, is_alone);
        checks.map(|it| it.is_some())
    };
    let enabled = "authenticationEnabled=true\n";
    let inner = format!(
        r#"{enabled}innerClientAuthenticationCredentials={{"accessKey":"broker","secretKey":"secret"}}"#
    );
    for is_alone in [true, false] {
        assert!(!of("", is_alone).unwrap());
        assert!(of(&inner, is_alone).unwrap());
        assert!(of("adminFrom=10.0.0.1", is_alone).unwrap());
        assert!(of("authenticationEnabled=perhaps", is_alone).is_err());
        assert!(of("authorizationEnabled=true", is_alone).is_err());
    }
    let error = of(enabled, true).unwrap_err();
    assert!(error.to_string().contains("innerClient"), "{error:#}");
    assert!(!of(enabled, false).unwrap(), "as the name server beside it");
    let acl_1 = format!("{inner}\naclEnable=true");
    assert!(
        of(&acl_1, true)
            .unwrap_err()
            .to_string()
            .starts_with("aclEnable")
    );
    assert!(of(&acl_1, false).unwrap(), "the broker imports them");
}

#[test]
fn a_name_server_may_be_open_and_imports_nothing() {
    let of = |text: &str| of_namesrv(&format!("authenticationEnabled=true\n{text}"));
    let error = of("").err().unwrap();
    assert!(error.to_string().contains("innerClient"), "{error:#}");
    assert!(of("namesrvAuth=off").unwrap().is_none());
    let inner =
        r#"innerClientAuthenticationCredentials={"accessKey":"broker","secretKey":"secret"}"#;
    assert!(of(inner).unwrap().is_some());
    assert!(of(&format!("{inner}\naclEnable=false")).unwrap().is_some());
    for name in ["aclEnable", "migrateAuthFromV1Enabled"] {
        let text = format!("authorizationEnabled=true\n{inner}\n{name}=true");
        let error = of(&text).err().unwrap();
        assert!(error.to_string().starts_with(name), "{error:#}");
    }
}
