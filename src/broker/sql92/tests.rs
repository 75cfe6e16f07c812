//! Protects the meaning of expressions: RocketMQ's own parser has recorded what it makes of some hundreds of them
//! (`tests/golden/sql92.txt`, see `tests/clients/record/Sql92Table.java`), and a simple model says what random ones mean.

use proptest::prelude::*;

use super::effort::Steps;
use super::value::Value;
use super::{Effort, MAX_STEPS, Selector, SqlError};
use crate::message::properties;

const TABLE: &str = include_str!("../../../tests/golden/sql92.txt");

fn encoded<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = String::new();
    for (name, value) in pairs {
        properties::push(&mut out, name, value);
    }
    out.into_bytes()
}

fn unescaped(text: &str) -> String {
    let text = text.replace("\\\\", "\0");
    let text = text
        .replace("\\t", "\t")
        .replace("\\n", "\n")
        .replace("\\r", "\r");
    text.replace('\0', "\\")
}

fn outcome(selector: &Selector, properties: &[u8]) -> char {
    let steps = Steps::new();
    let value = selector
        .expressions
        .value(selector.root, properties, &steps);
    let outcome = match value {
        Ok(Value::Bool(true)) => 'T',
        Ok(Value::Bool(false)) => 'F',
        Ok(Value::Null) => 'N',
        Ok(other) => panic!("{other:?} is no boolean"),
        Err(_) => 'X',
    };
    assert_eq!(matches(selector, properties), outcome == 'T');
    outcome
}

fn matches(selector: &Selector, properties: &[u8]) -> bool {
    selector.matches(properties, &mut Effort::of_a_look())
}

/// Without the names of Java's exceptions.
fn sentence(remark: &str) -> &str {
    match remark.split_once(": ") {
        Some((class, rest)) if class.ends_with("Exception") || class.ends_with("Error") => {
            sentence(rest)
        }
        _ => remark,
    }
}

#[test]
fn rocketmq_agrees() {
    let mut sets = Vec::new();
    let mut wrong = Vec::new();
    let mut expressions = 0;
    for line in TABLE.lines() {
        let mut fields = line.split('\t');
        let first = fields.next().unwrap();
        let rest: Vec<_> = fields.collect();
        if first == "p" {
            let pairs: Vec<_> = rest
                .iter()
                .map(|pair| pair.split_once('=').unwrap())
                .collect();
            sets.push(encoded(pairs));
            continue;
        }
        expressions += 1;
        let text = unescaped(first);
        let got = match Selector::parse(&text) {
            Ok(selector) => sets.iter().map(|set| outcome(&selector, set)).collect(),
            Err(error) => format!("!{}", error.to_string().lines().next().unwrap()),
        };
        let agrees = match (rest[0].strip_prefix('!'), got.strip_prefix('!')) {
            // Ours says where the token begins that cannot be read, RocketMQ's sometimes where it ends.
            (Some(wanted), Some(got)) if wanted.contains("TokenMgrError") => {
                got.starts_with("Lexical error")
            }
            // Ours says of such bounds what RocketMQ says of all others.
            (Some(wanted), Some(got)) if wanted.contains("ClassCastException") => {
                got.starts_with("Illegal values")
            }
            (Some(wanted), Some(got)) => unescaped(sentence(wanted)) == got,
            _ => rest[0] == got,
        };
        if !agrees {
            wrong.push(format!("{first}\n  wanted {}\n  got    {got}", rest[0]));
        }
    }
    assert!(sets.len() > 30 && expressions > 400);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Selector::parse(&nested(100)).is_ok());
    let hostile = [
        nested(60_000),
        "(".repeat(100_000),
        format!("a = {}1", "-".repeat(100_001)),
        format!("a = {}1", "+".repeat(100_001)),
        format!("{}a", "NOT ".repeat(25_000)),
        format!("a{}", " IS NULL".repeat(12_500)),
        format!("a{}", " CONTAINS 'x'".repeat(10_000)),
        format!("a{}", " = b".repeat(25_000)),
    ];
    for text in hostile {
        let error = Selector::parse(&text).unwrap_err();
        assert!(matches!(error, SqlError::TooDeep { .. }), "{error}");
    }
}

#[test]
fn cost_is_bounded() {
    // Each level is evaluated twice by the next.
    let doubling = (0..40).fold("a".to_owned(), |inner, _| {
        format!("-({inner} BETWEEN 1 AND 2)")
    });
    let long = vec!["a = 'x'"; 10_000].join(" OR ");
    for text in [doubling + " > 1", long] {
        let error = Selector::parse(&text).unwrap_err();
        assert!(matches!(error, SqlError::TooCostly { .. }), "{error}");
    }
    let wide = vec!["a = 'x'"; 4_000].join(" OR ") + " OR a = 'y'";
    assert!(matches(
        &Selector::parse(&wide).unwrap(),
        &encoded([("a", "y")])
    ));
    let listed = format!(
        "a IN ('{}')",
        (0..15_000)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("','")
    );
    let selector = Selector::parse(&listed).unwrap();
    assert!(selector.cost() < 5 && matches(&selector, &encoded([("a", "14999")])));
}

#[test]
fn an_expression_has_a_length() {
    let text = format!("a = '{}'", "x".repeat(128 << 10));
    let error = Selector::parse(&text).unwrap_err();
    assert_eq!(error, SqlError::TooLong { limit: 128 << 10 });
}

/// The steps of an evaluation, and whether it came to an end.
fn steps(text: &str, properties: &[u8]) -> (usize, bool) {
    let (selector, steps) = (Selector::parse(text).unwrap(), Steps::new());
    let value = selector
        .expressions
        .value(selector.root, properties, &steps);
    (steps.taken(), value.is_ok())
}

#[test]
fn texts_are_part_of_the_cost() {
    let long = "x".repeat(32_000);
    let properties = encoded([("a", &*long), ("b", &*long)]);
    for part in [
        "a CONTAINS 'xy'",
        "a = b",
        "a IN ('x', 'y', 'z')",
        "a > 1.5",
    ] {
        let (taken, _) = steps(part, &properties);
        assert!(taken > 32_000 / 64, "{part}: {taken}");
        let many = vec![part; 2_000].join(" OR ");
        let (taken, _) = steps(&many, &properties);
        assert!(taken <= MAX_STEPS, "{part}: {taken}");
    }
    let never = vec!["a CONTAINS 'y'"; 4_000].join(" OR ");
    assert_eq!(steps(&never, &properties), (MAX_STEPS, false));
}

#[test]
fn properties_are_read_once_however_often_they_are_named() {
    let properties = encoded([("padding", &*"x".repeat(30_000)), ("a", "1")]);
    let text = vec!["a = '0'"; 1_000].join(" OR ") + " OR a = '1'";
    let (taken, is_whole) = steps(&text, &properties);
    assert!(is_whole && taken < 30_000 / 64 + 3_100, "{taken}");
    assert!(matches(&Selector::parse(&text).unwrap(), &properties));
}

#[test]
fn a_look_ends_when_its_messages_have_cost_enough() {
    let selector = Selector::parse("a CONTAINS 'y'").unwrap();
    let properties = encoded([("a", &*"x".repeat(32_000))]);
    let mut effort = Effort::of_a_look();
    let mut messages = 0;
    while effort.is_left() {
        assert!(!selector.matches(&properties, &mut effort));
        messages += 1;
    }
    assert!((3..6).contains(&messages), "{messages}");
}

#[test]
fn properties_that_are_no_text_are_not_there() {
    let selector = Selector::parse("a IS NULL AND b = '1'").unwrap();
    assert!(matches(&selector, b"a\x01\xff\xfe\x02b\x011\x02"));
    assert!(!matches(&selector, b"\x01\x02\x02"));
}

/// An expression over integers, with what it means.
#[derive(Clone, Debug)]
enum Model {
    Compare(usize, &'static str, i32),
    Between(usize, i32, i32, bool),
    In(usize, Vec<i32>, bool),
    IsNull(usize, bool),
    Not(Box<Model>),
    And(Box<Model>, Box<Model>),
    Or(Box<Model>, Box<Model>),
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Model {
    fn text(&self) -> String {
        let not = |not: &bool| if *not { "NOT " } else { "" };
        match self {
            Self::Compare(name, sign, number) => format!("{} {sign} {number}", NAMES[*name]),
            Self::Between(name, low, high, negated) => {
                format!("{} {}BETWEEN {low} AND {high}", NAMES[*name], not(negated))
            }
            Self::In(name, numbers, negated) => {
                let numbers: Vec<_> = numbers.iter().map(|number| format!("'{number}'")).collect();
                format!(
                    "{} {}IN ({})",
                    NAMES[*name],
                    not(negated),
                    numbers.join(",")
                )
            }
            Self::IsNull(name, negated) => format!("{} IS {}NULL", NAMES[*name], not(negated)),
            Self::Not(part) => format!("NOT ({})", part.text()),
            Self::And(left, right) => format!("({}) AND ({})", left.text(), right.text()),
            Self::Or(left, right) => format!("({}) OR ({})", left.text(), right.text()),
        }
    }

    /// In SQL's logic of three values.
    fn value(&self, values: &[Option<i32>; 3]) -> Option<bool> {
        match self {
            Self::Compare(name, sign, number) => {
                let value = values[*name]?;
                Some(match *sign {
                    "=" => value == *number,
                    "<>" => value != *number,
                    ">" => value > *number,
                    ">=" => value >= *number,
                    "<" => value < *number,
                    _ => value <= *number,
                })
            }
            Self::Between(name, low, high, negated) => {
                values[*name].map(|value| (*low <= value && value <= *high) != *negated)
            }
            Self::In(name, numbers, negated) => {
                values[*name].map(|value| numbers.contains(&value) != *negated)
            }
            Self::IsNull(name, negated) => Some(values[*name].is_none() != *negated),
            Self::Not(part) => part.value(values).map(|value| !value),
            Self::And(left, right) => match (left.value(values), right.value(values)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.value(values), right.value(values)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

fn model() -> impl Strategy<Value = Model> {
    let signs = prop::sample::select(vec!["=", "<>", ">", ">=", "<", "<="]);
    let number = -3..4;
    let leaf = prop_oneof![
        (0..3usize, signs, number.clone()).prop_map(|(n, s, v)| Model::Compare(n, s, v)),
        (0..3usize, number.clone(), 0..3, any::<bool>())
            .prop_map(|(n, low, more, not)| Model::Between(n, low, low + more, not)),
        (
            0..3usize,
            prop::collection::vec(number, 1..7),
            any::<bool>()
        )
            .prop_map(|(n, list, not)| Model::In(n, list, not)),
        (0..3usize, any::<bool>()).prop_map(|(n, not)| Model::IsNull(n, not)),
    ];
    leaf.prop_recursive(5, 40, 2, |part| {
        let pair = (
            part.clone().prop_map(Box::new),
            part.clone().prop_map(Box::new),
        );
        prop_oneof![
            part.prop_map(|part| Model::Not(Box::new(part))),
            pair.clone()
                .prop_map(|(left, right)| Model::And(left, right)),
            pair.prop_map(|(left, right)| Model::Or(left, right)),
        ]
    })
}

/// Words of the language, and what comes near it.
fn soup() -> impl Strategy<Value = String> {
    let words: Vec<&'static str> = "a b ( ) , = <> > >= < <= + - -- /* */ ' '' 'x' '' . 1 0 1.5 1e 1e9 99999999999999999999 1l \n NOT AND OR \
        BETWEEN IN IS NULL TRUE FALSE CONTAINS STARTSWITH ENDSWITH $ _x é 中 \u{0} \u{1} #"
        .split(' ')
        .collect();
    prop::collection::vec(
        (
            prop::sample::select(words),
            prop::sample::select(vec!["", " "]),
        ),
        0..25,
    )
    .prop_map(|words| {
        words
            .into_iter()
            .flat_map(|(word, gap)| [word, gap])
            .collect()
    })
}

proptest! {
    #[test]
    fn evaluation_equals_the_model(model in model(), values in prop::array::uniform3(prop::option::of(-4..5))) {
        let texts = values.map(|value: Option<i32>| value.map(|value| value.to_string()));
        let pairs = NAMES.into_iter().zip(&texts);
        let properties = encoded(pairs.filter_map(|(name, text)| Some((name, text.as_deref()?))));
        let selector = Selector::parse(&model.text()).unwrap();
        let wanted = match model.value(&values) {
            Some(true) => 'T',
            Some(false) => 'F',
            None => 'N',
        };
        prop_assert_eq!(outcome(&selector, &properties), wanted, "{}", model.text());
    }

    #[test]
    fn nonsense_is_harmless(text in prop_oneof![soup(), any::<String>()], properties in prop::collection::vec(any::<u8>(), 0..60)) {
        match Selector::parse(&text) {
            Ok(selector) => { matches(&selector, &properties); }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
