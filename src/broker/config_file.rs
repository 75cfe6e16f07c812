//! The files of `config/`.

/// A file of `config/`. Offsets are saved on a timer, see [`super::Broker::take_changed_offsets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    Topics,
    SubscriptionGroups,
    ConsumerOffsets,
    DelayOffsets,
    RequestModes,
    PopOrders,
    Settings,
}

impl ConfigFile {
    pub const ALL: [Self; 7] = [
        Self::Settings,
        Self::Topics,
        Self::SubscriptionGroups,
        Self::ConsumerOffsets,
        Self::DelayOffsets,
        Self::RequestModes,
        Self::PopOrders,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics.json",
            Self::SubscriptionGroups => "subscriptionGroup.json",
            Self::ConsumerOffsets => "consumerOffset.json",
            Self::DelayOffsets => "delayOffset.json",
            Self::RequestModes => "messageRequestMode.json",
            Self::PopOrders => "consumerOrderInfo.json",
            Self::Settings => "changedSettings.properties",
        }
    }
}

/// Some of the files of `config/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    bits: u32,
}

impl ConfigFiles {
    /// Returns whether the file is new in the set.
    pub fn add(&mut self, file: ConfigFile) -> bool {
        let before = self.bits;
        self.bits |= 1 << file as u32;
        self.bits != before
    }

    pub fn add_all(&mut self, other: Self) {
        self.bits |= other.bits;
    }

    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    pub fn iter(self) -> impl Iterator<Item = ConfigFile> {
        let files = ConfigFile::ALL.into_iter();
        files.filter(move |file| self.bits & 1 << *file as u32 != 0)
    }
}

impl From<ConfigFile> for ConfigFiles {
    fn from(file: ConfigFile) -> Self {
        let mut files = Self::default();
        files.add(file);
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_each_file_once() {
        let mut files = ConfigFiles::default();
        assert!(files.is_empty());
        assert!(files.add(ConfigFile::Topics) && !files.add(ConfigFile::Topics));
        let mut both = ConfigFiles::from(ConfigFile::Settings);
        both.add_all(files);
        let both: Vec<_> = both.iter().collect();
        assert_eq!(both, [ConfigFile::Settings, ConfigFile::Topics]);
    }
}
