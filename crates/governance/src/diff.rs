//! The difference of two constitutions, for whoever votes on it.

use std::collections::BTreeMap;

use crate::{Constitution, Settings};

impl Constitution {
    /// What changes from this constitution to `after`, a line each: `+` added, `-` removed, `~`
    /// changed. Empty if they are equal.
    pub fn diff(&self, after: &Self) -> Vec<String> {
        let (before, after) = (self.lines(), after.lines());
        let mut lines = Vec::new();
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for name in names {
            match (before.get(name), after.get(name)) {
                (None, Some(new)) => lines.push(format!("+ {}: {new}", name.1)),
                (Some(old), None) => lines.push(format!("- {}: {old}", name.1)),
                (Some(old), Some(new)) if old != new => {
                    lines.push(format!("~ {}: {old} -> {new}", name.1));
                }
                _ => {}
            }
        }
        lines
    }

    /// Everything that it says, by what it is about: the section of the text form, then the name.
    fn lines(&self) -> BTreeMap<(u8, String), String> {
        let mut lines = BTreeMap::new();
        let mut say = |section: u8, about: String, text: String| {
            // Nothing may hide behind a name that is listed twice in an invalid constitution.
            lines
                .entry((section, about))
                .and_modify(|all: &mut String| *all = format!("{all}; {text}"))
                .or_insert(text);
        };
        say(0, "network".into(), self.network.clone());
        say(0, "genesis time".into(), self.genesis_time_ms.0.to_string());
        say(0, "visibility".into(), word(&self.visibility));
        if let Some(old) = &self.succeeds {
            let text = format!(
                "{} up to entry {}, root {}",
                old.network, old.index, old.root
            );
            say(0, "succeeds".into(), text);
        }
        for actor in &self.actors {
            let roles: Vec<_> = actor.roles.iter().map(word).collect();
            let auditor = if actor.auditor { ", auditor" } else { "" };
            let text = format!("{}{auditor}", roles.join(", "));
            say(1, format!("actor {}", actor.name), text);
            if let Some(key) = actor.share_key {
                say(
                    2,
                    format!("share key of {}", actor.name),
                    hex::encode(key.bytes()),
                );
            }
            for listed in &actor.certificates {
                let kind = if listed.0.is_authority() {
                    "issuer"
                } else {
                    "leaf"
                };
                say(
                    2,
                    format!("certificate of {} {}", actor.name, listed.0.fingerprint()),
                    format!("{kind} {:?}", listed.0.subject()),
                );
            }
        }
        for node in &self.nodes {
            say(3, format!("node {}", node.address), node.owner.clone());
        }
        for p in &self.protocols {
            let text = format!(
                "version {}, {} access, settings {}",
                p.version,
                word(&p.access),
                p.settings_digest
            );
            say(4, format!("protocol {}", p.name), text);
            for (name, value) in &p.settings {
                say(
                    4,
                    format!("protocol {}, {name}", p.name),
                    format!("{value:?}"),
                );
            }
            for endpoint in &p.endpoints {
                let about = format!("protocol {}, endpoint {}", p.name, endpoint.name);
                say(4, about, endpoint.line());
            }
        }
        for image in &self.code.images {
            let measurement = hex::encode(&image.measurement);
            let text = format!("{} {}, {}", image.name, image.version, word(&image.state));
            say(5, format!("code {measurement} on {}", image.platform), text);
        }
        self.tee_lines(&mut say);
        say(7, "voting".into(), self.voting.policy.to_string());
        for (kind, policy) in &self.voting.policies {
            say(7, format!("voting on {kind}"), policy.to_string());
        }
        say(
            7,
            "voting is open".into(),
            format!("{} ms", self.voting.open_ms),
        );
        for kind in &self.voting.participants_propose {
            say(7, format!("participants propose {kind}"), "yes".into());
        }
        let returns = self.standing.listed_nodes_return;
        say(8, "listed nodes return".into(), returns.to_string());
        for rule in &self.standing.rules {
            let text = format!("accepts {} when {}", rule.accepts, rule.when);
            say(8, format!("rule {}", rule.name), text);
        }
        for name in Settings::NAMES {
            let value = self.settings.get(name).expect("it is a name of a setting");
            say(9, format!("setting {name}"), value.to_string());
        }
        for (name, value) in &self.policies {
            say(9, format!("policy {name}"), value.clone());
        }
        lines
    }

    fn tee_lines(&self, say: &mut impl FnMut(u8, String, String)) {
        say(6, "weakest platform".into(), word(&self.tee.strength_min));
        let age = format!("{} ms", self.tee.evidence_age_max_ms);
        say(6, "oldest evidence".into(), age);
        // Every key of the text form by itself, so that none can be forgotten here.
        for (place, accepted) in self.tee.accepted.iter().enumerate() {
            let name = format!("platform {} {}", place + 1, accepted.platform.name());
            let Ok(toml::Value::Table(table)) = toml::Value::try_from(accepted) else {
                unreachable!("a record has a form in TOML")
            };
            for (key, value) in table {
                let digest = |text: &str| hex::encode(&crypto::sha256(text.as_bytes()).0[..8]);
                let text = match (&*key, &value) {
                    ("roots", toml::Value::Array(roots)) => {
                        let roots = roots.iter().filter_map(toml::Value::as_str).map(digest);
                        format!("certificates {}", roots.collect::<Vec<_>>().join(", "))
                    }
                    _ => value.to_string(),
                };
                say(6, format!("{name}, {key}"), text);
            }
        }
    }
}

/// A word of the text form.
fn word(value: &impl serde::Serialize) -> String {
    match toml::Value::try_from(value) {
        Ok(toml::Value::String(word)) => word,
        _ => unreachable!("its text form is a word"),
    }
}
