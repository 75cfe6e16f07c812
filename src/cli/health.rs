//! The health probe, over HTTP, for container orchestration. It runs on a thread of its own and answers while the shards
//! recover their logs.
//!
//! | | 200 | 503 |
//! |---|---|---|
//! | `GET /live` | otherwise: a restart would only make it read its log again | a shard is fenced: only a restart ends that |
//! | `GET /ready` | every shard serves | one is recovering, fenced, full or stopping |
//! | `GET /master` | every shard takes messages: for what moves `masterAddress` | one does not, as it is a slave's or for a reason of above |
//!
//! All answer with the same JSON: the state of the worst shard, what the shards run on (`io`, and `ioReason` if that is not io_uring), whether other machines may do
//! everything without credentials (`open`), and the state of each shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::http::Server;
use crate::reactor::{Health, IoBackend};
use crate::store::Progress;

/// The last reported health of each shard.
#[derive(Clone)]
pub struct Board {
    /// What all shards run on.
    io: Arc<IoBackend>,
    is_open: bool,
    shards: Arc<Mutex<Vec<(String, Health)>>>,
}

impl Board {
    /// Shards of these names, all of them opening.
    pub fn new(io: IoBackend, names: impl IntoIterator<Item = String>) -> Self {
        let opening = Health::Opening(Progress::Recovering { from: 0 });
        let shards = names.into_iter().map(|name| (name, opening.clone()));
        Self {
            io: Arc::new(io),
            is_open: false,
            shards: Arc::new(Mutex::new(shards.collect())),
        }
    }

    /// Other machines may do everything without credentials.
    pub fn open(self, is_open: bool) -> Self {
        Self { is_open, ..self }
    }

    pub fn tell(&self, shard: usize, health: Health) {
        if let Some((_, told)) = self.locked().get_mut(shard) {
            *told = health;
        }
    }

    pub fn io(&self) -> &IoBackend {
        &self.io
    }

    /// Of all shards, by name.
    pub fn all(&self) -> Vec<(String, Health)> {
        self.locked().clone()
    }

    pub fn health(&self, shard: usize) -> Option<Health> {
        let shards = self.locked();
        shards.get(shard).map(|(_, health)| health.clone())
    }

    /// Answers at this address until the process ends.
    pub fn serve(&self, bind: IpAddr, port: u16) -> Result<()> {
        let server = Server {
            name: "health",
            addr: SocketAddr::new(bind, port),
            setting: "--health-port, or healthPort in broker.conf",
            patience: PATIENCE,
            niceness: 0,
        };
        let board = self.clone();
        server.serve(move |request: Request<Incoming>| {
            let response = board.answer(request.method(), request.uri().path());
            async move { response }
        })
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (code, body) = match (method, path) {
            (&Method::GET | &Method::HEAD, "/live") => self.report(is_live),
            (&Method::GET | &Method::HEAD, "/ready" | "/") => self.report(is_ready),
            (&Method::GET | &Method::HEAD, "/master") => self.report(is_master),
            _ => (
                StatusCode::NOT_FOUND,
                json!({ "paths": ["/live", "/ready", "/master"] }),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = code;
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    fn report(&self, is_well: impl Fn(&Health) -> bool) -> (StatusCode, Value) {
        let shards = self.locked();
        let code = match shards.iter().all(|(_, health)| is_well(health)) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let worst = shards.iter().max_by_key(|(_, health)| rank(health));
        let mut body = worst.map_or_else(|| json!({}), |(_, health)| show(health));
        body["io"] = self.io.name.into();
        if !self.io.reason.is_empty() {
            body["ioReason"] = self.io.reason.as_str().into();
        }
        body["open"] = self.is_open.into();
        body["shards"] = shards
            .iter()
            .map(|(name, health)| {
                let mut shown = show(health);
                shown["broker"] = name.as_str().into();
                shown
            })
            .collect();
        (code, body)
    }

    fn locked(&self) -> MutexGuard<'_, Vec<(String, Health)>> {
        // The list is whole even if a holder panics.
        self.shards
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

fn is_live(health: &Health) -> bool {
    !matches!(health, Health::Fenced(_))
}

fn is_ready(health: &Health) -> bool {
    matches!(health, Health::Serving | Health::Following)
}

fn is_master(health: &Health) -> bool {
    *health == Health::Serving
}

/// Higher is worse; of two that are opening, the one with less progress.
fn rank(health: &Health) -> (u8, u64) {
    match health {
        Health::Serving | Health::Following => (0, 0),
        Health::Stopping => (1, 0),
        Health::Opening(progress) => (2, 100 - progress.percent().min(100)),
        Health::Full(_) => (3, 0),
        Health::Fenced(_) => (4, 0),
    }
}

fn show(health: &Health) -> Value {
    match health {
        Health::Serving => json!({ "state": "serving" }),
        Health::Following => json!({ "state": "following" }),
        Health::Stopping => json!({ "state": "stopping" }),
        Health::Opening(progress) => json!({
            "state": "recovering",
            "percent": progress.percent(),
            "progress": progress.to_string(),
        }),
        Health::Full(reason) => json!({ "state": "disk full", "reason": &**reason }),
        Health::Fenced(reason) => json!({ "state": "fenced", "reason": &**reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_and_state(board: &Board, path: &str) -> (u16, String, Value) {
        let response = board.answer(&Method::GET, path);
        let (code, body) = match path {
            "/live" => board.report(is_live),
            "/master" => board.report(is_master),
            _ => board.report(is_ready),
        };
        assert_eq!(response.status(), code);
        let state = body["state"].as_str().unwrap_or_default().to_owned();
        (code.as_u16(), state, body)
    }

    fn io(name: &'static str, reason: &str) -> IoBackend {
        let reason = reason.to_owned();
        IoBackend { name, reason }
    }

    #[test]
    fn each_state_has_its_code() {
        let read = Progress::Read {
            read_bytes: 30,
            total_bytes: 120,
        };
        for (health, ready, live, master, state) in [
            (Health::Opening(read), 503, 200, 503, "recovering"),
            (Health::Serving, 200, 200, 200, "serving"),
            (Health::Following, 200, 200, 503, "following"),
            (Health::Full("95 %".into()), 503, 200, 503, "disk full"),
            (Health::Fenced("EIO".into()), 503, 503, 503, "fenced"),
            (Health::Stopping, 503, 200, 503, "stopping"),
        ] {
            let board = Board::new(io("portable", "seccomp"), ["a".into(), "b".into()]);
            board.tell(0, Health::Serving);
            board.tell(1, health);
            let (code, found, body) = code_and_state(&board, "/ready");
            assert_eq!((code, found.as_str()), (ready, state));
            assert_eq!(body["shards"][0]["state"], "serving");
            assert_eq!(body["io"], "portable");
            assert_eq!(body["ioReason"], "seccomp");
            assert_eq!(code_and_state(&board, "/live").0, live);
            assert_eq!(code_and_state(&board, "/master").0, master);
            if state == "recovering" {
                assert_eq!(
                    (&body["percent"], &body["shards"][1]["percent"]),
                    (&json!(25), &json!(25))
                );
            }
        }
        let board = Board::new(io("uring", ""), ["a".into()]);
        assert_eq!(code_and_state(&board, "/live").2["open"], false);
        let board = board.open(true);
        assert_eq!(code_and_state(&board, "/live").2["open"], true);
        assert_eq!(board.answer(&Method::GET, "/x").status(), 404);
        assert_eq!(board.answer(&Method::POST, "/ready").status(), 404);
    }
}
