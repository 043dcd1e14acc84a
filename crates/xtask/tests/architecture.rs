//! ARCHITECTURE.md's table of crates against what cargo links.
//!
//! A sentence about architecture drifts; a table that a test compares does not. Besides the table,
//! the doors between the three columns are held here: what a host, a manager and a worker must never
//! link, of ours or of others, and how much of our code the manager is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Lines of our own code that a manager may link, tests, comments and blank lines not counted.
///
/// An auditor reads some 300 such lines an hour: at this size the whole trusted core is three weeks
/// of one person. It was 24,000 until the threshold cryptosystem (1,850 lines) and what governs its
/// keys came in, and 30,000 until calls of systems outside, audits and ordered restarts did. Who
/// raises it says in the same commit what the lines are for.
const MANAGER_LINES_MAX: usize = 34_000;

/// Crates of others that mean I/O or an async runtime, absent from every enclave's core.
const INPUT_OUTPUT: &[&str] = &[
    "tokio",
    "mio",
    "async-std",
    "hyper",
    "reqwest",
    "socket2",
    "landlock",
    "seccompiler",
    "clap",
];

/// Crates of others that could open a ledger entry or end TLS.
const CRYPTOGRAPHY: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "ring",
    "rustls",
    "openssl",
    "aes-gcm",
    "coset",
    "rustls-webpki",
];

struct Row {
    floor: String,
    name: String,
    may_use: BTreeSet<String>,
}

struct Workspace {
    metadata: Metadata,
    rows: Vec<Row>,
}

impl Workspace {
    fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            // No network: what this machine's target needs was fetched to build this test.
            .other_options(vec![
                "--offline".to_owned(),
                format!(
                    "--filter-platform={}-unknown-linux-gnu",
                    std::env::consts::ARCH
                ),
            ])
            .exec()
            .expect("cargo metadata of this workspace");
        let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
        Self {
            metadata,
            rows: rows(&text),
        }
    }

    fn packages(&self) -> BTreeMap<String, &Package> {
        let packages = self.metadata.workspace_packages();
        packages
            .into_iter()
            .map(|package| (package.name.to_string(), package))
            .collect()
    }

    /// Everything that a crate links, its own and others', tests and build scripts aside.
    fn linked(&self, name: &str) -> BTreeSet<String> {
        let resolve = self.metadata.resolve.as_ref().expect("a resolved graph");
        let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
        let mut found = BTreeSet::new();
        let mut next = vec![&self.packages()[name].id];
        while let Some(id) = next.pop() {
            for dependency in &nodes[id].deps {
                let normal = dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal);
                let package = &self.metadata[&dependency.pkg];
                if normal && found.insert(package.name.to_string()) {
                    next.push(&dependency.pkg);
                }
            }
        }
        found
    }
}

/// Rows of the table after the marker.
fn rows(text: &str) -> Vec<Row> {
    let (_, after) = text.split_once("<!-- crates:").expect("the marked table");
    let table = after.lines().skip(1).skip_while(|line| line.is_empty());
    table
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "four columns: {line}");
            Row {
                floor: cells[1].to_owned(),
                name: cells[2].to_owned(),
                may_use: cells[4].split_whitespace().map(str::to_owned).collect(),
            }
        })
        .collect()
}

fn ours(package: &Package, workspace: &BTreeMap<String, &Package>) -> BTreeSet<String> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.clone())
        .filter(|name| workspace.contains_key(name))
        .collect()
}

/// Lines of code of a crate: neither blank nor comment nor of a test module.
fn lines_of_code(directory: &Path) -> usize {
    let mut lines = 0;
    for entry in std::fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            lines += lines_of_code(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            let text = std::fs::read_to_string(&path).expect("a source file");
            lines += text
                .lines()
                .take_while(|line| *line != "#[cfg(test)]")
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with("//"))
                .count();
        }
    }
    lines
}

#[test]
fn the_table_names_every_crate_once_and_points_one_way() {
    let workspace = Workspace::load();
    let listed: Vec<_> = workspace.rows.iter().map(|row| row.name.clone()).collect();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(
        unique.len(),
        listed.len(),
        "a crate has one row: {listed:?}"
    );
    let existing: BTreeSet<_> = workspace.packages().into_keys().collect();
    assert_eq!(unique, existing, "rows (left) and crates (right) differ");
    let mut above = BTreeSet::new();
    for row in &workspace.rows {
        let wrong: Vec<_> = row.may_use.difference(&above).collect();
        assert!(
            wrong.is_empty(),
            "`{}` may use {wrong:?}, which are not above it in the table",
            row.name
        );
        above.insert(row.name.clone());
    }
}

#[test]
fn crates_use_what_their_row_names() {
    let workspace = Workspace::load();
    let packages = workspace.packages();
    let mut wrong = Vec::new();
    for row in &workspace.rows {
        let uses = ours(packages[&row.name], &packages);
        for name in uses.difference(&row.may_use) {
            wrong.push(format!("{} uses {name}", row.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "not in ARCHITECTURE.md: {wrong:?}. Move the code, or change the table and say why"
    );
}

#[test]
fn host_manager_and_worker_link_nothing_of_one_another() {
    let workspace = Workspace::load();
    let refuse = |crate_name: &str, refused: &[&str], why: &str| {
        let linked = workspace.linked(crate_name);
        let found: Vec<_> = refused
            .iter()
            .filter(|name| linked.contains(**name))
            .collect();
        assert!(found.is_empty(), "`{crate_name}` links {found:?}: {why}");
    };
    let host = "it must not be able to open an entry";
    refuse(
        "host",
        &["crypto", "ledger", "channel", "tee", "governance", "kv"],
        host,
    );
    refuse(
        "host",
        &["manager", "worker", "consensus", "platform"],
        host,
    );
    refuse("host", CRYPTOGRAPHY, host);

    let adapters: Vec<_> = workspace
        .rows
        .iter()
        .map(|row| row.name.as_str())
        .filter(|name| name.starts_with("adapter"))
        .collect();
    assert!(adapters.len() >= 3, "{adapters:?}");
    refuse("manager", &adapters, "it must not grow with the protocols");
    refuse(
        "manager",
        &["worker", "host", "platform", "revm"],
        "another column",
    );
    refuse("manager", INPUT_OUTPUT, "an enclave is a synchronous value");

    for name in ["worker", "adapter", "adapter-kv", "adapter-ethereum"] {
        let why = "a worker cannot vote, open the ledger or hold its keys";
        refuse(name, &["ledger", "crypto", "governance", "consensus"], why);
        refuse(
            name,
            &["channel", "tee", "manager", "host", "platform"],
            why,
        );
        refuse(name, INPUT_OUTPUT, "an enclave is a synchronous value");
    }
}

#[test]
fn what_the_manager_links_of_ours_stays_within_its_budget() {
    let workspace = Workspace::load();
    let packages = workspace.packages();
    let mut linked = workspace.linked("manager");
    linked.insert("manager".to_owned());
    let mut sum = 0;
    println!("lines of our code that the manager links:");
    for (name, package) in packages.iter().filter(|(name, _)| linked.contains(*name)) {
        let manifest = package.manifest_path.as_std_path();
        let directory = manifest.parent().expect("a crate has a directory");
        let lines = lines_of_code(&directory.join("src"));
        println!("  {name:12} {lines:6}");
        sum += lines;
    }
    println!("  {:12} {sum:6} of {MANAGER_LINES_MAX}", "all");
    assert!(
        sum <= MANAGER_LINES_MAX,
        "{sum} lines, and the budget is {MANAGER_LINES_MAX}: move what need not be trusted out of \
         the manager, or raise the budget with the reason"
    );
}

#[test]
fn the_core_forbids_unsafe_code_and_nobody_ships_a_known_mistake() {
    let workspace = Workspace::load();
    let packages = workspace.packages();
    for row in &workspace.rows {
        let (name, package) = (&row.name, packages[&row.name]);
        let manifest = package.manifest_path.as_std_path();
        let sources = manifest.parent().expect("a directory").join("src");
        let core = ["words", "ideas", "enclaves"].contains(&row.floor.as_str());
        let allows = any_line(&sources, &|line| line.contains("(unsafe_code)"));
        assert!(!core || !allows, "`{name}` allows unsafe code");
        let text = std::fs::read_to_string(manifest).expect("a manifest");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "`{name}` does not take the workspace's lints"
        );
        let default = package.features.get("default").cloned().unwrap_or_default();
        let shipped = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .flat_map(|dependency| &dependency.features);
        assert!(
            !default
                .iter()
                .chain(shipped)
                .any(|feature| feature.contains("mutations")),
            "`{name}` makes known mistakes, or links a crate that does"
        );
    }
}

fn any_line(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> bool {
    let entries = std::fs::read_dir(directory).expect("a source directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .any(|path| {
            if path.is_dir() {
                any_line(&path, wanted)
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                text.lines().any(wanted)
            }
        })
}
