//! Whether a reply has the shape that the specification gives its method: `shapes.txt`, read and checked.

#![allow(dead_code, reason = "each test uses its own part")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Members of an object, each with "may be absent".
type Members = BTreeMap<String, (bool, Shape)>;

#[derive(Debug, Clone)]
enum Shape {
    /// One of the words at the head of the file.
    Word(String),
    Literal(String),
    List(Box<Shape>),
    /// Members, and what those of any other name are.
    Object(Members, Option<Box<Shape>>),
    Any(Vec<Shape>),
    /// Members of other objects, until all names are known.
    Spread(Vec<String>, Box<Shape>),
}

/// See the module's head.
pub struct Shapes {
    names: BTreeMap<String, Shape>,
    methods: BTreeMap<String, Shape>,
    /// Methods that gave a result.
    seen: RefCell<BTreeSet<String>>,
}

struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
}

fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""))
    {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '{' | '}' | '[' | ']' | '|' | ',' | ':' | '?' | '=' | '*' => 1,
                '-' => 2,
                '.' => 3,
                '"' => 2 + rest[1..].find('"').expect("a closed literal"),
                _ => rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len()),
            };
            let (word, after) = rest.split_at(length);
            words.push(word);
            rest = after.trim_start();
        }
    }
    words
}

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.words.get(self.at).copied().unwrap_or("")
    }

    fn next(&mut self) -> &'a str {
        self.at += 1;
        self.words[self.at - 1]
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        self.at += usize::from(found);
        found
    }

    fn shape(&mut self) -> Shape {
        let mut all = vec![self.one()];
        while self.takes("|") {
            all.push(self.one());
        }
        if all.len() == 1 {
            all.remove(0)
        } else {
            Shape::Any(all)
        }
    }

    fn one(&mut self) -> Shape {
        match self.next() {
            "[" => {
                let inner = self.shape();
                assert!(self.takes("]"), "an open list");
                Shape::List(Box::new(inner))
            }
            "{" => self.object(),
            literal if literal.starts_with('"') => Shape::Literal(literal.trim_matches('"').into()),
            word => Shape::Word(word.into()),
        }
    }

    fn object(&mut self) -> Shape {
        let (mut members, mut others, mut spread) = (BTreeMap::new(), None, Vec::new());
        while !self.takes("}") {
            match self.next() {
                "..." => spread.push(self.next().to_owned()),
                "*" => {
                    assert!(self.takes(":"));
                    others = Some(Box::new(self.shape()));
                }
                name => {
                    let optional = self.takes("?");
                    assert!(self.takes(":"), "a colon after {name}");
                    members.insert(name.to_owned(), (optional, self.shape()));
                }
            }
            let _ = self.takes(",");
        }
        let object = Shape::Object(members, others);
        if spread.is_empty() {
            object
        } else {
            Shape::Spread(spread, Box::new(object))
        }
    }
}

impl Shapes {
    pub fn new() -> Self {
        let mut reader = Reader {
            words: words(include_str!("shapes.txt")),
            at: 0,
        };
        let (mut names, mut methods) = (BTreeMap::new(), BTreeMap::new());
        while reader.at < reader.words.len() {
            let name = reader.next().to_owned();
            match reader.next() {
                "=" => names.insert(name, reader.shape()),
                "->" => methods.insert(name, reader.shape()),
                other => panic!("{name} {other}"),
            };
        }
        Self {
            names,
            methods,
            seen: RefCell::default(),
        }
    }

    /// Checks the reply to a call; what is wrong, if anything is.
    pub fn check(&self, method: &str, reply: &Value) -> Result<(), String> {
        let members: BTreeSet<&str> = reply
            .as_object()
            .ok_or("a reply is an object")?
            .keys()
            .map(String::as_str)
            .collect();
        if reply["jsonrpc"] != "2.0" || !members.contains("id") {
            return Err(format!("{method}: no reply of JSON-RPC 2.0: {reply}"));
        }
        if let Some(error) = reply.get("error") {
            let fits = error["code"].is_i64() && error["message"].is_string();
            let known = ["jsonrpc", "id", "error"].map(String::from);
            let alone = members.iter().all(|name| known.iter().any(|k| k == name));
            return if fits && alone {
                Ok(())
            } else {
                Err(format!("{method}: no error of JSON-RPC 2.0: {reply}"))
            };
        }
        let Some(result) = reply.get("result") else {
            return Err(format!("{method}: neither result nor error"));
        };
        let Some(shape) = self.methods.get(method) else {
            return Err(format!(
                "{method}: answered, and shapes.txt does not tell how"
            ));
        };
        self.fit(shape, result)
            .map_err(|what| format!("{method}: {what}"))?;
        if !result.is_null() {
            self.seen.borrow_mut().insert(method.to_owned());
        }
        Ok(())
    }

    /// Checks a value against a shape of this name.
    pub fn check_named(&self, name: &str, value: &Value) -> Result<(), String> {
        self.fit(&self.names[name], value)
    }

    /// Methods that have not given a result yet, other than null.
    pub fn unseen(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        let methods = self.methods.keys();
        methods
            .filter(|name| !seen.contains(*name))
            .cloned()
            .collect()
    }

    fn members(&self, shape: &Shape) -> (Members, Option<Box<Shape>>) {
        match shape {
            Shape::Object(members, others) => (members.clone(), others.clone()),
            Shape::Word(name) => self.members(&self.names[name]),
            Shape::Spread(names, own) => {
                let (mut members, others) = self.members(own);
                for name in names {
                    members.extend(self.members(&self.names[name]).0);
                }
                (members, others)
            }
            other => panic!("no object: {other:?}"),
        }
    }

    fn fit(&self, shape: &Shape, value: &Value) -> Result<(), String> {
        let wrong = |what: &str| {
            let found: String = value.to_string().chars().take(200).collect();
            Err(format!("{what} expected, found {found}"))
        };
        match shape {
            Shape::Word(word) => match self.names.get(word) {
                Some(named) => self
                    .fit(named, value)
                    .map_err(|what| format!("{word}: {what}")),
                None if is_word(word, value) => Ok(()),
                None => wrong(word),
            },
            Shape::Literal(text) => {
                if value == text {
                    Ok(())
                } else {
                    wrong(text)
                }
            }
            Shape::Any(all) => {
                let mut reasons = Vec::new();
                for one in all {
                    match self.fit(one, value) {
                        Ok(()) => return Ok(()),
                        Err(reason) => reasons.push(reason),
                    }
                }
                Err(reasons.join("; or "))
            }
            Shape::List(inner) => {
                let Some(items) = value.as_array() else {
                    return wrong("a list");
                };
                items.iter().try_for_each(|item| self.fit(inner, item))
            }
            Shape::Object(..) | Shape::Spread(..) => {
                let Some(found) = value.as_object() else {
                    return wrong("an object");
                };
                let (members, others) = self.members(shape);
                for (name, (optional, _)) in &members {
                    if !optional && !found.contains_key(name) {
                        return Err(format!("no {name}"));
                    }
                }
                for (name, value) in found {
                    let shape = members.get(name).map(|(_, shape)| shape);
                    let Some(shape) = shape.or(others.as_deref()) else {
                        return Err(format!("{name} is not in the specification"));
                    };
                    self.fit(shape, value)
                        .map_err(|what| format!("{name}: {what}"))?;
                }
                Ok(())
            }
        }
    }
}

fn is_word(word: &str, value: &Value) -> bool {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let is_hex = |digits: &str| digits.bytes().all(|c| c.is_ascii_hexdigit());
    match word {
        "any" => true,
        "null" => value.is_null(),
        "bool" => value.is_boolean(),
        "number" => value.is_number(),
        "text" => value.is_string(),
        "quantity" => digits.is_some_and(|digits| {
            let is_short = digits == "0" || !digits.starts_with('0');
            is_hex(digits) && is_short && (1..=64).contains(&digits.len())
        }),
        "bytes" => digits.is_some_and(|digits| is_hex(digits) && digits.len().is_multiple_of(2)),
        _ => {
            let length = word.strip_prefix('b').and_then(|n| n.parse::<usize>().ok());
            let length = length.unwrap_or_else(|| panic!("no shape has the name {word}"));
            digits.is_some_and(|digits| is_hex(digits) && digits.len() == 2 * length)
        }
    }
}

/// The checker fails where it should.
#[test]
fn a_reply_of_another_shape_is_seen() {
    let shapes = Shapes::new();
    let reply = |result| serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": result});
    let fits = |method, result: Value| shapes.check(method, &reply(result)).is_ok();
    assert!(fits("eth_blockNumber", "0x1f".into()) && fits("eth_getBalance", "0x0".into()));
    for wrong in ["0x01", "1f", "0x", "0xg"] {
        assert!(!fits("eth_blockNumber", wrong.into()), "{wrong}");
    }
    assert!(!fits("eth_blockNumber", Value::Null));
    assert!(fits("eth_getBlockByHash", Value::Null));
    let access = serde_json::json!({"accessList": [], "gasUsed": "0x5208"});
    assert!(fits("eth_createAccessList", access.clone()));
    let mut more = access.clone();
    more["more"] = 1.into();
    assert!(!fits("eth_createAccessList", more));
    let mut less = access;
    less.as_object_mut().map(|map| map.remove("gasUsed"));
    assert!(!fits("eth_createAccessList", less));
    assert!(!fits("eth_noSuchMethod", Value::Null));
}
