//! Request codes that are not checked: `authenticationWhitelist` and `authorizationWhitelist`.

use std::collections::BTreeSet;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeSet(BTreeSet<i32>);

impl CodeSet {
    /// Decimal codes between commas. `None` if it is anything else: RocketMQ's names of gRPC messages do not exist here.
    pub fn parse(text: &str) -> Option<Self> {
        let words = text.split(',').map(str::trim);
        let words = words.filter(|word| !word.is_empty());
        let codes: Result<_, _> = words.map(str::parse).collect();
        codes.ok().map(Self)
    }

    pub fn contains(&self, code: i32) -> bool {
        self.0.contains(&code)
    }

    pub fn show(&self) -> String {
        let codes: Vec<_> = self.0.iter().map(i32::to_string).collect();
        codes.join(",")
    }
}
