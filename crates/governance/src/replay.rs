//! Replay: an auditor gets the state of a validating node from the administrative entries alone.

use types::{Index, Millis};

use crate::{BadCommand, Command, Fact, Refused, State};

/// An administrative entry of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct ReplayEntry<'a> {
    pub index: Index,
    /// Ledger time.
    pub time: Millis,
    pub public: &'a [u8],
    /// Opened, if the auditor could open it.
    pub private: Option<&'a [u8]>,
}

/// What a replay comes to.
#[derive(Debug)]
pub struct Replayed {
    /// Equal to that of every node after the same entries, but for the private key of the network
    /// identity, which only the private part of the genesis holds.
    pub state: State,
    /// Facts by entry.
    pub facts: Vec<(Index, Vec<Fact>)>,
    /// Entries without effect: valid when they were proposed and not any more in their place.
    pub refused: Vec<(Index, Refused)>,
}

/// The entries are not those of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("entry {index} holds no administrative command: {reason}")]
    Unreadable { index: Index, reason: BadCommand },
    #[error("entry {index} is sealed; open it with the session key of its epoch")]
    Sealed { index: Index },
    #[error("entry {index} is no genesis that can be used: {reason}")]
    Genesis { index: Index, reason: Box<Refused> },
}

/// Applies administrative entries in order to the state before the first.
///
/// # Errors
/// [`BadEntry`]: whoever gave the entries. What is refused in its place is no error, since every
/// node refuses it alike.
pub fn replay<'a>(
    entries: impl IntoIterator<Item = ReplayEntry<'a>>,
) -> Result<Replayed, BadEntry> {
    let mut replayed = Replayed {
        state: State::new(),
        facts: Vec::new(),
        refused: Vec::new(),
    };
    for entry in entries {
        let ReplayEntry { index, time, .. } = entry;
        let state = &mut replayed.state;
        let applied = match entry.private {
            Some(private) => {
                let command = Command::from_parts(entry.public, private)
                    .map_err(|reason| BadEntry::Unreadable { index, reason })?;
                state.apply(index, time, &command)
            }
            None => state.apply_public(index, time, entry.public),
        };
        match applied {
            Ok(facts) => replayed.facts.push((index, facts)),
            Err(Refused::Sealed) => return Err(BadEntry::Sealed { index }),
            Err(Refused::Unreadable(reason)) => {
                return Err(BadEntry::Unreadable { index, reason });
            }
            Err(reason) if replayed.state.network().is_none() => {
                return Err(BadEntry::Genesis {
                    index,
                    reason: Box::new(reason),
                });
            }
            Err(reason) => replayed.refused.push((index, reason)),
        }
    }
    Ok(replayed)
}
