//! How far a group has consumed each queue: in memory, and kept at the broker (clustering) or in a file of this client
//! (broadcasting: each member is on its own).
//!
//! Source: `RemoteBrokerOffsetStore`, `LocalFileOffsetStore`. The file is RocketMQ's: `DIR/CLIENT_ID/GROUP/offsets.json`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::assigned::shown;
use crate::client::ClientError;
use crate::client::instance::Instance;
use crate::client::outages::log_failure;
use crate::wire::stats::ResetOffsetBody;
use crate::wire::{MessageQueue, loose_json};

pub struct Offsets {
    group: String,
    /// Of a broadcast consumer.
    file: Option<PathBuf>,
    table: RefCell<BTreeMap<MessageQueue, i64>>,
}

impl Offsets {
    pub fn at_brokers(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            file: None,
            table: RefCell::default(),
        }
    }

    /// What an earlier run left in the file is known at once.
    pub fn in_file(group: &str, dir: &Path, client_id: &str) -> Result<Self, ClientError> {
        let file = dir.join(client_id).join(group).join("offsets.json");
        let table = read(&file).map_err(|error| ClientError::Offsets {
            file: file.clone(),
            error,
        })?;
        Ok(Self {
            group: group.to_owned(),
            file: Some(file),
            table: RefCell::new(table),
        })
    }

    /// Consumed up to here. `forward` is false for a reset only; otherwise an offset never moves back.
    pub fn update(&self, queue: &MessageQueue, offset: i64, forward: bool) {
        let mut table = self.table.borrow_mut();
        let kept = table.entry(queue.clone()).or_insert(offset);
        if !forward || offset > *kept {
            *kept = offset;
        }
    }

    pub fn known(&self, queue: &MessageQueue) -> Option<i64> {
        self.table.borrow().get(queue).copied()
    }

    /// The queue is another member's now. A file keeps its offset.
    pub fn forget(&self, queue: &MessageQueue) {
        if self.file.is_none() {
            self.table.borrow_mut().remove(queue);
        }
    }

    /// What was saved last; `None` if nothing ever was.
    pub async fn saved(
        &self,
        instance: &Instance,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        if self.file.is_some() {
            return Ok(self.known(queue));
        }
        instance.committed(&self.group, queue).await
    }

    pub async fn save(&self, instance: &Instance, queue: &MessageQueue) -> Result<(), ClientError> {
        match (&self.file, self.known(queue)) {
            (Some(_), _) => self.save_file(),
            (None, Some(offset)) => instance.commit(&self.group, queue, offset).await,
            (None, None) => Ok(()),
        }
    }

    /// As many as possible; the others are logged and saved the next time.
    pub async fn save_all(&self, instance: &Instance) {
        if self.file.is_some() {
            if let Err(error) = self.save_file() {
                tracing::warn!("{error}");
            }
            return;
        }
        let queues: Vec<_> = self.table.borrow().keys().cloned().collect();
        for queue in queues {
            if let Err(error) = self.save(instance, &queue).await {
                let queue = shown(&queue);
                log_failure(&error, format_args!("the offset of {queue} is not saved"));
            }
        }
    }

    fn save_file(&self) -> Result<(), ClientError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let body = ResetOffsetBody {
            offset_table: self.table.borrow().clone(),
        };
        write(file, &loose_json::to_vec(&body)).map_err(|error| ClientError::Offsets {
            file: file.clone(),
            error,
        })
    }
}

fn read(file: &Path) -> io::Result<BTreeMap<MessageQueue, i64>> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let body: ResetOffsetBody = loose_json::from_slice(&bytes).map_err(io::Error::other)?;
    Ok(body.offset_table)
}

/// Whole or not at all: renamed into place.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension("json.tmp");
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue {
            broker_name: "b".into(),
            queue_id,
            topic: "T".into(),
        }
    }

    #[test]
    fn a_file_keeps_what_a_broadcast_consumer_has_consumed() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::in_file("g", dir.path(), "10.0.0.1@x").unwrap();
        assert_eq!(offsets.known(&queue(0)), None);
        offsets.update(&queue(0), 7, true);
        offsets.update(&queue(1), 9, true);
        offsets.save_file().unwrap();
        let again = Offsets::in_file("g", dir.path(), "10.0.0.1@x").unwrap();
        assert_eq!(
            (again.known(&queue(0)), again.known(&queue(1))),
            (Some(7), Some(9))
        );
        let file = dir.path().join("10.0.0.1@x/g/offsets.json");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:7,{"brokerName":"b","queueId":1,"topic":"T"}:9}}"#
        );
        fs::write(&file, "{").unwrap();
        assert!(Offsets::in_file("g", dir.path(), "10.0.0.1@x").is_err());
    }

    #[test]
    fn only_a_reset_goes_back() {
        let offsets = Offsets::at_brokers("g");
        offsets.update(&queue(0), 7, true);
        offsets.update(&queue(0), 5, true);
        assert_eq!(offsets.known(&queue(0)), Some(7));
        offsets.update(&queue(0), 5, false);
        assert_eq!(offsets.known(&queue(0)), Some(5));
        offsets.forget(&queue(0));
        assert_eq!(offsets.known(&queue(0)), None);
    }
}
