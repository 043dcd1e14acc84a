//! `differences.txt`, read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Why a vector is not answered as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Coco answers, and otherwise.
    Different,
    /// Coco has nothing of which this asks.
    Inapplicable,
}

/// What the list says of a vector.
#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    /// Exactly the members that differ, in order; or one word: `=` and the code of an error.
    pub members: Vec<String>,
}

impl Entry {
    /// True of just the differences that the entry tells of.
    pub fn explains(&self, paths: &[String], codes: &[i64]) -> bool {
        let code = match self.members.as_slice() {
            [word] => word.strip_prefix('=').and_then(|code| code.parse().ok()),
            _ => None,
        };
        match code {
            // Either of an error in a result's place, or of another error.
            Some(code) => {
                let ends = ["error", "error.code", "error.data", "result"];
                codes.contains(&code)
                    && !paths.is_empty()
                    && paths.iter().all(|path| ends.contains(&path.as_str()))
            }
            None => self.members == paths,
        }
    }
}

/// The whole list.
pub struct Listed {
    entries: BTreeMap<String, Entry>,
    used: RefCell<BTreeSet<String>>,
}

impl Listed {
    /// Its form is at the head of `differences.txt`.
    ///
    /// # Panics
    /// If a line is not of that form.
    pub fn read(text: &str) -> Self {
        let mut reasons = BTreeMap::new();
        let mut entries = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if line.starts_with('#') {
                continue;
            }
            let (first, rest) = line.split_once(' ').expect("two words at least");
            if let Some(name) = first.strip_suffix(':') {
                let kind = match rest.split_once(' ') {
                    Some(("different", _)) => Kind::Different,
                    Some(("inapplicable", _)) => Kind::Inapplicable,
                    _ => panic!("a reason begins with different or inapplicable: {line}"),
                };
                reasons.insert(name, kind);
                continue;
            }
            let kind = *reasons
                .get(first)
                .unwrap_or_else(|| panic!("no reason has this name: {line}"));
            let mut words = rest.split_whitespace().map(str::to_owned);
            let name = words.next().expect("a vector");
            let members = words.collect();
            let before = entries.insert(name, Entry { kind, members });
            assert!(before.is_none(), "listed twice: {line}");
        }
        Self {
            entries,
            used: RefCell::default(),
        }
    }

    /// By the vector's name, or its folder's with `/*`.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let folder = name.split('/').next().unwrap_or_default();
        let all = format!("{folder}/*");
        let key = [name, &all]
            .into_iter()
            .find(|key| self.entries.contains_key(*key))?;
        self.used.borrow_mut().insert(key.to_owned());
        self.entries.get(key)
    }

    /// Entries that no vector asked for.
    pub fn unused(&self) -> Vec<&String> {
        let used = self.used.borrow();
        self.entries
            .keys()
            .filter(|key| !used.contains(*key))
            .collect()
    }
}
