//! What `ringmq store verify` says about the repair of a damaged log, if the store is one of several replicas.

use std::path::Path;

use crate::replication::epochs;
use crate::replication::manager::identity;

/// How a damaged log of this store is repaired from its group; `None`: it is no replica's.
pub fn repair_of(dir: &Path) -> Option<String> {
    let identity = std::fs::read_to_string(dir.join(identity::FILE)).ok();
    repair(identity.as_deref(), dir.join(epochs::FILE).exists())
}

fn repair(text: Option<&str>, has_epochs: bool) -> Option<String> {
    let known = text.and_then(|text| identity::read(text).ok());
    let (group, place) = match known {
        Some((group, id)) => {
            let name = group.broker_name;
            (
                format!("the group {name}, in which this is broker {id},"),
                format!("`mqadmin getSyncStateSet -a CONTROLLER -b {name}` shows which one it is"),
            )
        }
        _ if has_epochs => (
            "its master, or its slave,".to_owned(),
            "start it as the slave of the one that is whole".to_owned(),
        ),
        _ => return None,
    };
    Some(format!(
        "{group} has the same log: started, this broker fetches each message that it cannot read from the master ({place}). \
         If its start is refused, empty the store: it is copied from the master. Do not use --skip-damaged"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_replica_is_repaired_by_its_group() {
        let text = repair(Some("DefaultCluster#broker-a#2\n"), true).unwrap();
        assert!(
            text.starts_with("the group broker-a, in which this is broker 2, has the same log")
        );
        assert!(text.contains("getSyncStateSet -a CONTROLLER -b broker-a"));
        let text = repair(None, true).unwrap();
        assert!(text.starts_with("its master, or its slave, has the same log"));
        assert_eq!(repair(None, false), None);
        assert_eq!(repair(Some("no identity"), false), None);
    }
}
