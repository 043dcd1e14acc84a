//! What each process of the network costs, read from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::figures::rounded;

/// One process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Whose it is: a node's name, or `client`.
    pub(crate) owner: String,
    pub(crate) name: String,
    /// User and system time since its start, in clock ticks.
    ticks: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// All processes at one moment, by process id.
pub(crate) type Snapshot = BTreeMap<u32, Process>;

/// What a process used between two moments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Used {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) cpu_s: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
}

impl Used {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "owner": self.owner, "process": self.name, "cpu_s": rounded(self.cpu_s),
            "resident_bytes": self.resident_bytes, "peak_resident_bytes": self.peak_bytes,
        })
    }
}

/// The owner of this process.
pub(crate) const CLIENT: &str = "client";

/// This process and everything below the given ones.
pub(crate) fn snapshot<'a>(roots: impl Iterator<Item = (&'a str, u32)>) -> Snapshot {
    let parents = parents();
    let mut found = Snapshot::new();
    for (owner, root) in roots {
        for pid in family(root, &parents) {
            if let Some(process) = look(owner, pid) {
                found.insert(pid, process);
            }
        }
    }
    let own = std::process::id();
    if let Some(process) = look(CLIENT, own) {
        found.insert(own, process);
    }
    found
}

/// What was used between two moments. A process that began later counts from its beginning.
pub(crate) fn used(before: &Snapshot, after: &Snapshot) -> Vec<Used> {
    // Clock ticks are some hundred in a second.
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut used: Vec<Used> = after
        .iter()
        .map(|(pid, process)| {
            let ticks = process.ticks - before.get(pid).map_or(0, |p| p.ticks).min(process.ticks);
            Used {
                owner: process.owner.clone(),
                name: process.name.clone(),
                cpu_s: ticks as f64 / ticks_per_second, // far below 2^53
                resident_bytes: process.resident_bytes,
                peak_bytes: process.peak_bytes,
            }
        })
        .collect();
    used.sort_by(|a, b| (&a.owner, &a.name).cmp(&(&b.owner, &b.name)));
    used
}

/// A process and everything below it.
pub(crate) fn family_of(root: u32) -> BTreeSet<u32> {
    family(root, &parents())
}

fn parents() -> BTreeMap<u32, u32> {
    let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if let Some(stat) = read(pid, "stat").as_deref().and_then(Stat::parse) {
            parents.insert(pid, stat.parent);
        }
    }
    parents
}

fn family(root: u32, parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        let children = parents.iter().filter(|(_, parent)| family.contains(parent));
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        family.extend(children);
        if family.len() == before {
            return family;
        }
    }
}

fn look(owner: &str, pid: u32) -> Option<Process> {
    let stat = Stat::parse(&read(pid, "stat")?)?;
    let status = read(pid, "status")?;
    let name = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"))
        .ok()
        .and_then(|line| {
            let first = line.split(|byte| *byte == 0).next()?.to_vec();
            let first = String::from_utf8(first).ok()?;
            Some(first.rsplit('/').next()?.to_owned())
        })
        .filter(|name| !name.is_empty())
        .unwrap_or(stat.name);
    Some(Process {
        owner: owner.to_owned(),
        name,
        ticks: stat.ticks,
        resident_bytes: kilobytes(&status, "VmRSS:") * 1024,
        peak_bytes: kilobytes(&status, "VmHWM:") * 1024,
    })
}

fn read(pid: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

fn kilobytes(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// What is needed of `/proc/PID/stat` (proc_pid_stat(5)).
struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name may hold blanks and brackets itself.
        let (open, close) = (line.find('(')?, line.rfind(')')?);
        let fields: Vec<&str> = line.get(close + 1..)?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name: line.get(open + 1..close)?.to_owned(),
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 3 4 500 25 6 7 20 0 1 0 99 1 2";
        let stat = Stat::parse(line).expect("well-formed");
        assert_eq!(
            (stat.name.as_str(), stat.parent, stat.ticks),
            ("a) b (c)", 3, 525)
        );
        assert!(Stat::parse("7 (a S 3").is_none());
    }

    #[test]
    fn grandchildren_belong_to_the_family() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (9, 8)]);
        assert_eq!(family(2, &parents), BTreeSet::from([2, 3, 4]));
    }

    #[test]
    fn only_what_was_used_in_between_counts() {
        let at = |ticks| Process {
            owner: "ada".into(),
            name: "coco-host".into(),
            ticks,
            resident_bytes: 5,
            peak_bytes: 6,
        };
        let before = Snapshot::from([(1, at(100))]);
        let after = Snapshot::from([(1, at(300)), (2, at(50))]);
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let used: Vec<f64> = used(&before, &after)
            .iter()
            .map(|u| u.cpu_s * ticks)
            .collect();
        assert_eq!(used, [200.0, 50.0]);
    }
}
