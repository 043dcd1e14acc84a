//! A proposal as people write it, in TOML.
//!
//! ```toml
//! title = "Majority decides"
//!
//! [[changes]]
//! change = "set-voting-policy"
//! policy = "majority"
//! ```

use std::path::Path;

use governance::Change;
use serde::Deserialize;

use crate::failure::{Doing, Failure};

/// Longest file: what a proposal may have, with comments.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    pub(crate) title: String,
    pub(crate) changes: Vec<Change>,
}

pub(crate) fn read(path: &Path) -> Result<Written, Failure> {
    let doing = || format!("read {}", path.display());
    if std::fs::metadata(path).doing(doing)?.len() > FILE_BYTES_MAX {
        return Err(Failure::input(format!(
            "{} is longer than a proposal may be",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).doing(doing)?;
    let written: Written = toml::from_str(&text)
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
    if written.changes.is_empty() {
        return Err(Failure::input(format!(
            "{} has no [[changes]]: a proposal changes something",
            path.display()
        )));
    }
    Ok(written)
}
