//! A broker's number on its disk, and the note of what its log has lost.

use std::path::{Path, PathBuf};

use crate::io::Io;
use crate::reactor::ServeError;
use crate::replication::manager::identity::{self, Claim, GroupName};
use crate::replication::members::MemberId;
use crate::store::{Medium, StoreError, TextFiles, if_there};

/// Up to where the log has been acknowledged, if it ends before that.
const LOSS_FILE: &str = "ringmqLogLoss";

/// Nothing of the log was ever confirmed.
const UNCONFIRMED_FILE: &str = "ringmqUnconfirmed";

pub(super) struct Files<I: Io> {
    medium: Medium<I>,
    dir: PathBuf,
    texts: TextFiles<I>,
    group: GroupName,
}

/// What was found there.
pub(super) struct Found {
    pub id: Option<MemberId>,
    pub claim: Option<Claim>,
    /// The log has to come so far.
    pub lost_up_to: Option<u64>,
    /// Nothing of the log was ever confirmed.
    pub is_unconfirmed: bool,
}

impl<I: Io> Files<I> {
    pub async fn open(
        medium: &Medium<I>,
        dir: &Path,
        group: GroupName,
    ) -> Result<(Self, Found), ServeError> {
        let texts = TextFiles::open(medium.clone(), dir).await?;
        let wrong = |file: &'static str| {
            let path = dir.join(file);
            move |source| ServeError::Identity { path, source }
        };
        let text = texts.load(identity::FILE).await?;
        let id = text.map(|text| group.read_identity(&text)).transpose();
        let text = texts.load(identity::CLAIM_FILE).await?;
        let claim = text.map(|text| group.read_claim(&text)).transpose();
        let text = texts.load(LOSS_FILE).await?;
        let found = Found {
            id: id.map_err(wrong(identity::FILE))?,
            claim: claim.map_err(wrong(identity::CLAIM_FILE))?,
            lost_up_to: text.and_then(|text| text.trim().parse().ok()),
            is_unconfirmed: texts.load(UNCONFIRMED_FILE).await?.is_some(),
        };
        let files = Self {
            medium: medium.clone(),
            dir: dir.to_owned(),
            texts,
            group,
        };
        Ok((files, found))
    }

    pub async fn save_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let text = self.group.claim_text(claim);
        self.texts.save(identity::CLAIM_FILE, text).await
    }

    pub async fn save_identity(&self, id: MemberId) -> Result<(), StoreError> {
        let text = self.group.identity_text(id);
        self.texts.save(identity::FILE, text).await?;
        // It counts no longer, whether it is there or not.
        let _ = self.remove(identity::CLAIM_FILE).await;
        Ok(())
    }

    pub async fn save_loss(&self, lost_up_to: u64) -> Result<(), StoreError> {
        self.texts.save(LOSS_FILE, lost_up_to.to_string()).await
    }

    /// The log has what it had lost.
    pub async fn forget_loss(&self) {
        // Found again, it has no effect on a log that is longer.
        let _ = self.remove(LOSS_FILE).await;
    }

    pub async fn note_unconfirmed(&self) -> Result<(), StoreError> {
        self.texts.save(UNCONFIRMED_FILE, "true".to_owned()).await
    }

    pub async fn forget_unconfirmed(&self) -> Result<(), StoreError> {
        self.remove(UNCONFIRMED_FILE).await
    }

    async fn remove(&self, file: &str) -> Result<(), StoreError> {
        for name in [format!("{file}.bak"), file.to_owned()] {
            if_there(self.medium.remove_file(&self.dir.join(name)).await)?;
        }
        self.medium.sync_dir(&self.dir).await
    }
}
