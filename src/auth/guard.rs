//! What a port asks about each request: may it go on?

use std::fmt;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::accounts::cut;
use super::asked::{Asked, Place};
use super::book::{Account, Book};
use super::codes::CodeSet;
use super::needs::{self, Refused, namesrv_reads_are_open};
use super::resource::Target;
use super::rights::Verdict;
use super::signature::{Check, name_of};
use super::source::Source;
use super::visit::Visit;

/// What is demanded, from the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Off: nobody has to prove who it is, and everybody may do everything.
    pub authenticates: bool,
    /// Off: every user may do everything.
    pub authorizes: bool,
    /// From where requests of administration are taken; none: from everywhere.
    pub admin_from: Vec<Source>,
    /// Not checked at all.
    pub unauthenticated: CodeSet,
    /// Only authenticated.
    pub unauthorized: CodeSet,
    /// Of a name server: routes and lists are for users only.
    pub guards_reading: bool,
}

impl Rules {
    /// `None`: they ask for nothing.
    pub fn if_any(self) -> Option<Self> {
        (self.authenticates || !self.admin_from.is_empty()).then_some(self)
    }

    fn takes_administration_from(&self, address: IpAddr) -> bool {
        let mut sources = self.admin_from.iter();
        self.admin_from.is_empty() || sources.any(|source| source.contains(address))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// It may go on.
    Passed,
    /// There is more to hash: it is to be offered again in the next turn.
    Unfinished,
    Denied(Box<Denial>),
}

/// Why a request was denied: for the answer, the log and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub reason: Reason,
    /// RocketMQ's words. Names in it and below are cut, if they are longer than any name may be.
    pub remark: String,
    /// As the request states it, if it does.
    pub user: Option<String>,
    pub resource: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NoUser,
    UnknownUser,
    DisabledUser,
    WrongSignature,
    /// No policy fits.
    Unmatched,
    /// A policy denies it.
    Denied,
    /// The code has no row.
    Unmapped,
    Unreadable,
    /// An administrator's request from an address that is none of `adminFrom`.
    Address,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::NoUser,
        Self::UnknownUser,
        Self::DisabledUser,
        Self::WrongSignature,
        Self::Unmatched,
        Self::Denied,
        Self::Unmapped,
        Self::Unreadable,
        Self::Address,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoUser => "no_user",
            Self::UnknownUser => "unknown_user",
            Self::DisabledUser => "disabled_user",
            Self::WrongSignature => "wrong_signature",
            Self::Unmatched => "no_policy",
            Self::Denied => "denied_by_policy",
            Self::Unmapped => "unmapped_request",
            Self::Unreadable => "unreadable_request",
            Self::Address => "address",
        }
    }
}

impl Reason {
    /// Nobody has proven who it is.
    pub fn is_of_identity(self) -> bool {
        matches!(
            self,
            Self::NoUser | Self::UnknownUser | Self::DisabledUser | Self::WrongSignature
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Of one shard, or of a name server.
#[derive(Clone, Debug)]
pub struct Guard {
    rules: Rules,
    book: Arc<Book>,
}

impl Guard {
    pub fn new(rules: Rules, book: Arc<Book>) -> Self {
        Self { rules, book }
    }

    pub fn authenticates(&self) -> bool {
        self.rules.authenticates
    }

    pub fn guards_reading(&self) -> bool {
        self.rules.authenticates && self.rules.guards_reading
    }

    /// Every later question is decided by this book.
    pub fn open(&mut self, book: Arc<Book>) {
        self.book = book;
    }

    /// Whether a request with this code, which has passed, is of a super user. A name that a request need not prove is nobody's.
    pub fn is_of_super(&self, name: &str, code: i32) -> bool {
        let found = self.book.find(name);
        let found = found.filter(|_| !self.rules.unauthenticated.contains(code));
        found.is_some_and(|at| self.book.account(at).is_super)
    }

    /// Authenticates, then authorizes. A request that has to wait afterwards is not checked again unless something has changed.
    pub fn check(&self, visit: &mut Visit, asked: &Asked<'_>) -> Checked {
        let code = asked.header.code;
        if asked.administers && !self.rules.takes_administration_from(asked.from) {
            let from = asked.from.to_canonical();
            let remark = format!("Administration is not allowed from {from}: adminFrom.");
            let name = name_of(&asked.header.ext).map(cut);
            return Checked::Denied(Box::new(denial(Reason::Address, name, remark)));
        }
        let is_open = asked.place == Place::NameServer
            && !self.rules.guards_reading
            && namesrv_reads_are_open(code);
        if is_open || !self.rules.authenticates || visit.passed(&self.book) {
            return Checked::Passed;
        }
        let checked = match self.rules.unauthenticated.contains(code) {
            false => self.authenticate(visit, asked),
            true if !self.rules.authorizes || self.rules.unauthorized.contains(code) => Ok(None),
            // RocketMQ believes the name without a proof.
            true => Err(denial(Reason::NoUser, None, NOT_AUTHORIZED.into())),
        };
        match checked {
            Ok(None) => {}
            Ok(Some(Proven::No)) => return Checked::Unfinished,
            Ok(Some(Proven::User(at))) => {
                if let Err(denial) = self.authorize(visit, asked, self.book.account(at)) {
                    return Checked::Denied(Box::new(denial));
                }
            }
            Err(denial) => return Checked::Denied(Box::new(denial)),
        }
        visit.has_passed = true;
        Checked::Passed
    }

    /// Whether the user that has sent a request with this code may have the message that it has stated the place of.
    pub fn check_message(
        &self,
        name: &str,
        from: IpAddr,
        code: i32,
        topic: &str,
    ) -> Result<(), Denial> {
        let is_free = !self.rules.authorizes || self.rules.unauthorized.contains(code);
        let need = needs::of_message(code, topic).filter(|_| !is_free);
        let Some(need) = need else {
            return Ok(());
        };
        let account = self.book.find(name).map(|at| self.book.account(at));
        let verdict = match account {
            None => Verdict::Unmatched,
            Some(account) if account.is_super => return Ok(()),
            Some(account) => account.rights.decide(need.target, need.any_of, from),
        };
        match verdict {
            Verdict::Allowed => Ok(()),
            verdict => Err(not_permitted(cut(name), from, verdict, need.target.cut())),
        }
    }

    fn authenticate(&self, visit: &mut Visit, asked: &Asked<'_>) -> Result<Option<Proven>, Denial> {
        let name = name_of(&asked.header.ext).filter(|name| !name.is_empty());
        let Some(name) = name else {
            let remark = "username cannot be null.".into();
            return Err(denial(Reason::NoUser, None, remark));
        };
        let user = visit.user(&self.book, name);
        let key = self.book.key(user);
        let mut check = match visit.check.take() {
            Some(check) => *check,
            None => Check::begin(key, asked.header),
        };
        let Some(is_right) = check.go_on(key, asked.header, asked.body) else {
            // Only a large body gets here: nearly every check ends in its first turn, and is not allocated.
            visit.check = Some(Box::new(check));
            return Ok(Some(Proven::No));
        };
        let name = cut(name);
        let refused = |reason, remark| Err(denial(reason, Some(name), remark));
        let Some(at) = user else {
            return refused(Reason::UnknownUser, format!("User:{name} is not found."));
        };
        match is_right {
            _ if !self.book.account(at).is_enabled => {
                refused(Reason::DisabledUser, format!("User:{name} is disabled."))
            }
            false => refused(Reason::WrongSignature, "check signature failed.".into()),
            true => Ok(Some(Proven::User(at))),
        }
    }

    fn authorize(
        &self,
        visit: &mut Visit,
        asked: &Asked<'_>,
        account: &Account,
    ) -> Result<(), Denial> {
        let code = asked.header.code;
        if !self.rules.authorizes || account.is_super || self.rules.unauthorized.contains(code) {
            return Ok(());
        }
        let found = needs::each(asked, &mut |need| {
            if visit.is_allowed(&need) || is_for_all(asked.place, &need.target) {
                return ControlFlow::Continue(());
            }
            match account.rights.decide(need.target, need.any_of, asked.from) {
                Verdict::Allowed => {
                    visit.keep(&need);
                    ControlFlow::Continue(())
                }
                verdict => ControlFlow::Break((verdict, need.target.cut())),
            }
        });
        let name = name_of(&asked.header.ext).unwrap_or_default();
        match found {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break((verdict, resource))) => {
                Err(not_permitted(name, asked.from, verdict, resource))
            }
            Err(Refused::Unmapped) => {
                let remark = "authorization context is empty.".into();
                Err(denial(Reason::Unmapped, Some(name), remark))
            }
            Err(Refused::Unreadable) => {
                let remark = "parse authorization context error.".into();
                Err(denial(Reason::Unreadable, Some(name), remark))
            }
        }
    }
}

/// RocketMQ's answer to an unexpected error.
const NOT_AUTHORIZED: &str =
    "Authorization failed. Please verify your access rights and try again.";

/// The template of new topics: every producer asks for its route.
const TEMPLATE: &str = "TBW102";

fn is_for_all(place: Place<'_>, target: &Target<'_>) -> bool {
    place == Place::NameServer && target.name == Some(TEMPLATE)
}

enum Proven {
    /// Not yet.
    No,
    User(usize),
}

fn not_permitted(name: &str, from: IpAddr, verdict: Verdict, resource: String) -> Denial {
    let (reason, why) = match verdict {
        Verdict::Denied => (Reason::Denied, "the decision is deny."),
        Verdict::Unmatched | Verdict::Allowed => (Reason::Unmatched, "no matched policies."),
    };
    let from = from.to_canonical();
    let remark = format!("User:{name} has no permission to access {resource} from {from}, {why}");
    Denial {
        resource: Some(resource),
        ..denial(reason, Some(name), remark)
    }
}

fn denial(reason: Reason, user: Option<&str>, remark: String) -> Denial {
    Denial {
        reason,
        remark,
        user: user.map(str::to_owned),
        resource: None,
    }
}
