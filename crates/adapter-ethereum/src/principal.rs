//! Who asks: an actor, and the accounts that it has proved to be its own.
//!
//! The actor comes from the certificate of the TLS session ([`adapter::Caller`]). Accounts are
//! proved by signature; an actor that proved none has none. What a principal may see is decided
//! elsewhere, from this value alone and the committed state: two principals that compare equal see
//! the same.

use std::collections::BTreeSet;

use adapter::{Caller, Role};
use alloy_primitives::Address;
use types::{ActorId, Millis};

/// What a principal may do besides looking after its own accounts: a set of bits, as contracts see
/// it in `Reader.roles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Roles(pub u32);

impl Roles {
    /// Governs the network.
    pub const MEMBER: Self = Self(1 << 31);
    /// Reads everything; each reading is recorded.
    pub const AUDITOR: Self = Self(1 << 30);
    /// May create contracts, and simulate their creation.
    pub const DEPLOYER: Self = Self(1 << 29);

    /// True if all bits of `other` are here.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without the three above, which nobody gives by a transaction.
    #[must_use]
    pub fn granted(self) -> Self {
        Self(self.0 & (Self::DEPLOYER.0 - 1))
    }

    /// These and those.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How the principal showed who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Carrier {
    /// The actor's certificate alone: a back end, a front end, a tool. It also sees the transactions
    /// that it submitted itself, since it held them.
    #[default]
    Actor,
    /// A token or a signed query on top of it: an end user, who sees nothing by the actor's right.
    Account,
}

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub actor: ActorId,
    pub carrier: Carrier,
    /// Proved by signature, or bound to the actor by the registry.
    pub accounts: BTreeSet<Address>,
    pub roles: Roles,
    /// Ledger time after which the proof counts no more.
    pub expiry: Option<Millis>,
}

impl Principal {
    /// What the TLS session says by itself: the actor and its roles, and no account.
    pub fn of(caller: &Caller) -> Self {
        let mut roles = Roles::DEPLOYER;
        if caller.role == Role::Member {
            roles = roles.with(Roles::MEMBER);
        }
        if caller.auditor {
            roles = roles.with(Roles::AUDITOR);
        }
        Self {
            actor: caller.actor,
            carrier: Carrier::Actor,
            accounts: BTreeSet::new(),
            roles,
            expiry: None,
        }
    }

    /// True if the account was proved.
    pub fn owns(&self, account: &Address) -> bool {
        self.accounts.contains(account)
    }

    /// True if it may read everything, each reading being recorded.
    pub fn audits(&self) -> bool {
        self.roles.has(Roles::AUDITOR)
    }

    /// True if its proof counts at `now`.
    pub fn holds(&self, now: Millis) -> bool {
        self.expiry.is_none_or(|expiry| now < expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_alone_proves_no_account() {
        let caller = Caller {
            actor: ActorId([1; 32]),
            name: "ada".into(),
            role: Role::Participant,
            auditor: true,
        };
        let principal = Principal::of(&caller);
        assert!(principal.accounts.is_empty() && principal.holds(Millis(u64::MAX)));
        assert!(principal.audits() && !principal.roles.has(Roles::MEMBER));
    }

    #[test]
    fn a_proof_ends() {
        let caller = Caller {
            actor: ActorId([1; 32]),
            name: "ada".into(),
            role: Role::Member,
            auditor: false,
        };
        let mut principal = Principal::of(&caller);
        principal.expiry = Some(Millis(10));
        assert!(principal.holds(Millis(9)) && !principal.holds(Millis(10)));
    }
}
