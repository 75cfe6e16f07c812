//! The one directory of users and policies of the process: a thread that changes it, its file, and the shards that decide by it.
//!
//! ```text
//! shard ── request 3001 to 3010 ──► thread: change a copy, write auth.json, then let it count
//! shard ◄── the new book ────────── to every shard; a shard says when it decides by it
//! shard ◄── the answer ──────────── when every shard does
//! ```
//!
//! A change that cannot be written has not happened. `mqadmin -c` sends a change to every broker of a cluster, and with several cores the brokers of this process are some of
//! them: a change that is repeated at another shard is answered as it was at the first.

mod disk;
mod repeats;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result, bail};
use tracing::{error, info, warn};
use zeroize::Zeroize;

use self::disk::Disk;
use self::repeats::Repeats;
use crate::auth::{self, Book, Directory, Edition, PlainAcl, Rules};
use crate::config::{Config, properties};
use crate::quorum::Access;
use crate::reactor::{DirectoryLink, DirectoryRequest, FromDirectory, ToDirectory};
use crate::ring::linux::{Doorbell, Machine};
use crate::wire::Reply;
use crate::wire::codes::response;

/// A shard's side.
pub struct Mailbox {
    book: Arc<Book>,
    shard: usize,
    to_thread: Sender<(usize, ToDirectory)>,
    news: Receiver<FromDirectory>,
    bell: Doorbell,
}

/// The thread's side of a shard.
struct Desk {
    news: Sender<FromDirectory>,
    bell: Doorbell,
    /// The last book that it was sent, and the one by which it decides.
    sent: Edition,
    opened: Edition,
}

/// Loads the directory and starts its thread; each shard has a mailbox, in their order. Without authentication there is none.
pub fn start(config: &Config) -> Result<Vec<Option<Mailbox>>> {
    if !config.authentication {
        return Ok((0..config.shards()).map(|_| None).collect());
    }
    let (directory, disk) = load(config)?;
    let book = Arc::new(directory.book());
    let (to_thread, asked) = channel();
    let (mut desks, mut mailboxes) = (Vec::new(), Vec::new());
    for shard in 0..config.shards() {
        let (news, to_shard) = channel();
        let bell = Doorbell::new()?;
        desks.push(Desk {
            news,
            bell: bell.clone(),
            sent: book.edition(),
            opened: book.edition(),
        });
        mailboxes.push(Some(Mailbox {
            book: book.clone(),
            shard,
            to_thread: to_thread.clone(),
            news: to_shard,
            bell,
        }));
    }
    info!(
        target: "ringmq::audit",
        users = directory.users(),
        authorizes = config.authorization,
        "requests have to be signed"
    );
    let keeper = Keeper {
        directory,
        disk,
        desks,
        books: vec![book],
        unopened: Vec::new(),
        repeats: Repeats::default(),
    };
    thread::Builder::new()
        .name("directory".into())
        .spawn(move || keeper.run(asked))?;
    Ok(mailboxes)
}

/// What a name server without a broker checks its requests by; `None`: its file asks for no authentication, or turns it off here
/// (`namesrvAuth=off`). Its users are those of the file, and of an `auth.json` that is there.
pub fn of_namesrv(text: &str) -> Result<Option<(Rules, Arc<Book>)>> {
    refuse_acl_1(text, "name server")?;
    let config = access_config(text, &["namesrvAuth"])?;
    if config.namesrv_auth.is_none() {
        demand_credentials(&config, "name server")?;
    }
    let Some(rules) = config.namesrv_rules() else {
        return Ok(None);
    };
    Ok(Some((rules, book_of(&config)?)))
}

/// The same of a controller, with what it signs its own requests with. One in the process of a broker or a name server has their file, which need
/// not name credentials: then the controller asks for none.
pub fn of_controller(text: &str, is_alone: bool) -> Result<Option<Arc<Access>>> {
    let config = access_config(text, &[])?;
    if is_alone {
        refuse_acl_1(text, "controller")?;
        demand_credentials(&config, "controller")?;
    } else if config.authentication && config.inner_credentials.is_none() {
        warn!("the controller asks for no credentials, as it has none: {INNER_CREDENTIALS}");
    }
    let Some(rules) = config.controller_rules() else {
        return Ok(None);
    };
    let book = book_of(&config)?;
    Ok(Some(Access::new(
        rules,
        book,
        config.inner_credentials.as_ref(),
    )))
}

const INNER_CREDENTIALS: &str = "innerClientAuthenticationCredentials";

/// What a file says of users, and these settings of it.
fn access_config(text: &str, others: &[&str]) -> Result<Config> {
    const NAMES: [&str; 8] = [
        "adminFrom",
        "authenticationEnabled",
        "authorizationEnabled",
        "initAuthenticationUser",
        INNER_CREDENTIALS,
        "authenticationWhitelist",
        "authorizationWhitelist",
        "authConfigPath",
    ];
    let mut own = String::new();
    for properties::Entry { key, value, .. } in properties::parse(text) {
        if NAMES.contains(&&*key) || others.contains(&&*key) {
            properties::write(&mut own, &key, &value);
        }
    }
    let surroundings = crate::config::Surroundings::observe();
    Ok(Config::merge(&own, &Default::default(), &surroundings)?.0)
}

fn refuse_acl_1(text: &str, who: &str) -> Result<()> {
    const OF_ACL_1: [&str; 2] = ["aclEnable", "migrateAuthFromV1Enabled"];
    for properties::Entry { key, value, .. } in properties::parse(text) {
        if OF_ACL_1.contains(&&*key) && value.trim().eq_ignore_ascii_case("true") {
            bail!(
                "{key}=true: a {who} imports no accounts of ACL 1. Remove the line; its users are those of its file, and of an auth.json in authConfigPath"
            );
        }
    }
    Ok(())
}

fn demand_credentials(config: &Config, who: &str) -> Result<()> {
    if config.authentication && config.inner_credentials.is_none() {
        bail!(
            "authenticationEnabled=true of a {who} needs {INNER_CREDENTIALS}, those that brokers register with"
        );
    }
    Ok(())
}

fn book_of(config: &Config) -> Result<Arc<Book>> {
    let mut directory = match &config.auth_dir {
        Some(dir) => Disk::new(dir.clone()).read()?.unwrap_or_default(),
        None => Directory::default(),
    };
    ensure_users(&mut directory, config)?;
    Ok(Arc::new(directory.book()))
}

/// The directory as it counts from now on, written if a user of the settings was missing.
fn load(config: &Config) -> Result<(Directory, Disk)> {
    let in_store = || config.store_dir.join("config");
    let disk = Disk::new(config.auth_dir.clone().unwrap_or_else(in_store));
    let read = disk.read()?;
    let mut directory = read.clone().unwrap_or_default();
    ensure_users(&mut directory, config)?;
    if config.imports_acl_1() {
        import(&mut directory, config)?;
    }
    if directory.users() == 0 {
        bail!(
            "authenticationEnabled=true, and there is no user: set initAuthenticationUser={{\"username\":\"...\",\"password\":\"...\"}}"
        );
    }
    if read.as_ref() != Some(&directory) {
        disk.write(&directory.to_text())?;
    }
    Ok((directory, disk))
}

fn ensure_users(directory: &mut Directory, config: &Config) -> Result<()> {
    let named = [
        ("initAuthenticationUser", &config.init_user),
        (INNER_CREDENTIALS, &config.inner_credentials),
    ];
    for (setting, credentials) in named {
        if let Some(credentials) = credentials {
            directory.ensure_super(credentials).context(setting)?;
        }
    }
    Ok(())
}

/// Every account of ACL 1 of which there is no user yet.
fn import(directory: &mut Directory, config: &Config) -> Result<()> {
    let files = plain_acl_files(config)?;
    if files.is_empty() {
        bail!(
            "the accounts of ACL 1 are to be imported (aclEnable or migrateAuthFromV1Enabled), and there is no conf/plain_acl.yml: set rocketmqHome to the directory above conf/"
        );
    }
    for path in files {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let accounts = PlainAcl::parse(&text).with_context(|| path.display().to_string())?;
        let imported = directory
            .import(&accounts)
            .with_context(|| path.display().to_string())?;
        info!(target: "ringmq::audit", file = %path.display(), ?imported, "accounts of ACL 1 have become users");
    }
    Ok(())
}

/// `plain_acl.yml` first: of an account that is in several files the first one counts, as at RocketMQ.
fn plain_acl_files(config: &Config) -> Result<Vec<PathBuf>> {
    let home = config.rocketmq_home.clone();
    let home = home.or_else(|| std::env::var_os("ROCKETMQ_HOME").map(PathBuf::from));
    let Some(home) = home else {
        return Ok(Vec::new());
    };
    let conf = home.join("conf");
    let mut files = Vec::new();
    if conf.join("plain_acl.yml").exists() {
        files.push(conf.join("plain_acl.yml"));
    }
    let mut below = vec![conf.join("acl")];
    while let Some(dir) = below.pop().filter(|dir| dir.exists()) {
        let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry?.path());
        }
        paths.sort();
        for path in paths {
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                _ if path.is_dir() => below.push(path),
                Some("yml" | "yaml") => files.push(path),
                _ => {}
            }
        }
    }
    Ok(files)
}

impl Mailbox {
    /// As the reactor of this machine takes it.
    pub fn on<M: Machine>(self, machine: M) -> DirectoryLink {
        let Self {
            book,
            shard,
            to_thread,
            news,
            bell,
        } = self;
        let taken = Rc::new((news, bell));
        DirectoryLink {
            book,
            // The thread ends with the process.
            ask: Box::new(move |message| drop(to_thread.send((shard, message)))),
            next: Box::new(move || {
                let (taken, machine) = (taken.clone(), machine.clone());
                Box::pin(async move {
                    let (news, bell) = &*taken;
                    loop {
                        if let Ok(news) = news.try_recv() {
                            return news;
                        }
                        if machine.wait(bell).await.is_err() {
                            // It can only fail with the reactor itself.
                            std::future::pending::<()>().await;
                        }
                    }
                })
            }),
        }
    }
}

impl Desk {
    /// A shard that has ended takes nothing any more.
    fn send(&self, news: FromDirectory) {
        if self.news.send(news).is_ok() {
            self.bell.ring();
        }
    }
}

/// What the thread has.
struct Keeper {
    directory: Directory,
    disk: Disk,
    desks: Vec<Desk>,
    /// The newest, and older ones by which some shard still decides. So the last owner of an old book is this thread: to free one with many users takes long.
    books: Vec<Arc<Book>>,
    /// Changes that some shard does not decide by yet: their answers.
    unopened: Vec<Unopened>,
    repeats: Repeats,
}

struct Unopened {
    edition: Edition,
    shard: usize,
    number: u64,
    reply: Reply,
}

impl Keeper {
    fn run(mut self, asked: Receiver<(usize, ToDirectory)>) {
        for (shard, message) in asked {
            match message {
                ToDirectory::Opened(edition) => {
                    self.desks[shard].opened = edition;
                    self.answer_opened();
                }
                ToDirectory::Ask(mut request) => {
                    self.asked(shard, &request);
                    // It may have a password.
                    request.body.zeroize();
                }
            }
        }
    }

    fn asked(&mut self, shard: usize, request: &DirectoryRequest) {
        let DirectoryRequest {
            number,
            by,
            code,
            ext,
            body,
            ..
        } = request;
        let (ext, number) = (ext.ext(), *number);
        if !auth::changes(*code) {
            let reply = auth::answer(&mut self.directory, *by, *code, &ext, body);
            return self.desks[shard].send(FromDirectory::Answer { number, reply });
        }
        let repeated = self.repeats.repeated(shard, *code, &ext, body);
        let reply = repeated.unwrap_or_else(|| self.change(shard, request));
        let edition = self.desks.iter().map(|desk| desk.sent).max();
        // A repeated one, too: what it repeats may not be open at every shard yet.
        self.unopened.push(Unopened {
            edition: edition.unwrap_or_default(),
            shard,
            number,
            reply,
        });
        self.answer_opened();
    }

    fn change(&mut self, shard: usize, request: &DirectoryRequest) -> Reply {
        let DirectoryRequest { by, code, body, .. } = request;
        let ext = request.ext.ext();
        let mut changed = self.directory.clone();
        let reply = auth::answer(&mut changed, *by, *code, &ext, body);
        let reply = match changed == self.directory {
            true => reply,
            false => self.put_in_force(changed, reply),
        };
        note(request, &reply);
        self.repeats.carried_out(shard, *code, &ext, body, &reply);
        reply
    }

    /// On the disk first, then at the shards.
    fn put_in_force(&mut self, changed: Directory, reply: Reply) -> Reply {
        if let Err(error) = self.disk.write(&changed.to_text()) {
            error!(
                error = format!("{error:#}"),
                "a change of users or policies cannot be written, and is not made"
            );
            let remark = format!("the change cannot be written, and is not made: {error:#}");
            return Reply::refused(response::SYSTEM_ERROR, remark);
        }
        self.directory = changed;
        let book = Arc::new(self.directory.book());
        for desk in &mut self.desks {
            desk.sent = book.edition();
            desk.send(FromDirectory::Book(book.clone()));
        }
        self.books.push(book);
        reply
    }

    /// Answers the changes that every shard decides by, and drops the books by which none does any more.
    fn answer_opened(&mut self) {
        let opened = self.desks.iter().map(|desk| desk.opened).min();
        let opened = opened.unwrap_or_default();
        self.books.retain(|book| book.edition() >= opened);
        let is_open = |change: &mut Unopened| change.edition <= opened;
        for change in self.unopened.extract_if(.., is_open) {
            let Unopened { number, reply, .. } = change;
            self.desks[change.shard].send(FromDirectory::Answer { number, reply });
        }
    }
}

/// Who changed what, whether it was done or refused.
fn note(request: &DirectoryRequest, reply: &Reply) {
    let ext = request.ext.ext();
    let of = ext.find("username").or_else(|| ext.find("subject"));
    let (user, peer, code) = (&request.user, &request.from, request.code);
    let of = of.unwrap_or_default();
    match reply.code {
        response::SUCCESS => {
            info!(target: "ringmq::audit", user, peer, code, of, "users or policies changed");
        }
        answered => {
            let remark = reply.remark.as_deref().unwrap_or_default();
            warn!(target: "ringmq::audit", user, peer, code, of, answered, remark, "a change of users or policies was refused");
        }
    }
}

#[cfg(test)]
mod tests;
