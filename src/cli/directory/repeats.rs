//! The last change, and the shards at which it was asked for.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use crate::wire::codes::response;
use crate::wire::{Ext, Reply};

#[derive(Default)]
pub struct Repeats {
    hasher: RandomState,
    last: Option<Last>,
}

/// Of the request only a hash is kept: it may have a password.
struct Last {
    hash: u64,
    shards: BTreeSet<usize>,
    reply: Reply,
}

impl Repeats {
    /// The answer to the same change at another shard, each time it is asked at a further one.
    pub fn repeated(
        &mut self,
        shard: usize,
        code: i32,
        ext: &Ext<'_>,
        body: &[u8],
    ) -> Option<Reply> {
        let hash = self.hash(code, ext, body);
        let last = self.last.as_mut().filter(|last| last.hash == hash)?;
        last.shards.insert(shard).then(|| last.reply.clone())
    }

    pub fn carried_out(
        &mut self,
        shard: usize,
        code: i32,
        ext: &Ext<'_>,
        body: &[u8],
        reply: &Reply,
    ) {
        if reply.code != response::SUCCESS {
            return;
        }
        self.last = Some(Last {
            hash: self.hash(code, ext, body),
            shards: BTreeSet::from([shard]),
            reply: reply.clone(),
        });
    }

    fn hash(&self, code: i32, ext: &Ext<'_>, body: &[u8]) -> u64 {
        let fields: BTreeSet<_> = ext.iter().collect();
        self.hasher.hash_one((code, fields, body))
    }
}
