//! The condition language of standing votes.
//!
//! A condition is a yes-or-no question about a change and the consortium at that moment: words,
//! numbers, comparisons, `and`, `or`, `not`, parentheses. It has no variables, no loops and no way
//! to fail: what parses has an answer, in time linear in its text. Drawn in docs/governance.md;
//! why not an existing policy engine: docs/decisions/condition-language.md.

use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Longest text of a condition: some ten comparisons.
const TEXT_BYTES_MAX: usize = 512;

/// Deepest nesting; bounds the recursion of parser and evaluation.
const DEPTH_MAX: usize = 16;

/// A condition that was parsed. Its text is canonical: one text for one condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Condition(Tree);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tree {
    Always(bool),
    Flag(Flag),
    Compare(Number, Comparison, Number),
    Not(Box<Tree>),
    /// At least two.
    All(Vec<Tree>),
    /// At least two.
    Any(Vec<Tree>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Literal(u64),
    Word(Count),
}

/// Words that are true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// `proposer.member`
    ProposerMember,
    /// `proposer.participant`
    ProposerParticipant,
    /// `proposer.owns`: the node or the certificates are the proposer's own.
    ProposerOwns,
    /// `certificates.issued`: every new certificate comes from an authority that is listed already
    /// for the same organisation.
    CertificatesIssued,
}

/// Words that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// `members` before the change.
    Members,
    /// `majority`: more than half of the members.
    Majority,
    /// `actors` before the change.
    Actors,
    /// `nodes` that would be listed.
    Nodes,
    /// `owner.nodes`: nodes that would be listed for the owner of the node in question.
    OwnerNodes,
    /// `code.endorsements`: members who stand behind each image that may run.
    CodeEndorsements,
}

const FLAGS: &[(&str, Flag)] = &[
    ("proposer.member", Flag::ProposerMember),
    ("proposer.participant", Flag::ProposerParticipant),
    ("proposer.owns", Flag::ProposerOwns),
    ("certificates.issued", Flag::CertificatesIssued),
];

const COUNTS: &[(&str, Count)] = &[
    ("members", Count::Members),
    ("majority", Count::Majority),
    ("actors", Count::Actors),
    ("nodes", Count::Nodes),
    ("owner.nodes", Count::OwnerNodes),
    ("code.endorsements", Count::CodeEndorsements),
];

const COMPARISONS: &[(&str, Comparison)] = &[
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("!=", Comparison::Differs),
    ("<", Comparison::Below),
    (">", Comparison::Above),
    ("=", Comparison::Equals),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtMost,
    AtLeast,
    Differs,
    Below,
    Above,
    Equals,
}

impl Comparison {
    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::AtMost => left <= right,
            Self::AtLeast => left >= right,
            Self::Differs => left != right,
            Self::Below => left < right,
            Self::Above => left > right,
            Self::Equals => left == right,
        }
    }
}

/// What a condition asks about.
pub trait Circumstances {
    /// The value of a yes-or-no word.
    fn flag(&self, flag: Flag) -> bool;
    /// The value of a number word.
    fn count(&self, count: Count) -> u64;
}

impl Condition {
    /// The answer.
    pub fn holds(&self, circumstances: &impl Circumstances) -> bool {
        self.0.holds(circumstances)
    }

    /// Whether it asks for this word.
    pub fn asks_flag(&self, flag: Flag) -> bool {
        self.0.any(&|t| *t == Tree::Flag(flag))
    }

    /// Whether it asks for this number.
    pub fn asks_count(&self, count: Count) -> bool {
        let word = Number::Word(count);
        self.0
            .any(&|t| matches!(t, Tree::Compare(l, _, r) if *l == word || *r == word))
    }
}

impl Tree {
    fn holds(&self, c: &impl Circumstances) -> bool {
        let value = |number: &Number| match number {
            Number::Literal(value) => *value,
            Number::Word(count) => c.count(*count),
        };
        match self {
            Self::Always(answer) => *answer,
            Self::Flag(flag) => c.flag(*flag),
            Self::Compare(left, comparison, right) => comparison.holds(value(left), value(right)),
            Self::Not(inner) => !inner.holds(c),
            Self::All(parts) => parts.iter().all(|p| p.holds(c)),
            Self::Any(parts) => parts.iter().any(|p| p.holds(c)),
        }
    }

    fn any(&self, is: &impl Fn(&Self) -> bool) -> bool {
        is(self)
            || match self {
                Self::Not(inner) => inner.any(is),
                Self::All(parts) | Self::Any(parts) => parts.iter().any(|p| p.any(is)),
                Self::Always(_) | Self::Flag(_) | Self::Compare(..) => false,
            }
    }
}

/// The text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    #[error("a condition has at most {TEXT_BYTES_MAX} bytes")]
    TooLong,
    #[error("a condition nests at most {DEPTH_MAX} deep")]
    TooDeep,
    #[error("{0:?} is no word of conditions; they are {words}", words = words())]
    Word(String),
    #[error("expected {expected}, found {found}")]
    Expected {
        expected: &'static str,
        found: String,
    },
}

fn words() -> String {
    let flags = FLAGS.iter().map(|(word, _)| *word);
    let counts = COUNTS.iter().map(|(word, _)| *word);
    let words: Vec<_> = flags
        .chain(counts)
        .chain(["true", "false", "and", "or", "not"])
        .collect();
    words.join(", ")
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// The next piece without taking it: a sign, a word or a number; empty at the end.
    fn peek(&mut self) -> &'t str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let sign = ["(", ")"]
            .into_iter()
            .chain(COMPARISONS.iter().map(|(sign, _)| *sign))
            .find(|sign| self.rest.starts_with(sign));
        let length = match sign {
            Some(sign) => sign.len(),
            None => self
                .rest
                .find([' ', '\t', '\n', '\r', '(', ')', '<', '>', '=', '!'])
                .unwrap_or(self.rest.len()),
        };
        &self.rest[..length]
    }

    fn take(&mut self) -> &'t str {
        let piece = self.peek();
        self.rest = &self.rest[piece.len()..];
        piece
    }

    fn takes(&mut self, piece: &str) -> bool {
        let found = self.peek() == piece;
        if found {
            self.take();
        }
        found
    }

    fn expected(&mut self, expected: &'static str) -> BadCondition {
        let found = match self.peek() {
            "" if self.rest.is_empty() => "the end".to_owned(),
            "" => format!("{:?}", self.rest.chars().next().unwrap_or_default()),
            piece => format!("{piece:?}"),
        };
        BadCondition::Expected { expected, found }
    }

    fn any(&mut self) -> Result<Tree, BadCondition> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(BadCondition::TooDeep);
        }
        let mut parts = vec![self.all()?];
        while self.takes("or") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(joined(
            parts,
            |tree| match tree {
                Tree::Any(inner) => Ok(inner),
                other => Err(other),
            },
            Tree::Any,
        ))
    }

    fn all(&mut self) -> Result<Tree, BadCondition> {
        let mut parts = vec![self.one()?];
        while self.takes("and") {
            parts.push(self.one()?);
        }
        Ok(joined(
            parts,
            |tree| match tree {
                Tree::All(inner) => Ok(inner),
                other => Err(other),
            },
            Tree::All,
        ))
    }

    fn one(&mut self) -> Result<Tree, BadCondition> {
        if self.takes("not") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(BadCondition::TooDeep);
            }
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Tree::Not(Box::new(inner)));
        }
        if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err(self.expected("\")\""));
            }
            return Ok(inner);
        }
        if self.takes("true") {
            return Ok(Tree::Always(true));
        }
        if self.takes("false") {
            return Ok(Tree::Always(false));
        }
        let piece = self.peek();
        if let Some((_, flag)) = FLAGS.iter().find(|(word, _)| *word == piece) {
            self.take();
            return Ok(Tree::Flag(*flag));
        }
        let left = self.number()?;
        let piece = self.peek();
        let Some((_, comparison)) = COMPARISONS.iter().find(|(sign, _)| *sign == piece) else {
            return Err(self.expected("a comparison: < <= = != >= >"));
        };
        self.take();
        let right = self.number()?;
        Ok(Tree::Compare(left, *comparison, right))
    }

    fn number(&mut self) -> Result<Number, BadCondition> {
        let piece = self.peek();
        if let Some((_, count)) = COUNTS.iter().find(|(word, _)| *word == piece) {
            self.take();
            return Ok(Number::Word(*count));
        }
        if let Some(value) = literal(piece) {
            self.take();
            return Ok(Number::Literal(value));
        }
        let wordlike = piece.starts_with(|c: char| c.is_ascii_alphabetic());
        if wordlike && !["and", "or", "not", "true", "false"].contains(&piece) {
            return Err(BadCondition::Word(piece.to_owned()));
        }
        Err(self.expected("a word or a number"))
    }
}

/// Digits only, without leading zeros: one text for one number.
fn literal(piece: &str) -> Option<u64> {
    let value: u64 = piece.parse().ok()?;
    (value.to_string() == piece).then_some(value)
}

/// One part as it is; several in one list, those inside of the same kind spread out.
fn joined(
    mut parts: Vec<Tree>,
    same: fn(Tree) -> Result<Vec<Tree>, Tree>,
    list: fn(Vec<Tree>) -> Tree,
) -> Tree {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let spread = parts.into_iter().flat_map(|part| match same(part) {
        Ok(inner) => inner,
        Err(other) => vec![other],
    });
    list(spread.collect())
}

impl FromStr for Condition {
    type Err = BadCondition;
    fn from_str(text: &str) -> Result<Self, BadCondition> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadCondition::TooLong);
        }
        let mut parser = Parser {
            rest: text,
            depth: 0,
        };
        let tree = parser.any()?;
        parser.peek();
        if !parser.rest.is_empty() {
            return Err(parser.expected("\"and\", \"or\" or the end"));
        }
        let condition = Self(tree);
        // The canonical text may be longer by the blanks that the given text leaves out.
        if condition.to_string().len() > TEXT_BYTES_MAX {
            return Err(BadCondition::TooLong);
        }
        Ok(condition)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

impl Tree {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            for (place, part) in parts.iter().enumerate() {
                if place > 0 {
                    write!(f, " {word} ")?;
                }
                // `and` binds closer, so only an `or` inside of it needs them. No more than the text
                // had, so that what parsed parses again within its depth.
                if matches!(part, Self::Any(_)) {
                    f.write_str("(")?;
                    part.write(f)?;
                    f.write_str(")")?;
                } else {
                    part.write(f)?;
                }
            }
            Ok(())
        };
        match self {
            Self::Always(answer) => write!(f, "{answer}"),
            Self::Flag(flag) => f.write_str(name(FLAGS, flag)),
            Self::Compare(left, comparison, right) => {
                write!(f, "{left} {} {right}", name(COMPARISONS, comparison))
            }
            Self::Not(inner) => {
                f.write_str("not ")?;
                if matches!(**inner, Self::All(_) | Self::Any(_)) {
                    f.write_str("(")?;
                    inner.write(f)?;
                    return f.write_str(")");
                }
                inner.write(f)
            }
            Self::All(parts) => list(f, parts, "and"),
            Self::Any(parts) => list(f, parts, "or"),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write!(f, "{value}"),
            Self::Word(count) => f.write_str(name(COUNTS, count)),
        }
    }
}

fn name<T: PartialEq>(table: &'static [(&'static str, T)], value: &T) -> &'static str {
    table
        .iter()
        .find(|(_, v)| v == value)
        .map(|(name, _)| *name)
        .expect("the table lists every value")
}

impl From<Condition> for String {
    fn from(condition: Condition) -> String {
        condition.to_string()
    }
}

impl TryFrom<String> for Condition {
    type Error = BadCondition;
    fn try_from(text: String) -> Result<Self, BadCondition> {
        text.parse()
    }
}

impl<C> Encode<C> for Condition {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.to_string())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Condition {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?.parse().map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    /// Three members, the owner would have two nodes, the proposer is a member.
    struct Some3;
    impl Circumstances for Some3 {
        fn flag(&self, flag: Flag) -> bool {
            flag == Flag::ProposerMember
        }
        fn count(&self, count: Count) -> u64 {
            match count {
                Count::Members => 3,
                Count::OwnerNodes | Count::Majority => 2,
                _ => 0,
            }
        }
    }

    fn line(text: &str) -> String {
        match text.parse::<Condition>() {
            Err(bad) => format!("{text}\n    {bad}\n"),
            Ok(condition) => {
                let again = condition.to_string();
                assert_eq!(again.parse(), Ok(condition.clone()), "{text}");
                format!("{text}\n    {}: {again}\n", condition.holds(&Some3))
            }
        }
    }

    #[test]
    fn conditions_have_answers() {
        let transcript: String = [
            "true",
            "proposer.member",
            "not proposer.member",
            "owner.nodes<=2",
            "proposer.member and owner.nodes <= 2 and nodes < 10",
            "proposer.participant or (members >= 3 and not (majority = 1))",
            "proposer.owns and members > 1 or proposer.member",
            "(proposer.member and (true and true))",
            "not not false",
        ]
        .map(line)
        .concat();
        expect![[r#"
            true
                true: true
            proposer.member
                true: proposer.member
            not proposer.member
                false: not proposer.member
            owner.nodes<=2
                true: owner.nodes <= 2
            proposer.member and owner.nodes <= 2 and nodes < 10
                true: proposer.member and owner.nodes <= 2 and nodes < 10
            proposer.participant or (members >= 3 and not (majority = 1))
                true: proposer.participant or members >= 3 and not majority = 1
            proposer.owns and members > 1 or proposer.member
                true: proposer.owns and members > 1 or proposer.member
            (proposer.member and (true and true))
                true: proposer.member and true and true
            not not false
                false: not not false
        "#]]
        .assert_eq(&transcript);
    }

    #[test]
    fn what_is_no_condition_is_told_why() {
        let deep = format!("{}true{}", "(".repeat(20), ")".repeat(20));
        let nots = "not ".repeat(20) + "true";
        let transcript: String = [
            "",
            "proposer.menber",
            "members",
            "members <",
            "members < 03",
            "members < -1",
            "true true",
            "(true",
            "true)",
            "members << 3",
            "and true",
            "members < 99999999999999999999",
            "ä",
            "!",
            &deep,
            &nots,
        ]
        .map(line)
        .concat();
        expect![[r#"

                expected a word or a number, found the end
            proposer.menber
                "proposer.menber" is no word of conditions; they are proposer.member, proposer.participant, proposer.owns, certificates.issued, members, majority, actors, nodes, owner.nodes, code.endorsements, true, false, and, or, not
            members
                expected a comparison: < <= = != >= >, found the end
            members <
                expected a word or a number, found the end
            members < 03
                expected a word or a number, found "03"
            members < -1
                expected a word or a number, found "-1"
            true true
                expected "and", "or" or the end, found "true"
            (true
                expected ")", found the end
            true)
                expected "and", "or" or the end, found ")"
            members << 3
                expected a word or a number, found "<"
            and true
                expected a word or a number, found "and"
            members < 99999999999999999999
                expected a word or a number, found "99999999999999999999"
            ä
                expected a word or a number, found "ä"
            !
                expected a word or a number, found '!'
            ((((((((((((((((((((true))))))))))))))))))))
                a condition nests at most 16 deep
            not not not not not not not not not not not not not not not not not not not not true
                a condition nests at most 16 deep
        "#]].assert_eq(&transcript);
        let long = "true or ".repeat(100) + "true";
        assert_eq!(long.parse::<Condition>(), Err(BadCondition::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_answered_or_refused(text in "(proposer.member|members|owner.nodes|[0-9]{1,3}|and|or|not|\\(|\\)|<=|<|=|!| |true|\\PC){0,40}") {
            if let Ok(condition) = text.parse::<Condition>() {
                let again = condition.to_string();
                let read: Condition = again.parse().expect("canonical text");
                prop_assert_eq!(read.to_string(), again);
                prop_assert_eq!(read.holds(&Some3), condition.holds(&Some3));
                prop_assert_eq!(read, condition);
            }
        }
    }
}
