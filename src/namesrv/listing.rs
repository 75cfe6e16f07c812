//! Lists of topics, made a slice at a time: there may be ten thousands.

use super::NameServer;
use super::route_table::Wanted;
use crate::wire::{Reply, loose_json};

/// Topics that are looked at in one turn.
pub const TOPICS_PER_TURN: usize = 256;

/// A list in the making.
#[derive(Debug)]
pub struct Listing {
    wanted: Wanted,
    after: Option<String>,
    out: Vec<u8>,
}

impl Listing {
    pub(super) fn new(wanted: Wanted) -> Self {
        let out = br#"{"topicList":["#.to_vec();
        Self {
            wanted,
            after: None,
            out,
        }
    }

    /// Adds the next topics; the answer if these were the last ones.
    pub fn turn(&mut self, server: &NameServer) -> Option<Reply> {
        let mut last = None;
        let mut left = TOPICS_PER_TURN;
        let topics = server
            .routes
            .topics_after(self.after.as_deref(), &self.wanted);
        for (topic, is_wanted) in topics.take(TOPICS_PER_TURN) {
            if is_wanted {
                if self.out.last() != Some(&b'[') {
                    self.out.push(b',');
                }
                self.out.extend(loose_json::to_vec(topic));
            }
            left -= 1;
            last = Some(topic);
        }
        self.after = last.map(str::to_owned);
        if left == 0 {
            return None;
        }
        self.out.extend_from_slice(b"]}");
        let body = std::mem::take(&mut self.out);
        Some(Reply::ok().with_body(body).bounded())
    }
}
