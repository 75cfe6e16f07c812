//! Who may ask at a port: what the guard says is carried out here, written to the log, and counted. And the way to the directory of all users, which is a thread of
//! the process: a change there comes to all shards, and is answered when all have it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::ShardSetup;
use super::answers::{answer, refuse};
use super::caller::Caller;
use super::connection::Connection;
use super::inbox::Flow;
use crate::auth::{
    self, Administrator, Asked, Book, Checked, Denial, Denials, Edition, Guard, Place, Rules,
};
use crate::broker::requests::{self, Entry};
use crate::broker::{Refusal, system_topics};
use crate::io::{Clock, Stream};
use crate::message::Record;
use crate::wire::auth::ACCESS_KEY;
use crate::wire::codes::{request, response};
use crate::wire::{Ext, Frame, Header, KeptExt, Reply};

/// The body of a request about users: what an administrator writes.
const MAX_BODY_BYTES: usize = 256 << 10;

/// Of this shard's requests about users that wait for their answers. A client has several at most.
const MAX_WAITING: usize = 64;

/// What the directory is asked.
pub enum ToDirectory {
    Ask(Box<DirectoryRequest>),
    /// This shard decides by this book from now on.
    Opened(Edition),
}

/// A request about users, by one who may make it.
pub struct DirectoryRequest {
    pub number: u64,
    pub by: Administrator,
    /// Whose it is, and from where: for the log.
    pub user: String,
    pub from: String,
    pub code: i32,
    pub ext: KeptExt,
    pub body: Vec<u8>,
}

/// What comes from there.
pub enum FromDirectory {
    Book(Arc<Book>),
    Answer { number: u64, reply: Reply },
}

/// The link of a shard to the directory.
pub struct DirectoryLink {
    /// What counts at the start.
    pub book: Arc<Book>,
    pub ask: Box<dyn Fn(ToDirectory)>,
    pub next: Box<dyn Fn() -> LocalBoxFuture<'static, FromDirectory>>,
}

/// Whose port it is.
#[derive(Clone, Debug)]
pub(super) enum Port {
    /// With its cluster.
    Broker(String),
    NameServer,
}

/// The check of one port.
pub(super) struct Access {
    guard: RefCell<Guard>,
    port: Port,
    denials: RefCell<Denials>,
}

impl Access {
    pub fn new(rules: Rules, book: Arc<Book>, port: Port) -> Rc<Self> {
        Rc::new(Self {
            guard: RefCell::new(Guard::new(rules, book)),
            port,
            denials: RefCell::default(),
        })
    }

    /// Whether each request has to prove whose it is.
    pub fn authenticates(&self) -> bool {
        self.guard.borrow().authenticates()
    }

    /// Whether those that only read have to, too.
    pub fn guards_reading(&self) -> bool {
        self.guard.borrow().guards_reading()
    }

    /// `None`: the request may go on. Else it has been answered, or is to be offered again.
    pub fn stop<S: Stream>(
        &self,
        clock: &impl Clock,
        connection: &Connection<S>,
        frame: &Frame<'_>,
        header: &Header<'_>,
    ) -> Option<Flow> {
        let now_ns = || clock.now().mono_ns;
        if let Some(until_ns) = connection.visit().is_slowed_until(now_ns) {
            return Some(Flow::Slowed(until_ns));
        }
        let code = header.code;
        let (place, administers) = match &self.port {
            Port::Broker(cluster) => (Place::Broker { cluster }, administers_broker(code)),
            Port::NameServer => (Place::NameServer, auth::administers_namesrv(code)),
        };
        let asked = Asked {
            place,
            header,
            body: frame.body,
            from: connection.peer.ip(),
            administers,
        };
        let checked = self.guard.borrow().check(&mut connection.visit(), &asked);
        match checked {
            Checked::Passed => {
                connection.has_proven();
                connection.visit().succeeded();
                None
            }
            Checked::Unfinished => Some(Flow::Yield),
            Checked::Denied(denial) => {
                connection.visit().frame_ended();
                if denial.reason.is_of_identity() {
                    connection.visit().failed(now_ns());
                }
                self.note(now_ns(), connection.peer.ip(), code, &denial);
                let caller = Caller::new(frame, header, connection.activity().received_ns());
                let refusal = Refusal::new(response::NO_PERMISSION, denial.remark);
                refuse(connection, caller, &refusal);
                Some(Flow::Next)
            }
        }
    }

    fn note(&self, now_ns: u64, from: IpAddr, code: i32, denial: &Denial) {
        let mut denials = self.denials.borrow_mut();
        denials.note(now_ns, from, code, denial);
    }

    fn open(&self, book: Arc<Book>) {
        self.guard.borrow_mut().open(book);
    }
}

/// Denials so far, by their reasons. Without checks there are none.
pub(super) fn denied(access: Option<&Access>) -> impl Iterator<Item = (&'static str, u64)> {
    let none = || Denials::default().counts();
    let counts = access.map_or_else(none, |it| it.denials.borrow().counts());
    counts.into_iter()
}

/// Whether it changes the broker, or is about its users.
pub(super) fn administers_broker(code: i32) -> bool {
    auth::is_of_directory(code) || requests::find(code).is_some_and(Entry::administers)
}

/// Who has sent a request.
pub(super) struct Asker {
    name: Box<str>,
    from: IpAddr,
    code: i32,
}

/// A shard's way to the directory. It outlives the terms.
pub(super) struct Directory {
    link: DirectoryLink,
    waiting: RefCell<HashMap<u64, Waiting>>,
    last: Cell<u64>,
}

type Waiting = Box<dyn FnOnce(Reply)>;

/// What a shard checks its requests with.
pub(super) struct Checks {
    access: Rc<Access>,
    /// Of the name server beside the shard.
    names: Option<Rc<Access>>,
    /// `None`: there are no users, so nobody may do anything.
    directory: Option<Directory>,
}

impl Checks {
    /// `None`: the settings ask for none.
    pub fn of(setup: &ShardSetup, link: Option<DirectoryLink>) -> Option<Rc<Self>> {
        let settings = &setup.broker.settings;
        let rules = settings.access_rules()?;
        let book = match &link {
            Some(link) => link.book.clone(),
            None => Arc::new(auth::Directory::default().book()),
        };
        let port = Port::Broker(setup.broker.cluster_name.clone());
        let of_names = settings.namesrv_rules();
        let of_names = of_names.filter(|_| setup.builtin_namesrv.is_some());
        Some(Rc::new(Self {
            names: of_names.map(|rules| Access::new(rules, book.clone(), Port::NameServer)),
            access: Access::new(rules, book, port),
            directory: link.map(|link| Directory {
                link,
                waiting: RefCell::default(),
                last: Cell::default(),
            }),
        }))
    }

    /// A notice of another master (1008) that nobody has signed: RocketMQ's controllers do not sign theirs. What it states is not believed, as
    /// anybody may have sent it.
    pub fn is_unproven_notice(&self, header: &Header<'_>) -> bool {
        header.code == request::NOTIFY_BROKER_ROLE_CHANGED
            && header.ext.find(ACCESS_KEY).is_none()
            && self.access.guard.borrow().authenticates()
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Who asks, for what is known only when a message has been read.
    pub fn asker<S: Stream>(&self, connection: &Connection<S>, ext: &Ext<'_>, code: i32) -> Asker {
        Asker {
            name: ext.find(ACCESS_KEY).unwrap_or_default().into(),
            from: connection.peer.ip(),
            code,
        }
    }

    /// Whether it may have this message.
    pub fn check_message(
        &self,
        now_ns: u64,
        asker: &Asker,
        record: &Record<'_>,
    ) -> Result<(), Refusal> {
        let Asker { name, from, code } = asker;
        let guard = self.access.guard.borrow();
        let checked = guard.check_message(name, *from, *code, system_topics::topic_of(record));
        checked.map_err(|denial| {
            self.access.note(now_ns, *from, *code, &denial);
            Refusal::new(response::NO_PERMISSION, denial.remark)
        })
    }

    pub fn of_names(&self) -> Option<Rc<Access>> {
        self.names.clone()
    }

    /// Takes a request about users, which has passed the guard.
    pub fn ask_directory<S: Stream>(
        &self,
        connection: &Rc<Connection<S>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) {
        let refused = |code, remark: &'static str| {
            refuse(connection, caller, &Refusal::new(code, remark));
        };
        let Some(directory) = &self.directory else {
            return refused(response::SYSTEM_ERROR, "there is no directory of users");
        };
        if body.len() > MAX_BODY_BYTES {
            return refused(response::SYSTEM_ERROR, "the body is too long");
        }
        if directory.waiting.borrow().len() >= MAX_WAITING {
            let remark = "too many requests about users are being carried out";
            return refused(response::SYSTEM_BUSY, remark);
        }
        let user = header.ext.find(ACCESS_KEY).unwrap_or_default();
        let number = directory.last.get() + 1;
        directory.last.set(number);
        let (waiting, reading) = (connection.clone(), connection.start_reading());
        let answered = move |reply| {
            answer(&waiting, caller, reply);
            drop(reading);
        };
        directory
            .waiting
            .borrow_mut()
            .insert(number, Box::new(answered));
        (directory.link.ask)(ToDirectory::Ask(Box::new(DirectoryRequest {
            number,
            by: Administrator {
                is_super: self.access.guard.borrow().is_of_super(user, header.code),
                is_local: connection.peer.ip().to_canonical().is_loopback(),
            },
            user: user.to_owned(),
            from: connection.peer.to_string(),
            code: header.code,
            ext: header.ext.kept(),
            body: body.to_vec(),
        })));
    }

    /// Takes what comes from the directory, for as long as the shard is.
    pub async fn follow_directory(self: Rc<Self>) {
        let Some(directory) = &self.directory else {
            return;
        };
        loop {
            match (directory.link.next)().await {
                FromDirectory::Book(book) => {
                    let edition = book.edition();
                    if let Some(names) = &self.names {
                        names.open(book.clone());
                    }
                    self.access.open(book);
                    (directory.link.ask)(ToDirectory::Opened(edition));
                }
                FromDirectory::Answer { number, reply } => {
                    let waiting = directory.waiting.borrow_mut().remove(&number);
                    if let Some(answered) = waiting {
                        answered(reply);
                    }
                }
            }
        }
    }
}
