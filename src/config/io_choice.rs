//! How files and sockets are reached.

use super::rule::Rule;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// By io_uring if this process may use it, otherwise without.
    #[default]
    Auto,
    Uring,
    /// Without io_uring: epoll and threads.
    Portable,
}

/// The names of the choices.
pub struct IoName;

const NAMES: [(&str, IoChoice); 3] = [
    ("auto", IoChoice::Auto),
    ("uring", IoChoice::Uring),
    ("portable", IoChoice::Portable),
];

impl Rule<IoChoice> for IoName {
    fn read(&self, text: &str) -> Result<IoChoice, String> {
        let named = NAMES.into_iter().find(|(name, _)| *name == text);
        let (_, choice) = named.ok_or("auto, uring or portable")?;
        Ok(choice)
    }

    fn show(&self, value: &IoChoice) -> String {
        let named = NAMES.into_iter().find(|(_, choice)| choice == value);
        named.map_or_else(String::new, |(name, _)| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_its_name() {
        for (name, choice) in NAMES {
            assert_eq!(IoName.read(name), Ok(choice));
            assert_eq!(IoName.show(&choice), name);
        }
        assert!(IoName.read("io_uring").unwrap_err().contains("portable"));
    }
}
