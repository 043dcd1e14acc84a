//! `coco network create` and `coco constitution`: from the members' text to the digest they approve.
//!
//! Nothing here but `fetch` needs a network or a key. What a node is started with is `constitution.cbor`, whose
//! digest every owner compares before it signs for its node.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use governance::Constitution;
use toml::{Table, Value};

use crate::failure::{Doing, Failure};
use crate::images::Images;
use crate::keys::write_public;
use crate::print;

/// Longest file that is read as a constitution or as settings.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Checks a constitution in TOML and writes what nodes are started with
    Create(Create),
    /// Shows what `create` wrote
    Show(Show),
    /// Obtains the certificate that clients pin, from a node that proves what it runs
    Pin(crate::pin::Pin),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConstitutionCommand {
    /// Shows a constitution (TOML or canonical) for people
    Show(Show),
    /// Prints the digest that owners approve and the network's identity
    Digest(Show),
    /// Prints what differs between two constitutions
    Diff(Diff),
    /// Obtains the constitution in force from a network, or what a proposal would make of it
    Fetch(crate::governing::Fetch),
    /// Approves a constitution for a node, after showing it
    Approve(crate::governing::Approve),
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The constitution before: TOML, canonical, or a directory
    before: PathBuf,
    /// The constitution after
    after: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The constitution in TOML
    #[arg(long, value_name = "FILE")]
    constitution: PathBuf,
    /// Directory for constitution.cbor, constitution.toml and summary.txt
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Measures coco-manager and coco-worker-* in DIR and makes them the code manifest
    #[arg(long, value_name = "DIR")]
    measure_images: Option<PathBuf>,
    /// Genesis settings of a protocol; their digest is put into the constitution
    #[arg(long = "settings", value_name = "PROTOCOL=FILE", value_parser = pair)]
    settings: Vec<(String, PathBuf)>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// constitution.toml, constitution.cbor, or the directory that `network create` wrote
    file: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected PROTOCOL=FILE")?;
    Ok((name.to_owned(), path.into()))
}

pub(crate) fn network(command: &NetworkCommand) -> Result<(), Failure> {
    match command {
        NetworkCommand::Create(arguments) => create(arguments),
        NetworkCommand::Show(arguments) => show(arguments),
        NetworkCommand::Pin(arguments) => crate::pin::run(arguments),
    }
}

pub(crate) fn constitution(command: &ConstitutionCommand) -> Result<(), Failure> {
    match command {
        ConstitutionCommand::Show(arguments) => show(arguments),
        ConstitutionCommand::Digest(arguments) => {
            let constitution = read(&arguments.file)?;
            if arguments.json {
                print::json(&identity(&constitution));
            } else {
                println!("digest  {}", constitution.digest());
                println!("network {}", constitution.network_id());
            }
            Ok(())
        }
        ConstitutionCommand::Diff(arguments) => {
            let lines = read(&arguments.before)?.diff(&read(&arguments.after)?);
            if arguments.json {
                print::json(&serde_json::json!(lines));
            } else {
                lines.iter().for_each(|line| println!("{line}"));
            }
            Ok(())
        }
        ConstitutionCommand::Fetch(arguments) => crate::governing::fetch(arguments),
        ConstitutionCommand::Approve(arguments) => crate::governing::approve(arguments),
    }
}

fn create(arguments: &Create) -> Result<(), Failure> {
    let mut table: Table =
        toml::from_str(&read_text(&arguments.constitution)?).map_err(|error| {
            Failure::input(format!("{}: {error}", arguments.constitution.display()))
        })?;
    if let Some(directory) = &arguments.measure_images {
        table.insert("code".into(), measured(&Images::find(Some(directory))?)?);
    }
    for (protocol, path) in &arguments.settings {
        let digest = settings_digest(path)?;
        set_digest(&mut table, protocol, &digest)?;
    }
    let constitution = Constitution::from_toml(&table.to_string()).map_err(|error| {
        Failure::input(format!("{}: {error}", arguments.constitution.display()))
    })?;
    write(&constitution, &arguments.out)?;
    if arguments.json {
        print::json(&identity(&constitution));
    } else {
        print!("{}", constitution.summary());
        println!(
            "\nWritten to {}. Every owner compares the digest, then runs",
            arguments.out.display()
        );
        println!("  coco node start --config FILE      (coco node config --example)");
    }
    Ok(())
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let constitution = read(&arguments.file)?;
    if arguments.json {
        print::json(&constitution);
    } else {
        print!("{}", constitution.summary());
    }
    Ok(())
}

fn identity(constitution: &Constitution) -> serde_json::Value {
    serde_json::json!({
        "name": constitution.network,
        "digest": constitution.digest(),
        "network": constitution.network_id(),
    })
}

/// The three files of a constitution.
pub(crate) fn write(constitution: &Constitution, out: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(out).doing(|| format!("make the directory {}", out.display()))?;
    let canonical = out.join("constitution.cbor");
    if canonical.exists() {
        return Err(Failure::input(format!(
            "{} exists; a constitution is not overwritten. Name another directory with --out",
            canonical.display()
        )));
    }
    std::fs::write(&canonical, constitution.to_cbor())
        .doing(|| format!("write {}", canonical.display()))?;
    write_public(&out.join("constitution.toml"), &constitution.to_toml())?;
    write_public(&out.join("summary.txt"), &constitution.summary())
}

/// Reads a constitution in either form, or from the directory that holds it.
pub(crate) fn read(path: &Path) -> Result<Constitution, Failure> {
    let path = if path.is_dir() {
        path.join("constitution.cbor")
    } else {
        path.to_path_buf()
    };
    let told =
        |error: governance::BadConstitution| Failure::input(format!("{}: {error}", path.display()));
    if path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        Constitution::from_toml(&read_text(&path)?).map_err(told)
    } else {
        Constitution::from_cbor(&read_bytes(&path)?).map_err(told)
    }
}

/// A code manifest of everything in a directory of images, as TOML.
pub(crate) fn measured(images: &Images) -> Result<Value, Failure> {
    let mut files = vec![("manager".to_owned(), images.manager()?)];
    for protocol in images.protocols() {
        files.push((format!("worker/{protocol}"), images.worker(&protocol)?));
    }
    let mut list = Vec::new();
    for (name, path) in files {
        let mut image = Table::new();
        image.insert("name".into(), name.into());
        image.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        image.insert("platform".into(), "software".into());
        image.insert(
            "measurement".into(),
            hex::encode(Images::measure(&path)?).into(),
        );
        list.push(Value::Table(image));
    }
    let mut code = Table::new();
    code.insert("images".into(), Value::Array(list));
    Ok(Value::Table(code))
}

fn settings_digest(path: &Path) -> Result<String, Failure> {
    Ok(crypto::sha256(&read_bytes(path)?).to_string())
}

fn set_digest(constitution: &mut Table, protocol: &str, digest: &str) -> Result<(), Failure> {
    let listed = constitution
        .get_mut("protocols")
        .and_then(Value::as_array_mut);
    let found = listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_table_mut)
        .find(|table| table.get("name").and_then(Value::as_str) == Some(protocol));
    let table = found.ok_or_else(|| {
        Failure::input(format!(
            "--settings {protocol}=...: the constitution lists no such protocol"
        ))
    })?;
    table.insert("settings_digest".into(), digest.into());
    Ok(())
}

/// Reads a file of bounded size.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let doing = || format!("read {}", path.display());
    let bytes = std::fs::metadata(path).doing(doing)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Failure::input(format!(
            "{} has {bytes} bytes, too many",
            path.display()
        )));
    }
    std::fs::read(path).doing(doing)
}

pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path)?)
        .map_err(|_| Failure::input(format!("{} is not text (UTF-8)", path.display())))
}
