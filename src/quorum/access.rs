//! Who may ask a controller, and the signatures of what it asks others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::sleep;

use super::secured::SecurityNow;
use crate::auth::{
    self, Asked, Book, Checked, Credentials, Denials, Guard, Place, Rules, Signer, Visit,
};
use crate::wire::codes::response;
use crate::wire::{Header, Reply, Value};

/// How a controller's connections are secured, and by what its requests are checked.
#[derive(Clone)]
pub struct Links {
    pub security: SecurityNow,
    /// `None`: everybody may do everything, and nothing is signed.
    pub access: Option<Arc<Access>>,
}

/// The checks of a controller's port.
pub struct Access {
    guard: Guard,
    signer: Option<Signer>,
    denials: Mutex<Denials>,
    started: Instant,
}

impl Access {
    /// With the credentials that this controller signs its own requests with.
    pub fn new(rules: Rules, book: Arc<Book>, own: Option<&Credentials>) -> Arc<Self> {
        Arc::new(Self {
            guard: Guard::new(rules, book),
            signer: own.map(Signer::new),
            denials: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// The answer to a request that may not go on. On a connection that has failed such a check the next one waits first.
    pub async fn refusal(
        &self,
        visit: &mut Visit,
        peer: SocketAddr,
        header: &Header<'_>,
        body: &[u8],
    ) -> Option<Reply> {
        if let Some(until_ns) = visit.is_slowed_until(|| self.now_ns()) {
            sleep(Duration::from_nanos(until_ns - self.now_ns().min(until_ns))).await;
        }
        let asked = Asked {
            place: Place::Controller,
            header,
            body,
            from: peer.ip(),
            administers: auth::administers_controller(header),
        };
        let checked = loop {
            match self.guard.check(visit, &asked) {
                Checked::Unfinished => yield_now().await,
                checked => break checked,
            }
        };
        visit.frame_ended();
        let Checked::Denied(denial) = checked else {
            visit.succeeded();
            if asked.administers {
                auth::note_administration(header, peer);
            }
            return None;
        };
        if denial.reason.is_of_identity() {
            visit.failed(self.now_ns());
        }
        let mut denials = self.denials();
        denials.note(self.now_ns(), peer.ip(), header.code, &denial);
        Some(Reply::refused(response::NO_PERMISSION, denial.remark))
    }

    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

/// Denials so far, by their reasons. Without checks there are none.
pub fn denied(access: Option<&Access>) -> impl Iterator<Item = (&'static str, u64)> {
    let none = || Denials::default().counts();
    let counts = access.map_or_else(none, |it| it.denials().counts());
    counts.into_iter()
}

impl Links {
    /// The fields of a request of this controller, signed if it has credentials.
    pub fn signed<'a>(
        &'a self,
        fields: &[(&'a str, Value<'a>)],
        body: &[u8],
        signature: &'a mut String,
    ) -> Vec<(&'a str, Value<'a>)> {
        let signer = self.access.as_ref().and_then(|it| it.signer.as_ref());
        auth::signed(signer, fields, body, signature)
    }
}
