//! `coco constitution approve`: an owner's yes to a constitution, for one node.
//!
//! A node is started under the constitution that its configuration names, and its agent signs for no
//! other. Approval writes three keys of that configuration: `constitution`, `approved` (its digest)
//! and `network`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use governance::Constitution;

use super::fetch::NETWORK_FILE;
use super::message::digest;
use crate::failure::{Doing, Failure};
use crate::node::config::Config;
use crate::print;

/// Keys of the configuration that approval sets.
const KEYS: [&str; 3] = ["constitution", "approved", "network"];

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// What `constitution fetch` or `network create` wrote: the directory, or constitution.cbor
    constitution: PathBuf,
    /// Approves if this is its digest, without asking
    #[arg(long, value_name = "HEX")]
    expect_digest: Option<String>,
    /// Identity of the network; default: what `fetch` wrote, else the network that begins with it
    #[arg(long, value_name = "HEX")]
    network_id: Option<String>,
    /// Configuration of the node; without it, the lines for it are printed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Approve) -> Result<(), Failure> {
    let path = if arguments.constitution.is_dir() {
        arguments.constitution.join("constitution.cbor")
    } else {
        arguments.constitution.clone()
    };
    let constitution = crate::network::read(&path)?;
    let network = network(arguments, &path, &constitution)?;
    if !arguments.json {
        print!("{}", constitution.summary());
        println!("\nnetwork  {network}\ndigest   {}", constitution.digest());
    }
    agreed(arguments, &constitution)?;
    let path = std::path::absolute(&path).doing(|| format!("find {}", path.display()))?;
    let values = [
        path.display().to_string(),
        constitution.digest().to_string(),
        network.clone(),
    ];
    let lines: String = KEYS
        .iter()
        .zip(&values)
        .map(|(key, value)| format!("{key} = {}\n", toml::Value::from(value.as_str())))
        .collect();
    match &arguments.config {
        Some(config) => write(config, &lines)?,
        None if !arguments.json => print!("approved; into the node's configuration:\n{lines}"),
        None => {}
    }
    if arguments.json {
        print::json(&serde_json::json!({
            "constitution": values[0], "approved": values[1], "network": network,
        }));
    } else if let Some(config) = &arguments.config {
        println!(
            "approved in {}; start or restart the node",
            config.display()
        );
    }
    Ok(())
}

fn network(
    arguments: &Approve,
    path: &Path,
    constitution: &Constitution,
) -> Result<String, Failure> {
    let beside = path.with_file_name(NETWORK_FILE);
    let text = match &arguments.network_id {
        Some(text) => text.clone(),
        None if beside.exists() => {
            std::fs::read_to_string(&beside).doing(|| format!("read {}", beside.display()))?
        }
        None => constitution.network_id().to_string(),
    };
    let text = text.trim();
    match digest(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Failure::input(format!(
            "{text:?} is no identity of a network: 64 hexadecimal digits"
        ))),
    }
}

/// The owner says yes: by naming the digest beforehand, or at the terminal.
fn agreed(arguments: &Approve, constitution: &Constitution) -> Result<(), Failure> {
    let found = constitution.digest();
    if let Some(text) = &arguments.expect_digest {
        return match digest(text) {
            Some(expected) if expected == found => Ok(()),
            Some(expected) => Err(Failure::input(format!(
                "not approved: the digest is {found}, and {expected} was expected"
            ))),
            None => Err(Failure::input(format!(
                "--expect-digest {text:?}: 64 hexadecimal digits are expected"
            ))),
        };
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::input(
            "not approved: nobody is here to say yes. Compare the digest with the other owners', and \
             give it with --expect-digest",
        ));
    }
    print!("Type `approve` if every owner has this digest: ");
    let doing = || "ask for approval".to_owned();
    std::io::stdout().flush().doing(doing)?;
    let mut said = String::new();
    std::io::stdin().lock().read_line(&mut said).doing(doing)?;
    if said.trim() == "approve" {
        Ok(())
    } else {
        Err(Failure::input("not approved"))
    }
}

/// Puts `lines` in the place of what the configuration says about its constitution.
fn write(config: &Path, lines: &str) -> Result<(), Failure> {
    let text = std::fs::read_to_string(config).doing(|| format!("read {}", config.display()))?;
    let text = replaced(&text, lines);
    Config::check(&text).map_err(|reason| {
        Failure::input(format!(
            "{} would not be usable: {reason}",
            config.display()
        ))
    })?;
    let beside = config.with_extension("approving");
    std::fs::write(&beside, text).doing(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, config).doing(|| format!("replace {}", config.display()))
}

fn replaced(text: &str, lines: &str) -> String {
    let mut tables = false;
    let kept = text.split_inclusive('\n').filter(|line| {
        tables |= line.trim_start().starts_with('[');
        let key = line.split('=').next().unwrap_or_default().trim();
        tables || !line.contains('=') || !KEYS.contains(&key)
    });
    format!("{lines}{}", kept.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_replaces_its_three_keys_and_nothing_else() {
        let before = "# constitution = \"told\"\nconstitution = \"old.cbor\"\nowner = \"ada\"\nnetwork = \"1\"\n\n[listen]\nnetwork = \"kept\"\n";
        assert_eq!(
            replaced(before, "approved = \"x\"\n"),
            "approved = \"x\"\n# constitution = \"told\"\nowner = \"ada\"\n\n[listen]\nnetwork = \"kept\"\n"
        );
    }

    #[test]
    fn the_example_is_still_a_configuration_after_approval() {
        let digits = "0".repeat(64);
        let lines =
            format!("constitution = \"a.cbor\"\napproved = \"{digits}\"\nnetwork = \"{digits}\"\n");
        Config::check(&replaced(crate::node::config::EXAMPLE, &lines)).expect("usable");
    }
}
