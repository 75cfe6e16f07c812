//! Texts of the kernel in `/proc` and `/sys`.

/// What is behind the name at the begin of a line: `2` of `Seccomp:  2`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.map(str::trim)
}

/// The one in brackets of `always [madvise] never`.
pub fn chosen(choices: &str) -> Option<&str> {
    let (_, rest) = choices.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_names() {
        let status = "Name:\tx\nSeccomp:\t2\n";
        assert_eq!(field(status, "Seccomp:"), Some("2"));
        assert_eq!(field(status, "Cap"), None);
    }

    #[test]
    fn one_of_several_is_in_force() {
        assert_eq!(chosen("none [mq-deadline] bfq"), Some("mq-deadline"));
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("none"), None);
        assert_eq!(chosen(""), None);
    }
}
