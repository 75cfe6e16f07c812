//! What one request decides, in one turn or in several.

use std::rc::Rc;

use crate::broker::{Broker, ConfigFiles, Refusal};
use crate::io::Io;
use crate::reactor::core::Core;
use crate::reactor::effects;
use crate::wire::Reply;
use crate::wire::codes::response;

/// The decisions of one request, and the files of `config/` that they have changed. The answer waits for these files: a topic or
/// group that was made must exist after a power cut, and one that was deleted must not.
pub(super) struct Decisions<I: Io> {
    core: Rc<Core<I>>,
    changed: ConfigFiles,
    /// If this request has deleted topics: how many deletions there were then. Others' deletions are not awaited.
    deletions: Option<u64>,
}

impl<I: Io> Decisions<I> {
    pub fn new(core: Rc<Core<I>>) -> Self {
        Self {
            core,
            changed: ConfigFiles::default(),
            deletions: None,
        }
    }

    /// Decides, and carries out the effects in the same turn: in a later turn another task may already have taken them.
    pub fn decide<T>(&mut self, decision: impl FnOnce(&mut Broker) -> T) -> T {
        let before = self.core.store.deletions();
        let decided = decision(&mut self.core.broker.borrow_mut());
        self.changed.add_all(effects::carry_out(&self.core));
        let deletions = self.core.store.deletions();
        if deletions > before {
            self.deletions = Some(deletions);
        }
        decided
    }

    /// Whether the answer need not wait for a file.
    pub fn changed_nothing(&self) -> bool {
        self.changed.is_empty()
    }

    /// Returns the answer once the changed files are durable.
    pub async fn once_saved(self, reply: Reply) -> Reply {
        if self.changed_nothing() {
            return reply;
        }
        if let Err(reason) = self.core.saves.done(self.changed).await {
            let remark = format!("done, but a restart will take it back: {reason}");
            return Refusal::new(response::SYSTEM_ERROR, remark).into();
        }
        if let Some(deletions) = self.deletions {
            self.core.store.deleted_up_to(deletions).await;
        }
        reply
    }
}
