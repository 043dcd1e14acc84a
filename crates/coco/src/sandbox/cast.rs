//! Who takes part in a sandbox besides its members, and which accounts are whose.
//!
//! On a transparent network everybody reads everything, so two participants do, and no account is
//! anybody's. On a confidential one each participant is an actor with accounts of its own, bound to it
//! in the first state, so that two of them can be seen to see different things at once.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dev;

/// Who reads what of the Ethereum protocol unless a contract says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Profile {
    /// Every actor reads everything
    #[default]
    Transparent,
    /// An actor reads what concerns it
    Confidential,
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::Confidential => "confidential",
        }
    }
}

/// A participant that a sandbox is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) auditor: bool,
    /// Its accounts, as places in [`dev::ACCOUNTS`]: together a prefix of them, in order.
    pub(crate) accounts: &'static [usize],
}

/// Of a transparent sandbox. The gateway acts as the first.
pub(crate) const OPEN: &[Part] = &[part("tailspin", &[]), part("wingtip", &[])];

/// Of a confidential sandbox.
pub(crate) const CLOSED: &[Part] = &[
    part("tailspin", &[0, 1, 2]),
    part("wingtip", &[3, 4, 5]),
    part("litware", &[6, 7, 8]),
    Part {
        auditor: true,
        ..part("woodgrove", &[9])
    },
];

const fn part(name: &'static str, accounts: &'static [usize]) -> Part {
    Part {
        name,
        auditor: false,
        accounts,
    }
}

/// What the Ethereum settings of a confidential sandbox say of it: `profile`.
pub(super) fn profile(parts: &[Part], governors: &[String]) -> Value {
    let accounts: serde_json::Map<_, _> = parts
        .iter()
        .flat_map(|part| part.accounts.iter().map(move |place| (part, *place)))
        .map(|(part, place)| {
            (
                dev::ACCOUNTS[place].address.to_owned(),
                json!(actor(part.name)),
            )
        })
        .collect();
    let governors: Vec<B256> = governors.iter().map(|name| actor(name)).collect();
    json!({ "confidential": { "accounts": accounts, "governors": governors } })
}

/// An actor's name in 32 bytes, as the network knows it.
pub(crate) fn actor(name: &str) -> B256 {
    B256::new(governance::actor_id(name).0)
}

/// Addresses of accounts by their places.
pub(crate) fn addresses(places: &[usize]) -> Vec<Address> {
    let address = |place: &usize| dev::ACCOUNTS[*place].address;
    places
        .iter()
        .map(|place| {
            address(place)
                .parse()
                .expect("a constant that a test parses")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_of_a_confidential_sandbox_is_one_actors() {
        let places: Vec<usize> = CLOSED
            .iter()
            .flat_map(|part| part.accounts.to_vec())
            .collect();
        assert_eq!(places, (0..dev::ACCOUNTS.len()).collect::<Vec<_>>());
        assert_eq!(addresses(&places).len(), 10);
        assert!(OPEN.iter().all(|part| part.accounts.is_empty()));
        let written = profile(CLOSED, &["contoso".into()]);
        let bound = &written["confidential"]["accounts"];
        assert_eq!(bound.as_object().map(serde_json::Map::len), Some(10));
        assert_eq!(bound[dev::ACCOUNTS[3].address], json!(actor("wingtip")));
    }
}
