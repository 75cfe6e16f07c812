//! The page of all settings, written from their rows.

use super::explain::{self, Explained};

/// A Markdown table. The test below compares it with the page.
pub fn markdown() -> String {
    let mut page = String::from(PREFACE);
    for setting in explain::all() {
        let Explained { name, default, .. } = setting;
        let hot = if setting.is_hot { "yes" } else { "" };
        let doc = setting.meaning.replace('|', "\\|");
        let allowed = setting.allowed.replace('|', "\\|");
        page.push_str(&format!(
            "| `{name}` | {default} | {allowed} | {hot} | {doc} |\n"
        ));
    }
    page
}

const PREFACE: &str = "\
# Settings

The properties of `broker.conf`, with RocketMQ's names where it has them. *Hot*: `mqadmin updateBrokerConfig` changes it in the running
broker, in the same range, and the change is kept over a restart (`config/changedSettings.properties`). Other properties of RocketMQ are accepted and
have no effect. This page is written by the program itself (`UPDATE_PAGES=1 cargo test --lib config::`).

| Name | Default | Allowed | Hot | Meaning |
|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_the_rows_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/settings.md");
        if std::env::var_os("UPDATE_PAGES").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == markdown(),
            "settings.md is old: UPDATE_PAGES=1 cargo test --lib config::"
        );
    }
}
