//! What an image for containers has instead of a shell: compose files and charts for RocketMQ write `sh mqbroker -c FILE` and
//! `/bin/sh -c "./mqbroker -c FILE"`, and one command is all that they ask of it.

use std::ffi::OsString;

/// Characters by which a shell, outside of quotes, joins commands, redirects them or makes their words.
const BEYOND: &[char] = &[
    ';', '&', '|', '<', '>', '(', ')', '`', '*', '?', '[', '{', '\n',
];

/// The same, where a word begins.
const BEYOND_AT_FIRST: &[char] = &['#', '~'];

/// Behind a `$`: commands, and what a shell knows of itself.
const BEYOND_VARIABLES: &[char] = &['(', '@', '*', '#', '?', '-', '$', '!'];

/// The command that `sh` would run with these words; `variable` gives a variable of the environment.
///
/// # Errors
/// A sentence, if that takes more of a shell than one command with quotes and variables.
pub fn command(
    words: &[OsString],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<OsString>, String> {
    match words.first() {
        Some(first) if first == "-c" => {}
        Some(first) if !first.as_encoded_bytes().starts_with(b"-") => return Ok(words.to_vec()),
        _ => {
            return Err(
                "sh: there is no shell here, only `sh FILE ...` and `sh -c COMMAND`".into(),
            );
        }
    }
    let text = words.get(1).and_then(|text| text.to_str());
    let text = text.ok_or("sh: -c needs a command")?;
    let split = split(text.trim(), variable).map_err(|why| format!("sh: {text}: {why}"))?;
    let is_exec = split.first().is_some_and(|word| word == "exec");
    let command = split.into_iter().skip(usize::from(is_exec));
    Ok(command.map(OsString::from).collect())
}

fn beyond(found: char) -> String {
    format!("there is no shell here, only one command without {found:?}")
}

const NO_END: &str = "a quote has no end";

/// Words as in POSIX's shell: quotes and backslashes are removed, variables have their values, and those without quotes are split.
fn split(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let mut words = Words::default();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' => words.end(),
            '\'' => {
                let (inside, after) = rest.as_str().split_once('\'').ok_or(NO_END)?;
                words.add(inside);
                rest = after.chars();
            }
            '"' => rest = quoted(rest.as_str(), &variable, &mut words)?.chars(),
            '\\' => match rest.next() {
                Some('\n') => {}
                escaped => words.add(escaped.unwrap_or(c).encode_utf8(&mut [0; 4])),
            },
            '$' => {
                let (value, after) = value(rest.as_str(), &variable)?;
                words.add_split(&value);
                rest = after.chars();
            }
            _ if BEYOND.contains(&c) => return Err(beyond(c)),
            _ if words.is_between() && BEYOND_AT_FIRST.contains(&c) => return Err(beyond(c)),
            _ => words.add(c.encode_utf8(&mut [0; 4])),
        }
    }
    words.end();
    Ok(words.done)
}

/// What is behind a double quote, up to its end. The text behind it.
fn quoted<'a>(
    text: &'a str,
    variable: impl Fn(&str) -> Option<String>,
    words: &mut Words,
) -> Result<&'a str, String> {
    let mut rest = text.chars();
    words.add("");
    while let Some(c) = rest.next() {
        match c {
            '"' => return Ok(rest.as_str()),
            '`' => return Err(beyond(c)),
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(escaped @ ('$' | '`' | '"' | '\\')) => {
                    words.add(escaped.encode_utf8(&mut [0; 4]));
                }
                other => words.add(&['\\'].into_iter().chain(other).collect::<String>()),
            },
            '$' => {
                let (value, after) = value(rest.as_str(), &variable)?;
                words.add(&value);
                rest = after.chars();
            }
            _ => words.add(c.encode_utf8(&mut [0; 4])),
        }
    }
    Err(NO_END.into())
}

/// The value of what is behind a `$`, and the text behind that: `NAME`, `{NAME}` or `{NAME:-DEFAULT}`.
fn value(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<(String, &str), String> {
    if let Some(inside) = text.strip_prefix('{') {
        let (inside, after) = inside.split_once('}').ok_or("${ has no }")?;
        let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
        let is_plain = !default.contains(['\'', '"', '\\', '$', '`']);
        if !is_plain || name.is_empty() || name_length(name) != name.len() {
            return Err(format!(
                "there is no shell here, only ${{NAME}} and ${{NAME:-DEFAULT}}, not ${{{inside}}}"
            ));
        }
        let value = variable(name).filter(|value| !value.is_empty());
        return Ok((value.unwrap_or_else(|| default.to_owned()), after));
    }
    match text.chars().next() {
        Some(c) if BEYOND_VARIABLES.contains(&c) || c.is_ascii_digit() => Err(beyond('$')),
        _ => match text.split_at(name_length(text)) {
            // It is no more than a character.
            ("", after) => Ok(("$".to_owned(), after)),
            (name, after) => Ok((variable(name).unwrap_or_default(), after)),
        },
    }
}

/// Of the name that the text begins with.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: Option<String>,
}

impl Words {
    fn is_between(&self) -> bool {
        self.word.is_none()
    }

    /// To the word; quotes around nothing are a word, too.
    fn add(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn add_split(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                ' ' | '\t' | '\n' => self.end(),
                _ => self.add(c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    fn end(&mut self) {
        self.done.extend(self.word.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let variable = |name: &str| {
            let value = match name {
                "NAMES" => "a:1;b:1",
                "FLAGS" => " -p  -h ",
                "EMPTY" => "",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let command = command(&words, variable)?;
        let texts = command.into_iter().map(|word| word.into_string().unwrap());
        Ok(texts.collect())
    }

    /// The words of `sh -c`, with a `|` between them.
    fn split(text: &str) -> String {
        let words = of(&["-c", text]);
        words.map_or_else(|why| why, |words| words.join("|"))
    }

    #[test]
    fn a_file_and_a_command_are_run() {
        let expected = Ok(vec!["./mqbroker".into(), "-c".into(), "/conf/a b".into()]);
        assert_eq!(of(&["./mqbroker", "-c", "/conf/a b"]), expected);
        assert_eq!(of(&["-c", "./mqbroker -c '/conf/a b'"]), expected);
        assert_eq!(of(&["-c", "exec ./mqbroker -c /conf/a\\ b"]), expected);
        assert_eq!(of(&["-c", "./mqbroker \\\n  -c \"/conf/a b\"\n"]), expected);
    }

    #[test]
    fn quotes_keep_what_a_shell_would_take_for_itself() {
        assert_eq!(split("mqbroker -n 'a:1;b:1'"), "mqbroker|-n|a:1;b:1");
        assert_eq!(split("m -n \"a:1;b:1\" a\\;b"), "m|-n|a:1;b:1|a;b");
        assert_eq!(split("a'b c'\"d e\"f ''"), "ab cd ef|");
        assert_eq!(split(r#""a\"b\$c\d" '\'"#), r#"a"b$c\d|\"#);
        assert_eq!(split("a#b a~ a="), "a#b|a~|a=");
    }

    #[test]
    fn variables_have_their_values_outside_of_single_quotes() {
        assert_eq!(split("m -n $NAMES"), "m|-n|a:1;b:1");
        assert_eq!(split("m ${NAMES}x \"$NONE\" $NONE $EMPTY"), "m|a:1;b:1x|");
        assert_eq!(split("m '$NAMES' \\$NAMES"), "m|$NAMES|$NAMES");
        assert_eq!(split("m $ a$ $."), "m|$|a$|$.");
        assert_eq!(split("m ${NONE:-x} ${EMPTY:-y z}"), "m|x|y|z");
    }

    #[test]
    fn a_value_is_split_outside_of_quotes() {
        assert_eq!(split("m $FLAGS"), "m|-p|-h");
        assert_eq!(split("m a${FLAGS}b"), "m|a|-p|-h|b");
        assert_eq!(split("m \"$FLAGS\""), "m| -p  -h ");
    }

    #[test]
    fn more_than_a_command_is_refused() {
        for text in [
            "a && b", "a > b", "$(a)", "\"$(a)\"", "\"`a`\"", "a; b", "a\nb", "a 'b", "a \"b",
            "a *", "a $1", "a $@", "a ${b", "a ${b%c}", "a ${}", "a ${1}", "a #b", "~/a",
            "a {b,c}",
        ] {
            assert!(of(&["-c", text]).is_err(), "{text}");
        }
        assert!(of(&["-c"]).is_err() && of(&[]).is_err() && of(&["-x"]).is_err());
    }
}
