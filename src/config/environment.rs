//! What the environment says of a broker's configuration, unless broker.conf or a flag does.

use super::rule::{Addresses, Rule};
use super::surroundings::{CORE_COUNT, NAMESRV, Surroundings, some_cores};
use super::{Config, ConfigError, Place};

impl Config {
    /// `NAMESRV_ADDR`, as RocketMQ's broker reads it, `RINGMQ_CORES`, and of the options of a JVM those of TLS.
    pub(super) fn follow_environment(
        &mut self,
        surroundings: &Surroundings,
    ) -> Result<(), ConfigError> {
        let refused = |property, value: &str, allowed| ConfigError::Value {
            place: Place::Environment,
            property,
            value: value.to_owned(),
            allowed,
        };
        if let Some(text) = &surroundings.namesrv {
            self.namesrv = Addresses
                .read(text)
                .map_err(|allowed| refused(NAMESRV, text, allowed))?;
        }
        if let Some(text) = &surroundings.core_count {
            let count = text.parse().ok().filter(|count| *count > 0);
            let allowed = || "a number of cores, 1 or more".to_owned();
            let count = count.ok_or_else(|| refused(CORE_COUNT, text, allowed()))?;
            let Surroundings {
                cores, host_name, ..
            } = surroundings;
            self.cores = some_cores(cores, count, host_name);
        }
        self.follow_java_options(&surroundings.java_options)?;
        Ok(())
    }
}
