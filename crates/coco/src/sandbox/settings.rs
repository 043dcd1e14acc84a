//! What a sandbox's Ethereum settings say besides accounts and profile.

use std::path::Path;

use serde_json::{Map, Value};

use super::cast::Profile;
use crate::failure::{Doing, Failure};

/// So many blocks back the state can be asked for on a transparent sandbox. A tool that forks, as `forge script`
/// does, keeps to the block at which it began while others make the next ones.
const STATES_KEPT: &str = "0x100";

/// The sandbox's own, and a file's members in their place.
pub(super) fn ethereum(
    profile: Profile,
    file: Option<&Path>,
) -> Result<Map<String, Value>, Failure> {
    let mut members = Map::new();
    // On a confidential one old states are shown to auditors alone.
    if profile == Profile::Transparent {
        members.insert("statesKept".into(), STATES_KEPT.into());
    }
    if let Some(file) = file {
        let text = std::fs::read(file).doing(|| format!("read {}", file.display()))?;
        let given: Map<String, Value> = serde_json::from_slice(&text).map_err(|bad| {
            Failure::input(format!(
                "{} is no JSON object of genesis settings: {bad}",
                file.display()
            ))
        })?;
        if given.contains_key("profile") {
            return Err(Failure::input(format!(
                "{} has a profile: say it by --profile, and leave it out there",
                file.display()
            )));
        }
        members.extend(given);
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_replaces_the_sandboxs_own() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("genesis.json");
        let with = |text: &str| {
            std::fs::write(&file, text).expect("written");
            ethereum(Profile::Transparent, Some(&file)).map(Value::Object)
        };
        let own = ethereum(Profile::Transparent, None).expect("nothing to read");
        assert_eq!(own["statesKept"], STATES_KEPT);
        assert!(
            ethereum(Profile::Confidential, None)
                .expect("the same")
                .is_empty()
        );
        let both = with(r#"{"statesKept": "0x0", "roots": "plain"}"#).expect("an object");
        assert_eq!(
            both,
            serde_json::json!({"statesKept": "0x0", "roots": "plain"})
        );
        assert!(with("[]").is_err());
        assert!(with(r#"{"profile": "transparent"}"#).is_err());
    }
}
