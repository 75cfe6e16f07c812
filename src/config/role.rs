//! What a broker is among its replicas, and how the settings of that have to fit together.

use super::defaults::Config;
use super::rule::BrokerRole;

impl Config {
    /// Role, number and wishes have to fit: the property that does not, its value, and what is allowed.
    pub(super) fn check_role(&self) -> Result<(), (&'static str, String, String)> {
        let id = self.broker_id;
        if self.controller_mode {
            return self.check_controller();
        }
        if id < 0 {
            let allowed = "-1 only with enableControllerMode=true".into();
            return Err(("brokerId", id.to_string(), allowed));
        }
        match self.broker_role {
            Some(BrokerRole::Slave) if id == 0 => {
                let allowed = "1 to 15 for a slave".into();
                Err(("brokerId", id.to_string(), allowed))
            }
            None | Some(BrokerRole::AsyncMaster | BrokerRole::SyncMaster) if id != 0 => {
                let allowed = "0 for a master; a slave has brokerRole=SLAVE".into();
                Err(("brokerId", id.to_string(), allowed))
            }
            _ => Ok(()),
        }
    }

    fn check_controller(&self) -> Result<(), (&'static str, String, String)> {
        if self.controllers.is_empty() {
            let allowed = "HOST:PORT of the controllers, with enableControllerMode=true";
            return Err(("controllerAddr", String::new(), allowed.into()));
        }
        if 2 * self.broker_heartbeat_ms > self.controller_timeout_ms {
            let allowed = "at least twice brokerHeartbeatInterval".into();
            let value = self.controller_timeout_ms.to_string();
            return Err(("controllerHeartBeatTimeoutMills", value, allowed));
        }
        Ok(())
    }

    /// A setting that asks for copies which nothing provides.
    pub(super) fn vain_wish(&self) -> Option<(&'static str, String, &'static str)> {
        let least = self.min_in_sync_replicas;
        match self.controller_mode {
            true => None,
            false if self.all_ack_in_set == Some(true) => {
                let allowed = "false without enableControllerMode=true";
                Some(("allAckInSyncStateSet", "true".into(), allowed))
            }
            false if least > 1 => {
                let allowed = "1 without enableControllerMode=true";
                Some(("minInSyncReplicas", least.to_string(), allowed))
            }
            false => None,
        }
    }
}
