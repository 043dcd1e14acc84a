//! How two answers differ: by members' paths, with list positions written as `*`.

use std::collections::BTreeSet;

use serde_json::Value;

/// A place where an answer is not the vector's.
pub type Difference = String;

/// What is done where two answers have no members in common to go into.
type Leaf<'a> = &'a dyn Fn(&str, &Value, &Value, &mut Vec<Difference>);

fn push(path: &str, expected: &Value, found: &Value, into: &mut Vec<Difference>) {
    into.push(format!("{path}: expected {expected}, found {found}"));
}

/// Every difference in value.
pub fn values(path: &str, expected: &Value, found: &Value, into: &mut Vec<Difference>) {
    each(
        path,
        expected,
        found,
        into,
        &|path, expected, found, into| {
            if expected != found {
                push(path, expected, found, into);
            }
        },
    );
}

/// Every difference in shape: members, JSON types, and how text is written.
pub fn shapes(path: &str, expected: &Value, found: &Value, into: &mut Vec<Difference>) {
    match (expected, found) {
        (Value::Array(wanted), Value::Array(given)) if wanted.len() == given.len() => {
            for (wanted, given) in wanted.iter().zip(given) {
                shapes(&format!("{path}.*"), wanted, given, into);
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            // A list of any length, each like the first.
            if let Some(first) = expected.first() {
                for item in found {
                    shapes(&format!("{path}.*"), first, item, into);
                }
            }
        }
        (Value::Object(wanted), Value::Object(given)) if is_map(wanted) => {
            // By account or number: of any size, each like the first.
            for (item, first) in given.values().zip(wanted.values().cycle()) {
                shapes(&format!("{path}.*"), first, item, into);
            }
        }
        (Value::Object(wanted), Value::Object(given)) => {
            let nothing = Value::from("nothing");
            let names: BTreeSet<_> = wanted.keys().chain(given.keys()).collect();
            for name in names {
                let inner = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                match (wanted.get(name), given.get(name)) {
                    (Some(wanted), Some(given)) => shapes(&inner, wanted, given, into),
                    (wanted, given) => push(
                        &inner,
                        wanted.unwrap_or(&nothing),
                        given.unwrap_or(&nothing),
                        into,
                    ),
                }
            }
        }
        (Value::String(expected_text), Value::String(found_text)) => {
            if writing(expected_text) != writing(found_text) {
                push(path, expected, found, into);
            }
        }
        _ => {
            if std::mem::discriminant(expected) != std::mem::discriminant(found) {
                push(path, expected, found, into);
            }
        }
    }
}

/// True of an object whose names are accounts or numbers.
fn is_map(object: &serde_json::Map<String, Value>) -> bool {
    let is_key = |name: &String| {
        name.starts_with("0x") || (!name.is_empty() && name.bytes().all(|c| c.is_ascii_digit()))
    };
    !object.is_empty() && object.keys().all(is_key)
}

fn each(path: &str, expected: &Value, found: &Value, into: &mut Vec<Difference>, leaf: Leaf<'_>) {
    let inner = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match (expected, found) {
        (Value::Object(wanted), Value::Object(given)) => {
            for (name, value) in wanted {
                match given.get(name) {
                    Some(found) => each(&inner(name), value, found, into, leaf),
                    None => push(&inner(name), value, &Value::from("nothing"), into),
                }
            }
            for (name, value) in given.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                push(&inner(name), &Value::from("nothing"), value, into);
            }
        }
        (Value::Array(wanted), Value::Array(given)) if wanted.len() == given.len() => {
            for (wanted, given) in wanted.iter().zip(given) {
                each(&inner("*"), wanted, given, into, leaf);
            }
        }
        _ => leaf(path, expected, found, into),
    }
}

/// How a text is written: a quantity, whole bytes (and how many if they have a fixed size), or words.
fn writing(text: &str) -> (&'static str, usize) {
    let Some(digits) = text.strip_prefix("0x") else {
        return ("words", 0);
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return ("words", 0);
    }
    match digits.len() {
        40 | 64 | 512 => ("bytes", digits.len()),
        _ if digits == "0" || !digits.starts_with('0') => ("quantity", 0),
        _ => ("bytes", 0),
    }
}

/// The paths of differences, each once, in order.
pub fn paths(differences: &[Difference]) -> Vec<String> {
    let mut paths: Vec<_> = differences
        .iter()
        .map(|text| text.split(": ").next().unwrap_or_default().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}
